"""Running means against their closed form; dead codes come back; codes start at clusters."""

import copy

import pytest
import torch
from torch import nn

from ppl_vae import parts
from ppl_vae.quantizers import (
    EMA,
    FiniteScalarQuantizer,
    Gradient,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)


def test_ema_equals_its_closed_form():
    """N and m of step t are sums over all steps with weights (1 - d) d^(t - s), written out in float64."""
    d, eps, k = 0.9, 1e-3, 5
    q = VectorQuantizer(k, 2, update=EMA(d, eps), revive=0.0).double()
    start = q.codebook.clone()
    batches = torch.randn(7, 30, 2, dtype=torch.double)
    book, history = start, []
    for t, z in enumerate(batches):
        out = q(z)
        codes = (z[:, None] - book).square().sum(-1).argmin(1)
        assert torch.equal(out.codes, codes) and torch.allclose(out.values, book[codes])  # the codes before the update
        one_hot = torch.eye(k, dtype=torch.double)[codes]
        history.append((one_hot.sum(0), one_hot.T @ z))
        weights = [(1 - d) * d ** (t - s) for s in range(t + 1)]
        counts = d ** (t + 1) + sum(w * n for w, (n, _) in zip(weights, history, strict=True))
        sums = d ** (t + 1) * start + sum(w * m for w, (_, m) in zip(weights, history, strict=True))
        smoothed = (counts + eps) / (counts.sum() + k * eps) * counts.sum()
        book = sums / smoothed[:, None]
        assert torch.allclose(q.codebook, book, rtol=1e-12) and torch.allclose(q.counts, counts, rtol=1e-12)


def test_codes_are_a_parameter_or_a_buffer():
    assert isinstance(VectorQuantizer(3, 2, update="gradient").codebook, nn.Parameter)
    assert isinstance(VectorQuantizer(3, 2, update=Gradient()).codebook, nn.Parameter)
    assert not list(VectorQuantizer(3, 2).parameters()) and "codebook" in VectorQuantizer(3, 2).state_dict()


def test_no_vectors_teach_nothing():
    q = VectorQuantizer(4, 2)
    before = copy.deepcopy(q.state_dict())
    q(torch.zeros(0, 2))
    assert all(torch.equal(value, before[name]) for name, value in q.state_dict().items())


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_revival_brings_dead_codes_back_and_leaves_live_ones(update):
    """Of 8 codes 4 are far from all vectors; revived, they are vectors of the batch, the others the same to the bit."""
    z = torch.randn(64, 2)
    q = VectorQuantizer(8, 2, update=update, revive=0.1)
    plain = VectorQuantizer(8, 2, update=update, revive=0.0)
    codebook = torch.cat([torch.randn(4, 2), 100 + torch.randn(4, 2)])
    for each in (q, plain):
        each.codebook.data.copy_(codebook)
        each.counts.copy_(torch.tensor([9.0] * 4 + [0.01] * 4))
        if update == "ema":
            each.sums.copy_(each.counts[:, None] * codebook)
        each(z)
        each.settle()
    assert torch.equal(q.codebook[:4], plain.codebook[:4])
    assert all((z == code).all(1).any() for code in q.codebook[4:])
    assert len(q.codebook[4:].unique(dim=0)) == 4
    assert (plain.codebook[4:] > 50).all()
    assert q.figures()["dead_codes"] == 0  # the running use is still near an equal share
    before, after = plain.eval()(z).perplexity, q.eval()(z).perplexity
    assert before <= 4 < after
    # Revived codes have the statistics of a code with the mean use, so they are not dead at once.
    assert torch.allclose(q.counts[4:], plain.counts.mean()) and (q.counts > 0.1 * q.counts.mean()).all()
    if update == "ema":
        assert torch.allclose(q.sums[4:], q.counts[4:, None] * q.codebook[4:])


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_revival_lifts_perplexity_from_a_collapse(update):
    """All codes start in one spot beside the vectors: without revival one code has them all."""
    found = {}
    for revive in (0.0, 0.1):
        torch.manual_seed(5)
        q = VectorQuantizer(16, 2, update={"ema": EMA, "gradient": Gradient}[update](0.99), revive=revive)
        q.codebook.data.copy_(5 + 0.01 * torch.randn(16, 2))
        if update == "ema":
            q.sums.copy_(q.codebook)
        optimizer = torch.optim.SGD(q.parameters(), 0.3) if update == "gradient" else None
        for _ in range(200):
            loss = q.cost(q(torch.randn(128, 2)).loss_terms)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        q.settle()
        found[revive] = q.eval()(torch.randn(512, 2)).perplexity.item()
    assert found[0.0] < 4 and found[0.1] > 8  # of 16; above half its size


def test_dead_parameters_are_replaced_by_settle_alone_or_at_the_next_call():
    q = VectorQuantizer(4, 2, update="gradient", revive=0.5)
    q.codebook.data[3] = 1000.0
    q.counts.copy_(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    z = torch.randn(32, 2)
    q(z)
    waiting = copy.deepcopy(q)
    assert q.codebook[3, 0] == 1000 and q.dead[3]
    q.settle()
    assert torch.equal(q.codebook[3], q.candidates[3]) and not q.dead.any() and (z == q.codebook[3]).all(1).any()
    before = q.codebook.detach().clone()
    q.settle()
    assert torch.equal(q.codebook, before)
    again = VectorQuantizer(4, 2, update="gradient", revive=0.5)
    again.load_state_dict(waiting.state_dict())  # what is to be replaced is kept with the state
    again(z)
    assert (again.codebook[3].abs() < 10).all()


def clusters(k=6, each=50, spread=0.05):
    draw = torch.Generator().manual_seed(8)
    centres = 4 * torch.randn(k, 3, generator=draw)
    return centres, (centres[:, None] + spread * torch.randn(k, each, 3, generator=draw)).flatten(0, 1)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_k_means_finds_separated_clusters(update):
    centres, vectors = clusters()
    q = VectorQuantizer(6, 3, update=update)
    assert q.fresh and q.start_at(vectors) is q and not q.fresh
    distance = torch.cdist(centres, q.codebook.detach())
    assert sorted(distance.argmin(1).tolist()) == [*range(6)]
    # A mean of 50 draws with spread 0.05 is off by 0.007 in each entry.
    assert distance.min(1).values.max() < 4 * 3**0.5 * 0.05 / 50**0.5
    assert torch.allclose(q.counts, torch.full((6,), 50.0)) and q.figures()["usage"] == 1
    start = q.codebook.detach().clone()
    q(vectors)
    q.settle()
    assert torch.allclose(q.codebook, start, atol=1e-4)  # where it is already, EMA leaves it, and nothing is dead


def test_k_means_is_the_same_for_the_same_seed_and_on_the_sphere_for_cosine():
    vectors = torch.randn(5000, 4)  # more than it looks at
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(VectorQuantizer(16, 4, metric="cosine").start_at(vectors).codebook)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert torch.allclose(found[0].norm(dim=1), torch.ones(16), atol=1e-6)


def test_products_and_residuals_start_at_their_own_vectors():
    vectors = torch.randn(400, 4)
    product = ProductQuantizer(8, 4, 2)
    assert product.fresh and not product.start_at(vectors).fresh
    for g, part in enumerate(product.parts):
        assert error(vectors[:, 2 * g : 2 * g + 2], part.codebook) < 0.6 * error(torch.randn(400, 2), torch.randn(8, 2))
    residual = ResidualQuantizer(8, 4, 3).start_at(vectors)
    left, errors = vectors, [vectors.square().sum(1).mean()]
    for part in residual.parts:
        errors.append(error(left, part.codebook))
        left = left - part.codebook[torch.cdist(left, part.codebook).argmin(1)]
    # Centres of clusters take away a part of the variance at every stage, however small the rest.
    assert all(after < 0.75 * before for before, after in zip(errors[:-1], errors[1:], strict=True))


def error(vectors, codebook):
    return torch.cdist(vectors, codebook).min(1).values.square().mean()


def test_what_was_set_loaded_or_trained_is_not_fresh():
    q = VectorQuantizer(4, 2)
    assert q.fresh and parts.build(parts.describe(q)).fresh and copy.deepcopy(q).double().fresh
    other = VectorQuantizer(4, 2)
    other.load_state_dict(VectorQuantizer(4, 2).state_dict())
    assert not other.fresh
    q(torch.randn(10, 2))
    assert not q.fresh
    assert not VectorQuantizer(4, 2, start="normal").fresh and not FiniteScalarQuantizer().fresh
    assert FiniteScalarQuantizer().start_at(torch.randn(3, 4)).num_codes == 1000


def test_vectors_that_codes_cannot_start_at():
    vectors = torch.randn(20, 2)
    with pytest.raises(ValueError, match="num_codes is 30, but there are only 20 distinct vectors.*num_codes=20"):
        VectorQuantizer(30, 2).start_at(vectors)
    with pytest.raises(ValueError, match="num_codes is 4, but there are only 2 distinct vectors"):
        VectorQuantizer(4, 2).start_at(vectors[:2].repeat(50, 1))
    with pytest.raises(ValueError, match=r"vectors must have shape \(..., 2\)"):
        VectorQuantizer(4, 2).start_at(torch.randn(20, 3))
    for quantizer in (VectorQuantizer(4, 2), ProductQuantizer(4, 2, 2), ResidualQuantizer(4, 2, 2)):
        before = copy.deepcopy(quantizer.state_dict())
        vectors[3] = torch.tensor([1.0, float("nan")])
        with pytest.raises(ValueError, match="vectors hold NaN or infinite values in 1 of 20 rows"):
            quantizer.start_at(vectors)
        assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
