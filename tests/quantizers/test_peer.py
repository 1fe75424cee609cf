"""Agreement with vector-quantize-pytorch on options that both have.

Its commitment loss is the mean over entries, ours the sum over entries: dim times as much. It has no epsilon of 0 and
no revival where its threshold is 0. Its codes start as ours.
"""

import pytest
import torch

from ppl_vae.quantizers import EMA, FiniteScalarQuantizer, ProductQuantizer, ResidualQuantizer, VectorQuantizer

peer = pytest.importorskip("vector_quantize_pytorch")
DIM, CODES = 6, 20


def peer_of(q, **more):
    """Its quantizer with the codes of ours."""
    other = peer.VectorQuantize(
        q.dim, q.num_codes, decay=q.update.decay, commitment_weight=1.0, **{"rotation_trick": False, **more}
    )
    set_codes(other, q)
    return other


def set_codes(other, q):
    other._codebook.embed.data.copy_(q.codebook.detach()[None])
    other._codebook.embed_avg.copy_(q.codebook.detach()[None])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("gradient", ["straight-through", "rotation"])
def test_codes_values_terms_gradients_and_ema(metric, gradient):
    q = VectorQuantizer(CODES, DIM, update=EMA(0.9), metric=metric, gradient=gradient, revive=0.0)
    other = peer_of(q, use_cosine_sim=metric == "cosine", rotation_trick=gradient == "rotation")
    for _ in range(5):
        z, weights = torch.randn(4, 30, DIM, requires_grad=True), torch.randn(4, 30, DIM)
        out = q(z)
        values, codes, loss = other(z)
        assert torch.equal(out.codes, codes) and torch.allclose(out.values, values, atol=1e-5)
        assert torch.allclose(out.loss_terms["commitment"], loss.squeeze() * DIM, rtol=1e-5)
        assert torch.allclose(q.codebook, other.codebook, atol=1e-5)
        assert torch.allclose(q.counts, other._codebook.cluster_size[0], rtol=1e-5)
        (ours,) = torch.autograd.grad((weights * out.values).sum() + out.loss_terms["commitment"], z)
        (theirs,) = torch.autograd.grad((weights * values).sum() + loss.squeeze() * DIM, z)
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_codes_learned_by_gradients():
    """Its loss is then one mean of squares for both terms."""
    q = VectorQuantizer(CODES, DIM, 1.0, update="gradient", revive=0.0)
    other = peer_of(q, learnable_codebook=True, ema_update=False)
    z = torch.randn(4, 30, DIM, requires_grad=True)
    ours = torch.autograd.grad(q.cost(q(z).loss_terms), (z, q.codebook))
    loss = other(z)[2].squeeze() * DIM
    theirs = torch.autograd.grad(loss, (z, other._codebook.embed))
    assert torch.allclose(ours[0], theirs[0], atol=1e-6) and torch.allclose(ours[1], theirs[1][0], atol=1e-6)


def test_product():
    q = ProductQuantizer(CODES, DIM, 3, update=EMA(0.9), revive=0.0)
    other = peer.VectorQuantize(
        DIM,
        CODES,
        codebook_dim=2,
        heads=3,
        separate_codebook_per_head=True,
        decay=0.9,
        commitment_weight=1.0,
        rotation_trick=False,
    )
    books = torch.stack([part.codebook for part in q.parts])
    other._codebook.embed.copy_(books)
    other._codebook.embed_avg.copy_(books)
    for _ in range(3):
        z = torch.randn(4, 30, DIM)
        out = q(z)
        values, codes, loss = other(z)
        assert torch.equal(out.codes, codes) and torch.allclose(out.values, values, atol=1e-5)
        assert torch.allclose(out.loss_terms["commitment"], loss.squeeze() * DIM, rtol=1e-5)
    assert torch.allclose(torch.stack([part.codebook for part in q.parts]), other.codebook, atol=1e-5)


def test_residual():
    q = ResidualQuantizer(CODES, DIM, 3, update=EMA(0.9), revive=0.0)
    other = peer.ResidualVQ(
        dim=DIM, num_quantizers=3, codebook_size=CODES, decay=0.9, commitment_weight=1.0, rotation_trick=False
    )
    for layer, part in zip(other.layers, q.parts, strict=True):
        set_codes(layer, part)
    for _ in range(3):
        z = torch.randn(4, 30, DIM)
        out = q(z)
        values, codes, losses = other(z)
        assert torch.equal(out.codes, codes) and torch.allclose(out.values, values, atol=1e-5)
        assert torch.allclose(out.loss_terms["commitment"], losses.sum() * DIM, rtol=1e-5)
    for layer, part in zip(other.layers, q.parts, strict=True):
        assert torch.allclose(part.codebook, layer.codebook, atol=1e-5)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3, 4), (7, 6, 5)])
def test_finite_scalar(levels):
    q, other = FiniteScalarQuantizer(levels), peer.FSQ(list(levels))
    z = (3 * torch.randn(200, len(levels))).requires_grad_()
    out = q(z)
    values, codes = other(z[None])
    assert torch.equal(out.codes, codes[0].long()) and torch.allclose(out.values, values[0], atol=1e-6)
    assert torch.allclose(q.lookup(out.codes), other.indices_to_codes(codes)[0], atol=1e-6)
    weights = torch.randn_like(z)
    (ours,) = torch.autograd.grad((weights * out.values).sum(), z)
    (theirs,) = torch.autograd.grad((weights * values[0]).sum(), z)
    assert torch.allclose(ours, theirs, atol=1e-6)
