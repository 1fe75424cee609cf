"""VQVAE2: codes on two grids, their order, their costs and starts, and what is refused."""

import pytest
import torch
from instances import vqvae2

from ppl_vae import Reconstruction, code_priors, data, evaluation, fit, likelihoods, models, networks, quantizers

SHAPE = (1, 8, 8)  # grids of 2 x 2 and 4 x 4


def tiny(update="ema", **more):
    torch.manual_seed(1)
    top = quantizers.VectorQuantizer(6, 2, commitment=0.5, update=update)
    return vqvae2(quantizers.VectorQuantizer(6, 3, commitment=0.7, update=update), SHAPE, top_quantizer=top, **more)


def rows(n=64):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(3)).round()


def nearest(vectors, codebook):
    """Squared distance and index of the nearest code of every vector."""
    return (vectors[..., None, :] - codebook).square().sum(-1).min(-1)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_the_loss_is_that_of_both_levels(update):
    vq, x = tiny(update).eval(), rows(8)
    h = vq.encoder(x)
    top, a = nearest(vq.to_top(vq.top_encoder(h))[0].movedim(1, -1), vq.top_quantizer.codebook)
    up = vq.spread(vq.top_quantizer.codebook[a].movedim(-1, 1))
    bottom, b = nearest(vq.to_bottom(torch.cat([h, up], 1)).movedim(1, -1), vq.quantizer.codebook)
    q = torch.cat([up, vq.quantizer.codebook[b].movedim(-1, 1)], 1)
    log_p = vq.likelihood(q).log_prob(x)
    sums = top.sum((1, 2)).mean(), bottom.sum((1, 2)).mean()
    moved = 1.0 if update == "gradient" else 0.0
    expected = (moved + 0.5) * sums[0] + (moved + 0.7) * sums[1] - log_p.mean()
    loss = Reconstruction(vq)(x)
    torch.testing.assert_close(loss.value, expected, rtol=1e-5, atol=1e-5)  # rounding of float32
    torch.testing.assert_close(loss.terms["top_commitment"], sums[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss.terms["bottom_commitment"], sums[1], rtol=1e-5, atol=1e-5)
    assert ("top_codebook" in loss.terms) == ("bottom_codebook" in loss.terms) == (update == "gradient")
    found = [quantizers.base.perplexity_of(torch.bincount(c.flatten(), minlength=6).float()) for c in (a, b)]
    torch.testing.assert_close(loss.terms["perplexity"], sum(found) / 2)
    assert torch.equal(vq.encode(x), torch.cat([a.flatten(1), b.flatten(1)], 1))  # coarse first, row by row


@pytest.mark.parametrize("kind", ["product", "residual"])
def test_a_place_may_have_several_codes(kind):
    make = {"product": quantizers.ProductQuantizer, "residual": quantizers.ResidualQuantizer}[kind]
    torch.manual_seed(1)
    vq = vqvae2(make(5, 4, 2), SHAPE, top_quantizer=make(5, 6, 3)).eval()
    codes = vq.encode(rows(4))
    assert codes.shape == (4, 2 * 2 * 3 + 4 * 4 * 2) == (4, *vq.code_shape)
    changed = codes.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 5  # the first place of the fine grid
    values, others = vq.values_at(codes), vq.values_at(changed)
    differs = (values != others).any(0)
    assert (
        differs[6:, 0, 0].any() and not differs[:6].any() and not differs[:, 1:].any() and not differs[:, 0, 1:].any()
    )


def test_unless_given_the_top_is_built_like_the_bottom():
    vq = vqvae2(quantizers.VectorQuantizer(7, 3, update=quantizers.EMA(0.8), commitment=0.4), SHAPE)
    assert vq.top_quantizer is not vq.quantizer and vq.top_quantizer.update.decay == 0.8
    assert (vq.top_quantizer.num_codes, vq.top_quantizer.dim, vq.top_quantizer.commitment) == (7, 3, 0.4)
    assert (vq.coarse, vq.fine, vq.code_shape) == ((2, 2), (4, 4), (20,))


def test_odd_sides_and_a_top_that_is_halved_twice():
    vq = vqvae2(shape=(1, 7, 5))  # 4 x 3, 2 x 2
    assert (vq.fine, vq.coarse) == ((4, 3), (2, 2)) and vq(torch.rand(2, 1, 7, 5)).shape == (2, 1, 7, 5)
    small = vqvae2(shape=SHAPE, top_encoder=networks.Conv((3, 4, 4), [4, 5], flatten=False))
    assert small.coarse == (1, 1) and small.code_shape == (17,) and small.encode(rows(3)).shape == (3, 17)


def test_both_codebooks_start_at_vectors_the_bottom_given_the_started_top():
    vq, x = tiny(), rows(24)  # k-means looks at 64 vectors for a code: at all of them
    vq.start(data.as_split(x))
    vq.eval()
    for quantizer in vq.levels:
        seen = []
        with quantizer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0])):
            vq.quantize(x)
        vectors = seen[0].reshape(-1, quantizer.dim)  # what it is given in training
        codes = nearest(vectors, quantizer.codebook)[1]
        assert torch.equal(torch.bincount(codes, minlength=6).float(), quantizer.counts)
        means = torch.stack([vectors[codes == k].mean(0) for k in range(6)])
        torch.testing.assert_close(means, quantizer.codebook, rtol=1e-4, atol=1e-5)  # rounding of float32


def test_a_codebook_that_is_set_is_kept_by_the_start():
    vq = tiny()
    with torch.no_grad():
        vq.top_quantizer.codebook.copy_(torch.arange(12.0).reshape(6, 2))
    vq.start(data.as_split(rows(300)))
    assert torch.equal(vq.top_quantizer.codebook, torch.arange(12.0).reshape(6, 2))
    assert vq.top_quantizer.fresh is False and vq.quantizer.fresh is False


def test_it_trains_in_two_stages_and_has_a_bound():
    vq, x = tiny(code_prior=code_priors.Transformer(16, 1, 2)), rows()
    history = fit(Reconstruction(vq), x, x[:20], epochs=3, batch_size=16, progress=False, lr=0.01)
    assert [row["stage"] for row in history.rows] == [""] * 3 + ["code prior"] * 3
    assert history.rows[2]["train"]["reconstruction"] > history.rows[0]["train"]["reconstruction"]
    assert history.rows[5]["train"]["rate"] < history.rows[3]["train"]["rate"]
    codes, found = vq.encode(x), evaluation.elbo(vq, x)
    torch.testing.assert_close(found.kl, -vq.prior().log_prob(codes), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        found.elbo, vq.likelihood_at(codes).log_prob(x) + vq.prior().log_prob(codes), rtol=1e-5, atol=1e-4
    )
    assert evaluation.sample_means(vq, 5).shape == (5, *SHAPE)


def test_labels_reach_every_part():
    torch.manual_seed(2)
    label, more = networks.Label(3), 3
    vq = models.VQVAE2(
        networks.Conditioned(networks.Conv((1 + more, 8, 8), [5], flatten=False), label, SHAPE),
        quantizers.VectorQuantizer(6, 3),
        likelihoods.Bernoulli(networks.Conditioned(networks.ConvTranspose((6 + more, 4, 4), [5], SHAPE), label), SHAPE),
        code_priors.Transformer(16, 1, 2, condition=label),
    ).eval()
    x, zero, one = rows(5), torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    assert vq.condition is label and not torch.equal(vq.encoded(0, x, zero), vq.encoded(0, x, one))
    assert not torch.equal(evaluation.elbo(vq, x, zero).elbo, evaluation.elbo(vq, x, one).elbo)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: vqvae2(quantizers.VectorQuantizer(6, 2), SHAPE, top_quantizer=quantizers.VectorQuantizer(5, 2)),
            ValueError,
            "quantizer has 6 codes and top_quantizer 5; they must have the same number",
        ),
        (lambda: tiny(code_prior=code_priors.PixelCNN()), ValueError, "Transformer"),
        (lambda: tiny(code_prior=3), TypeError, "code_prior must be one of ppl_vae.code_priors, not 3"),
        (
            lambda: vqvae2(shape=SHAPE, top_encoder=networks.Conv((4, 4, 4), [4], flatten=False)),
            ValueError,
            r"the top_encoder takes \(4, 4, 4\), but the encoder's features are \(3, 4, 4\)",
        ),
        (
            lambda: vqvae2(shape=SHAPE, top_encoder=networks.MLP((3, 4, 4), [4])),
            ValueError,
            r"the top_encoder gives features \(4,\); VQVAE2 needs a grid \(channels, height, width\)",
        ),
        (
            lambda: models.VQVAE2(networks.MLP(SHAPE, [5]), quantizers.VectorQuantizer(), tiny().likelihood),
            ValueError,
            r"the encoder gives features \(5,\); VQVAE2 needs a grid",
        ),
        (
            lambda: models.VQVAE2(tiny().encoder, quantizers.VectorQuantizer(6, 4), tiny().likelihood),
            ValueError,
            r"takes \(5, 4, 4\), but the vectors of both grids are \(8, 4, 4\): 4 \+ 4 channels",
        ),
        (
            lambda: vqvae2(shape=SHAPE, top_encoder=networks.ConvTranspose((3, 4, 4), [3], (1, 8, 8))),
            ValueError,
            r"the top_encoder's grid is \(8, 8\), but it must be that of the encoder, \(4, 4\), with sides halved",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
