"""The nearest code, the terms of the loss and the gradients of a quantizer with one codebook."""

import pytest
import torch
import torch.nn.functional as F

from ppl_vae.quantizers import VectorQuantizer
from ppl_vae.quantizers import distances as module
from ppl_vae.quantizers.distances import nearest_code
from ppl_vae.quantizers.through import rotated


def brute(z, codebook):
    return (z[:, None].double() - codebook.double()).square().sum(-1)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize(("n", "k", "dim"), [(501, 37, 1), (300, 128, 16), (100, 513, 64)])
def test_nearest_equals_brute_force(n, k, dim, offset):
    """In float32 the code found is the nearest, or further by no more than rounding: 1e-6 of |z|^2 + |e|^2."""
    z, codebook = torch.randn(n, dim) + offset, torch.randn(k, dim) + offset
    distance = brute(z, codebook)
    best = distance.min(1)
    found = nearest_code(z, codebook)
    gap = distance.gather(1, found[:, None])[:, 0] - best.values
    # The vectors themselves are rounded to 6e-8 of their size, and so are their differences from the centre.
    size = (z - offset).square().sum(1) + (codebook - offset).square().sum(1).max() + 6e-8 * offset * dim**0.5
    assert (gap <= 1e-6 * size + 1e-6 * (offset > 0)).all() and (found == best.indices).double().mean() > 0.99
    exact = nearest_code(z.double(), codebook.double())
    assert torch.equal(exact, best.indices)


def test_ties_go_to_the_lowest_index():
    """Small whole numbers have exact distances: the nearest of equal codes is the first, wherever the others are."""
    codebook = torch.randint(-2, 3, (130, 3)).float()
    z = torch.randint(-4, 5, (400, 3)).float() / 2
    codebook = torch.cat([codebook, -codebook])  # a mean of 0, so that differences from it are exact
    assert torch.equal(nearest_code(z, codebook), brute(z, codebook).argmin(1))


def test_many_vectors_are_taken_in_pieces(monkeypatch):
    z, codebook = torch.randn(1000, 4), torch.randn(32, 4)
    whole = nearest_code(z, codebook)
    monkeypatch.setattr(module, "AT_ONCE", 320)
    assert torch.equal(nearest_code(z, codebook), whole)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_gradients_pass_straight_to_the_vectors_and_not_to_the_codes(update, training):
    q = VectorQuantizer(6, 3, update=update).train(training)
    before = q.codebook.detach().clone()
    z, weights = torch.randn(4, 5, 3, requires_grad=True), torch.randn(4, 5, 3)
    out = q(z)
    assert torch.allclose(out.values, before[out.codes], atol=1e-6)
    (weights * out.values).sum().backward()
    assert torch.equal(z.grad, weights)
    assert q.codebook.grad is None


def test_the_codebook_term_moves_codes_alone_and_the_commitment_term_vectors_alone():
    q, z = VectorQuantizer(6, 3, commitment=0.5, update="gradient"), torch.randn(50, 3, requires_grad=True)
    out = q(z)
    chosen = q.codebook.detach()[out.codes]
    distance = (z - chosen).square().sum(1).mean()
    assert torch.allclose(out.loss_terms["codebook"], distance)
    assert torch.allclose(out.loss_terms["commitment"], distance)
    assert torch.allclose(q.cost(out.loss_terms), 1.5 * distance)
    given = torch.autograd.grad(out.loss_terms["codebook"], (z, q.codebook), retain_graph=True, allow_unused=True)
    expected = torch.zeros_like(q.codebook).index_add(0, out.codes, 2 * (chosen - z).detach() / 50)
    assert given[0] is None and torch.allclose(given[1], expected, atol=1e-6)
    given = torch.autograd.grad(out.loss_terms["commitment"], (z, q.codebook), allow_unused=True)
    assert given[1] is None and torch.allclose(given[0], 2 * (z - chosen).detach() / 50, atol=1e-7)


def test_perplexity_is_that_of_the_batch():
    q = VectorQuantizer(4, 1, revive=0.0).eval()
    q.codebook.copy_(torch.arange(4.0)[:, None])
    codes = torch.tensor([0, 0, 0, 1, 1, 3])
    p = torch.tensor([3 / 6, 2 / 6, 1 / 6])
    assert torch.allclose(q(codes[:, None].float()).perplexity, (-(p * p.log()).sum()).exp())
    assert q(torch.zeros(5, 1)).perplexity == 1
    assert torch.allclose(q(torch.arange(4.0)[:, None]).perplexity, torch.tensor(4.0))


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_vectors_get_the_codes_of_their_float32_distances(dtype, autocast):
    """In bfloat16 products, which have 3 digits, about 1 in 100 of these codes would be others."""
    q = VectorQuantizer(256, 8).eval()
    z = torch.randn(2000, 8).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = q(z)
    assert torch.equal(out.codes, brute(z, q.codebook).argmin(1))
    assert out.values.dtype == dtype and out.loss_terms["commitment"].dtype == torch.float32
    half = (z.bfloat16() @ q.codebook.bfloat16().T).float()
    assert ((q.codebook.square().sum(1) - 2 * half).argmin(1) != out.codes).float().mean() > 0.005


def test_running_statistics_are_float32_under_autocast():
    q, again, z = VectorQuantizer(8, 4), VectorQuantizer(8, 4), torch.randn(100, 4)
    again.load_state_dict(q.state_dict())
    torch.manual_seed(1)
    q(z)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        again(z)
    for name, value in q.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_cosine_codes_live_on_the_sphere(update):
    q, z = VectorQuantizer(8, 4, update=update, metric="cosine"), 3 * torch.randn(100, 4) + 1
    codes = F.normalize(z, dim=1) @ F.normalize(q.codebook.detach(), dim=1).T
    out = q(z)
    assert torch.equal(out.codes, codes.argmax(1))
    assert torch.allclose(out.values.norm(dim=1), torch.ones(100), atol=1e-5)
    optimizer = torch.optim.SGD(q.parameters(), 0.5) if update == "gradient" else None
    for _ in range(5):
        loss = q.cost(q(z).loss_terms)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    q.settle()
    assert torch.allclose(q.codebook.norm(dim=1), torch.ones(8), atol=2e-6)
    distance = q.eval()(z).loss_terms["commitment"]
    assert distance < 0.8 * out.loss_terms["commitment"]


def test_cosine_gradients_pass_through_the_length():
    q, z, weights = (
        VectorQuantizer(8, 4, metric="cosine").eval(),
        torch.randn(9, 4, requires_grad=True),
        torch.randn(9, 4),
    )
    (given,) = torch.autograd.grad((weights * q(z).values).sum(), z)
    (expected,) = torch.autograd.grad((weights * F.normalize(z, dim=1)).sum(), z)
    assert torch.allclose(given, expected, atol=1e-6)


def test_rotation_turns_the_vector_into_its_code():
    """The Jacobian J is |e| / |z| times a rotation with J z = e; found entry by entry."""
    z, e = torch.randn(5, dtype=torch.double), torch.randn(5, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda v: rotated(v, e), z)
    turn = jacobian * z.norm() / e.norm()
    assert torch.allclose(turn @ turn.T, torch.eye(5).double()) and torch.allclose(turn.det(), torch.ones(()).double())
    assert torch.allclose(jacobian @ z, e) and torch.allclose(rotated(z, e), e)
    # What is at right angles to both is left as it is.
    basis = torch.linalg.qr(torch.stack([z, e], 1), mode="complete").Q[:, 2:]
    assert torch.allclose(turn @ basis, basis)


@pytest.mark.parametrize("z", [torch.zeros(3), torch.tensor([1e-30, 0, 0]), -torch.ones(3), torch.ones(3)])
@pytest.mark.parametrize("e", [torch.zeros(3), torch.ones(3)])
def test_rotation_is_finite_everywhere(z, e):
    z = z.clone().requires_grad_()
    out = rotated(z[None], e[None])
    assert torch.allclose(out[0], e, atol=1e-6)
    (gradient,) = torch.autograd.grad(out.square().sum() + out.sum(), z)
    assert gradient.isfinite().all() and gradient.norm() < 100
