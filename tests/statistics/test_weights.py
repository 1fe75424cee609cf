"""k-hat against ArviZ, the threshold of trust, and the coverage of printed errors where the true k is known."""

import math
import warnings

import numpy as np
import pyro
import pytest
import scipy.stats
import torch
from pyro import distributions as dist
from torch import nn

from ppl_vae import evaluation
from ppl_vae.evaluation import LogLikelihood, log_likelihood, pareto_khat, trusted_khat
from ppl_vae.statistics.weights import known_error, summarize

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz

TAILS = {
    "light": lambda rng, shape: 0.3 * rng.normal(size=shape),
    "normal": lambda rng, shape: rng.normal(size=shape) - 95.0,
    "bounded": lambda rng, shape: np.log(rng.random(shape)),
    "pareto 0.5": lambda rng, shape: 0.5 * rng.exponential(size=shape),
    "pareto 1.2": lambda rng, shape: 1.2 * rng.exponential(size=shape),
    "log-normal 5": lambda rng, shape: 5 * rng.normal(size=shape),
    "log-normal 300": lambda rng, shape: 300 * rng.normal(size=shape),  # most are 0 beside the largest
    "impossible": lambda rng, shape: np.where(rng.random(shape) < 0.7, -np.inf, rng.normal(size=shape)),
}


@pytest.mark.parametrize("count", [25, 100, 400, 401, 1000, 5000])
@pytest.mark.parametrize("tail", TAILS)
def test_khat_is_that_of_arviz_on_single_data(tail, count):
    """To 1e-9 of k-hat: both work in float64, and ArviZ drops points of the grid with weights below 2e-15."""
    log_w = TAILS[tail](np.random.default_rng(count), (20, count))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = arviz.psislw(log_w.copy())[1]
    ours = pareto_khat(torch.from_numpy(log_w.T))
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-9)
    # As evaluations give them, in float32: of the figure itself and of log-weights of 100 nats, which round at 4e-6.
    single = summarize(torch.from_numpy(log_w.T).float())[3]
    if tail not in ("light", "log-normal 300"):
        np.testing.assert_allclose(single.numpy(), theirs, rtol=2e-3, atol=2e-3)


def test_ties_at_the_threshold_leave_a_shorter_tail():
    log_w = torch.zeros(1000, 3, dtype=torch.float64)
    log_w[:3, 0] = torch.tensor([1.0, 2.0, 3.0])  # three weights above all others: too few to fit anything
    log_w[:20, 1] = torch.rand(20, generator=torch.Generator().manual_seed(0)).double()
    khat = pareto_khat(log_w)
    theirs = arviz.psislw(log_w.T.numpy().copy())[1]
    assert khat[0] == theirs[0] == math.inf and khat[1].item() == pytest.approx(theirs[1]) and khat[2] == -1
    assert not known_error(khat, 1000)[0] and known_error(khat, 1000)[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_khat_of_what_is_no_number_is_none(dtype):
    log_w = torch.randn(200, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    whole = pareto_khat(log_w)
    log_w[7, 1], log_w[:, 2], log_w[3, 3], log_w[:, 4] = math.nan, math.nan, math.inf, -math.inf
    found = pareto_khat(log_w)
    assert found.isnan().tolist() == [False, True, True, True, True, False] and found.dtype == dtype
    assert torch.equal(found[[0, 5]], whole[[0, 5]])  # by columns
    value, stderr, ess, khat = summarize(log_w)
    assert value[4] == -math.inf and khat[4].isnan() and value[[1, 2]].isnan().all()
    assert pareto_khat(torch.full((10, 2), math.nan)).isnan().all()


def test_some_impossible_draws_do_not_hide_a_heavy_tail():
    """A weight of 0 among the largest once made every other look like rounding, with k-hat -1."""
    log_w = torch.full((100, 1), -math.inf, dtype=torch.float64)
    log_w[:12, 0] = 3 * torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert pareto_khat(log_w) > 0.7


@pytest.mark.parametrize(("count", "least"), [(1, -math.inf), (25, 1 - 1 / math.log10(25)), (100, 0.5), (2154, 0.7)])
def test_the_threshold_of_trust_is_that_of_vehtari(count, least):
    assert trusted_khat(count) == pytest.approx(least, abs=1e-4)
    assert trusted_khat(10**9) == 0.7
    with pytest.raises(ValueError, match="num_particles must be a whole number of at least 1, not 0"):
        trusted_khat(0)


class Narrow(nn.Module):
    """z ~ N(0, I), x | z ~ N(z, I) of size ``dim``; the guide has the posterior's mean and 1 - k times its variance.

    log w = const + k |z - E z|^2 / (2 (1 - k) var z) under the guide, a chi-squared: the weights have a Pareto tail of
    shape k, as many codes as there are.
    """

    def __init__(self, k, dim=2):
        super().__init__()
        self.scale, self.dim = math.sqrt((1 - k) / 2), dim

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, self.scale).to_event(1))


def estimated(k, count, n=2000):
    """The log-likelihood of n data and by how much each is off."""
    x = math.sqrt(2) * torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    found = log_likelihood(Narrow(k), x, num_particles=count, seed=3)
    return found, found.value - dist.Normal(0.0, math.sqrt(2)).log_prob(x).sum(1)


def part(found, which):
    return LogLikelihood(*(t[which] for t in (found.value, found.stderr, found.ess, found.khat)), found.num_particles)


COVERAGE = [(-1.0, 1000, 0.94, 1.0), (0.2, 1000, 0.93, 0.97), (0.4, 1000, 0.87, 0.7), (0.2, 100, 0.89, 0.75)]


@pytest.mark.parametrize(("k", "count", "covered", "known"), COVERAGE)
def test_errors_that_are_known_cover(k, count, covered, known):
    """+- 2 errors of a Normal cover 95 %; the binomial error over 2000 data is 0.5 to 0.7 %, 4 of which are allowed."""
    found, off = estimated(k, count)
    assert found.error_known.double().mean() >= known
    inside = (off.abs() <= 2 * found.stderr)[found.error_known].double().mean().item()
    assert covered - 0.02 < inside < 0.98


@pytest.mark.parametrize("k", [0.6, 0.7])
def test_errors_that_are_not_known_would_not_have_covered(k):
    found, off = estimated(k, 1000)
    inside = (off.abs() <= 2 * found.stderr).double()
    assert inside.mean() < 0.9 and found.error_known.double().mean() < 0.35
    trusted = (found.khat > 0.5) & (found.khat <= found.threshold)
    assert trusted.double().mean() > 0.3  # the estimate may be trusted, but not an error of it
    shown = [part(found, slice(i, i + 10)).mean_error for i in range(0, 2000, 10)]
    assert np.isnan(shown).mean() > 0.99


@pytest.mark.parametrize(("k", "count", "size"), [(-1.0, 1000, 10), (-1.0, 100, 200), (0.2, 1000, 10)])
def test_errors_of_means_cover(k, count, size):
    """Of 10 and of 200 data; at K = 100 the bias, 0.0011 nats, is as large as the standard error of the mean."""
    found, off = estimated(k, count)
    groups = [slice(i, i + size) for i in range(0, 2000, size)]
    errors = np.array([part(found, which).mean_error for which in groups])
    away = np.array([off[which].mean().item() for which in groups])
    shown = ~np.isnan(errors)
    assert shown.mean() > 0.8
    inside = (np.abs(away) <= 2 * errors)[shown].mean()
    assert inside > 0.95 - 4 * math.sqrt(0.95 * 0.05 / shown.sum())


def test_the_bias_of_many_data_is_part_of_the_error():
    """1000 data at K = 100, whose bias is 1.4 standard errors of the mean: 98 % are covered with it and 72 % without.

    The limit between them is 4 binomial errors of 60 from the first and 2.8 from the second.
    """
    x = torch.zeros(1000, 2)
    exact = 2 * dist.Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(0.0)).item()
    inside, without = [], []
    for seed in range(60):
        found = log_likelihood(Narrow(-2.0), x, num_particles=100, seed=seed)
        inside.append(abs(found.mean - exact) <= 2 * found.mean_error)
        without.append(abs(found.mean - exact) <= 2 * found.mean_stderr)
    assert np.mean(inside) > 0.88 > np.mean(without)


def test_a_few_heavy_tails_leave_the_error_of_a_mean_unknown():
    fine, heavy = estimated(-1.0, 1000)[0], estimated(0.7, 1000)[0]
    worst = heavy.khat.argmax()
    columns = (
        torch.cat([getattr(fine, n)[:99], getattr(heavy, n)[worst, None]]) for n in ("value", "stderr", "ess", "khat")
    )
    mixed = LogLikelihood(*columns, 1000)
    assert not math.isnan(part(fine, slice(99)).mean_error) and math.isnan(mixed.mean_error)
    assert "+-" not in repr(mixed) and "error not known, as k-hat is above 0.5, or undefined, for 1%" in repr(mixed)


def test_words():
    fine, heavy = (repr(part(estimated(k, 1000, 30)[0], slice(10))) for k in (-1.0, 0.8))
    assert "+-" in fine and "k-hat above 0.67 for 0%)" in fine and "+-" not in heavy and "error not known" in heavy
    few = repr(log_likelihood(Narrow(0.0), torch.zeros(3, 2), num_particles=24))
    assert "+-" not in few and "k-hat needs 25 weights, so the error is not known" in few
    broken = torch.tensor([-1.0, math.nan, -math.inf])
    said = repr(LogLikelihood(broken, broken.abs(), broken.abs(), torch.tensor([0.1, math.nan, math.nan]), 100))
    assert "LogLikelihood(nan nats per example" in said and "+-" not in said
    assert "NaN weights for 1 of the data; no weight above 0 for 1 of the data" in said


class Impossible(Narrow):
    """Data on the unit interval beside their code: outside it no draw gives any weight."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.dim), 1.0).to_event(1))
            pyro.sample("x", dist.Uniform(z.clamp(-1, 1), z.clamp(-1, 1) + 1).to_event(1), obs=x)


def test_impossible_data_have_the_log_likelihood_minus_infinity():
    x = torch.tensor([[0.3, 0.5], [9.0, 9.0]])
    found = log_likelihood(Impossible(0.0), x, num_particles=200)
    assert found.value[0].isfinite() and found.value[1] == -math.inf and found.mean == -math.inf
    assert found.khat[1].isnan() and not found.error_known[1] and math.isnan(found.mean_error)
    assert "-inf nats per example" in repr(found) and "no weight above 0 for 1 of the data" in repr(found)
    tail = evaluation.calibration.khat(found)
    assert tail.undefined == 1


def test_errors_of_gaps_that_rest_on_the_weights_are_left_out():
    values = {
        name: torch.ones(2) for name in ("log_likelihood", "elbo", "refined_elbo", "approximation", "amortization")
    }
    stderr = {name: torch.ones(2) for name in values}
    fine, heavy = (
        repr(evaluation.Gaps(**values, stderr=stderr, khat=torch.tensor([0.1, k]), num_particles=1000))
        for k in (0.2, 0.6)
    )
    assert fine.count("+-") == 5 and heavy.count("+-") == 3 and "log_likelihood 1.000, elbo 1.000 +- 0.707" in heavy
    assert "not known" in heavy and "not known" not in fine


def test_an_outlying_weight_is_noticed():
    log_w = torch.zeros(1000, 1)
    log_w[0] = 12.0
    value, stderr, ess, khat = summarize(log_w)
    assert ess < 1.1 and khat > 0.7 and stderr > 0.9


def test_summaries_in_closed_form():
    log_w = torch.tensor([[1.0, 2.0, 3.0, 0.0]]).T.log()
    value, stderr, ess, _ = (t.item() for t in summarize(log_w))
    assert value == pytest.approx(math.log(6 / 4)) and ess == pytest.approx(36 / 14)
    sd = np.std([1, 2, 3, 0], ddof=1)
    assert stderr == pytest.approx(sd / 1.5 / 2)
    shifted = [t.item() for t in summarize(log_w - 5000)]
    assert shifted[0] == pytest.approx(value - 5000) and shifted[1:3] == pytest.approx([stderr, ess], rel=1e-4)
    value, stderr, ess, khat = (t.item() for t in summarize(torch.zeros(1, 1)))
    assert (value, ess) == (0.0, 1.0) and math.isnan(stderr) and math.isnan(khat)


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.9])
def test_khat_finds_the_shape_of_generalised_pareto_weights(shape):
    weights = scipy.stats.genpareto.rvs(shape, size=(20_000, 60), random_state=1) + 1e-9
    khat = pareto_khat(torch.as_tensor(weights).log()).numpy()
    m = int(3 * math.sqrt(20_000))
    tails = np.sort(weights, axis=0)[-m - 1 :]
    by_scipy = [scipy.stats.genpareto.fit(t[1:] - t[0], floc=0)[0] for t in tails.T[:10]]
    # The maximum likelihood estimate, shrunk by 10 / (m + 10) towards 0.5 as ours is.
    shrunk = (m * np.array(by_scipy) + 5) / (m + 10)
    assert np.abs(khat[:10] - shrunk).max() < 0.05
    # A tail of a generalised Pareto is one of the same shape.
    assert abs(khat.mean() - (m * shape + 5) / (m + 10)) < 4 * khat.std() / math.sqrt(60) + 0.01


def test_khat_of_few_or_equal_weights():
    assert pareto_khat(torch.zeros(24, 3)).isnan().all()
    assert not (pareto_khat(torch.zeros(500, 3)) > 0.7).any()


def test_weights_that_are_equal_but_for_rounding_are_trusted():
    torch.manual_seed(0)
    log_w = -95.0 + 1e-5 * torch.randn(200, 50)
    assert (evaluation.pareto_khat(log_w) == -1).all()
    assert (evaluation.pareto_khat(log_w + torch.randn(200, 50)) > -0.9).all()
