import pytest
from contracts import within
from finite import Finite, elbo, unbiased
from instances import vae

from ppl_vae import SVI
from ppl_vae.estimators import TVO


def exact(pair, points):
    """Left Riemann sum of E_{pi_t}[log w], differentiable, by enumeration."""
    log_x, log_p, log_q = pair.listed()
    log_w = log_x + log_p - log_q
    widths = [b - a for a, b in zip(points, [*points[1:], 1.0], strict=True)]
    return sum(width * ((log_q + t * log_w).softmax(0) * log_w).sum() for t, width in zip(points, widths, strict=True))


KINDS = pytest.mark.parametrize("kind", ["categorical", "bits"])


@KINDS
@pytest.mark.parametrize("k", [2, 3])
def test_one_step_is_the_elbo_without_bias_at_any_k(kind, k):
    unbiased(TVO(k, partitions=1), lambda n: Finite(kind, n), lambda pair: pair.exact(1, elbo))


@KINDS
@pytest.mark.parametrize("partitions", [2, 5])
def test_many_samples_reach_the_exact_sum_and_its_gradient(kind, partitions):
    estimator, one, many = TVO(2000, partitions), Finite(kind), Finite(kind, 300)
    value = exact(one, estimator.points)
    gradient = one.gradient(value)[0]
    assert gradient.abs().min() > 0.02
    surrogate = estimator.terms(many.model, many.guide, many.x).surrogate
    draws = many.gradient(surrogate.sum())
    for found, expected in ((surrogate.detach()[:, None], value.detach()[None]), (draws, gradient)):
        error = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - expected).abs() < 4 * error + 10 / 2000).all()
        assert (error < 0.02).all()


def test_the_bias_of_few_samples_falls_as_one_over_k():
    many, value = Finite("bits", 20000), exact(Finite("bits"), TVO(2).points).item()
    found = [TVO(k).terms(many.model, many.guide, many.x).surrogate.mean().item() for k in (4, 16)]
    assert 2.5 < (found[0] - value) / (found[1] - value) < 7


@KINDS
def test_more_steps_tighten_a_bound_below_the_evidence(kind):
    pair, many = Finite(kind), Finite(kind, 200)
    bounds, found = [], []
    for partitions in (1, 2, 3, 5, 10, 50):
        estimator = TVO(500, partitions)
        bounds.append(exact(pair, estimator.points).item())
        found.append(estimator.terms(many.model, many.guide, many.x).surrogate.mean().item())
    assert bounds == sorted(bounds) and found == sorted(found)
    evidence = pair.evidence().item()
    assert bounds[-1] < evidence and found[-1] < evidence + 0.01
    assert bounds[0] == pytest.approx(pair.exact(1, elbo).item())
    assert evidence - bounds[-1] < 0.2 * (evidence - bounds[0])


def test_reported_terms_are_the_elbos():
    many, pair = Finite("bits", 20000), Finite("bits")
    within(TVO(3).terms(many.model, many.guide, many.x).elbo.detach(), pair.exact(1, elbo).item())


@pytest.mark.parametrize("first", [0, 1, -0.5, True, "a", float("nan")])
def test_bad_first_step(first):
    with pytest.raises(ValueError, match=r"first must be a number in \(0, 1\)"):
        TVO(first=first)


def test_other_refusals():
    with pytest.raises(ValueError, match="partitions must be a whole number of at least 1"):
        TVO(partitions=0)
    with pytest.raises(ValueError, match="num_particles is 1, but TVO"):
        TVO(1)
    with pytest.raises(ValueError, match="beta is 2, but TVO is defined only at beta = 1: its path ends"):
        SVI(vae(), TVO(), beta=2.0)
