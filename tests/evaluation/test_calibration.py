import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian

from ppl_vae import VAE, evaluation, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import calibration

N = 400


class Guided(LinearGaussian):
    """The linear-Gaussian model with its exact posterior as guide, its draws pulled away by ``widen`` and ``shift``."""

    def __init__(self, widen=1.0, shift=0.0):
        super().__init__()
        self.widen, self.shift = torch.as_tensor(widen), torch.as_tensor(shift)

    def guide(self, x):
        precision = torch.eye(2) + self.w.T @ self.w / self.s**2
        covariance = torch.linalg.inv(precision)
        mean = (x - self.b) @ self.w / self.s**2 @ covariance
        tril = torch.linalg.cholesky(covariance)
        with pyro.plate("data", len(x)):
            exact = dist.MultivariateNormal(mean, scale_tril=tril, validate_args=False)
            spread = covariance.diagonal().sqrt()
            to = dist.transforms.AffineTransform(
                mean * (1 - self.widen) + self.shift * spread, self.widen.expand(2), event_dim=1
            )
            pyro.sample("z", dist.TransformedDistribution(exact, to))


X = torch.zeros(N, 3)


def test_the_exact_posterior_is_calibrated():
    result = calibration.sbc(Guided(), X, num_datasets=1000)
    assert result.ranks.shape == (1000, 2) and result.names == ("z[0]", "z[1]")
    assert result.calibrated().all() and result.verdicts() == ["calibrated"] * 2
    assert result.ranks.min() == 0 and result.ranks.max() == 99
    assert (result.histogram(20).sum(0) == 1000).all()
    low, high = result.band()
    assert (result.ecdf_difference >= low[:, None]).all() and (result.ecdf_difference <= high[:, None]).all()
    assert "2 of 2 dimensions calibrated" in repr(result)
    covered = result.coverage()
    assert ((covered.value - covered.levels[:, None]).abs() < 4 * covered.stderr[:, None]).all()
    assert ((covered.mean - covered.levels).abs() < 4 * covered.mean_stderr).all()
    assert result.vsbc().verdicts() == ["unbiased"] * 2


def test_false_alarms_come_as_often_as_they_should():
    # 150 runs of 2 dimensions that are nearly independent: 15 +- 3.8 single p-values below 5%; 4 standard errors.
    model, sbc_p, vsbc_p, family = Guided(), [], [], []
    for seed in range(150):
        result = calibration.sbc(model, X[:100], num_draws=19, seed=seed)
        sbc_p.append(result.p_values)
        vsbc_p.append(result.vsbc().p_values)
        family.append(bool(result.calibrated().all()))
    for p in (torch.stack(sbc_p).flatten(), torch.stack(vsbc_p).flatten()):
        for level in (0.05, 0.5):
            slack = 4 * math.sqrt(level * (1 - level) / len(p))
            assert (p <= level).double().mean() < level + slack
            assert (p <= level).double().mean() > level - slack - 0.08 * level  # p-values of counts are a little large
    assert np.mean(family) > 0.95 - 4 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize(
    ("how", "verdict", "bias"),
    [
        ({"widen": 0.6}, "too narrow", "unbiased"),
        ({"widen": 1.7}, "too wide", "unbiased"),
        ({"shift": 0.7}, "too high", "too high"),
        ({"shift": -0.7}, "too low", "too low"),
    ],
)
def test_a_wrong_guide_is_found_and_its_fault_named(how, verdict, bias):
    result = calibration.sbc(Guided(**how), X)
    assert not result.calibrated().any() and result.verdicts() == [verdict] * 2
    assert (result.p_values < 0.001).all()
    assert result.vsbc().verdicts() == [bias] * 2
    low, high = result.band()
    assert ((result.ecdf_difference < low[:, None]) | (result.ecdf_difference > high[:, None])).any(0).all()
    histogram = result.histogram(10).double()
    outer, inner = histogram[[0, -1]].mean(0), histogram[4:6].mean(0)
    if verdict in ("too narrow", "too wide"):
        assert ((outer > inner) == (verdict == "too narrow")).all()
        below = result.coverage().value < result.coverage().levels[:, None]
        assert (below == (verdict == "too narrow")).all()
    else:
        assert ((histogram[0] > histogram[-1]) == (verdict == "too high")).all()
        assert ((result.vsbc().bias > 0) == (verdict == "too high")).all()


def test_only_the_dimension_at_fault_is_named():
    result = calibration.sbc(Guided(shift=torch.tensor([0.0, 1.0])), X)
    assert result.verdicts() == ["calibrated", "too high"]


def test_coverage_of_a_narrow_guide_is_what_theory_says():
    # z* is N(0, 1) beside draws N(0, widen^2): P(|z*| < widen * quantile), up to the error of quantiles of 999 draws.
    model = Guided(widen=0.5)
    result = calibration.coverage(model, X, levels=[0.5, 0.9], num_datasets=4000, num_draws=999)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = torch.tensor([2 * normal.cdf(0.5 * normal.icdf(torch.tensor(0.5 + c / 2))) - 1 for c in (0.5, 0.9)])
    error = (expected * (1 - expected) / 4000).sqrt()
    assert ((result.value - expected[:, None]).abs() < 4 * error[:, None] + 0.002).all()
    assert result.stderr.tolist() == pytest.approx([math.sqrt(c * (1 - c) / 4000) for c in (0.5, 0.9)])


def switches(weight):
    """Two binary causes of three noisy readings, and the exact posterior by enumeration, raised to a power."""
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)))
    effect = torch.tensor([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8]])

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.3)))
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.6)))
            pyro.sample("x", dist.Normal(torch.stack([a, b], -1) @ effect, 1.0).to_event(1), obs=x)

    def guide(x):
        prior = torch.tensor([0.3, 0.6])
        joint = dist.Bernoulli(prior).log_prob(states).sum(-1)
        joint = joint + dist.Normal(states @ effect, 1.0).log_prob(x[..., None, :]).sum(-1)
        table = (weight * joint).softmax(-1)
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(table[:, 2:].sum(-1)))
            given = torch.where(a.bool(), table[:, 3] / table[:, 2:].sum(-1), table[:, 1] / table[:, :2].sum(-1))
            pyro.sample("b", dist.Bernoulli(given))

    return models.Program(model, guide)


def test_discrete_codes_by_enumeration():
    right = calibration.sbc(switches(1.0), torch.zeros(N, 3), num_datasets=2000)
    assert right.names == ("a", "b") and right.calibrated().all()
    assert right.ranks[:, 0].unique().numel() > 90  # ties are broken at random
    wrong = calibration.sbc(switches(3.0), torch.zeros(N, 3), num_datasets=2000)
    assert not wrong.calibrated().all()


def test_a_vae_is_simulated_from_a_number_and_leaves_the_caller_alone():
    torch.manual_seed(0)
    vae = VAE(
        priors.OneHotCategorical(3),
        posteriors.OneHotCategorical(networks.MLP((1, 4, 4), [8]), 3),
        likelihoods.Bernoulli(networks.MLP(3, [8]), (1, 4, 4)),
    ).train()
    state = torch.get_rng_state()
    first, again = calibration.sbc(vae, 50, seed=3), calibration.sbc(vae, 50, seed=3)
    other = calibration.sbc(vae, 50, seed=4)
    assert torch.equal(first.ranks, again.ranks) and not torch.equal(first.ranks, other.ranks)
    assert torch.equal(torch.get_rng_state(), state) and vae.training
    assert first.names == ("z[0]", "z[1]", "z[2]") and len(first.ranks) == 50
    assert evaluation.calibration is calibration


def test_missing_entries_totals_and_labels_of_the_batch_are_kept():
    seen = []

    class Keeper(torch.nn.Module):
        def model(self, x, y):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(y, 1.0))
                pyro.sample("x", dist.Normal(z[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)

        def guide(self, x, y):
            seen.append((x, y))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(y + x.nan_to_num().sum(-1), 1.0))

    x, y = torch.tensor([[0.0, math.nan], [0.0, 0.0]]), torch.tensor([100.0, -100.0])
    calibration.sbc(Keeper(), x.nan_to_num(), num_draws=3, y=y)
    made, labels = seen[-1]
    assert (made[0] > 90).all() and (made[1] < -90).all() and torch.equal(labels, y)

    counts = torch.tensor([[1.0, 2.0, 0.0], [5.0, 5.0, 40.0]])
    vae = VAE(
        priors.Normal(2),
        posteriors.Normal(networks.MLP(3, [8]), 2),
        likelihoods.Multinomial(networks.MLP(2, [8]), 3),
    )
    vae.posterior.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    calibration.sbc(vae, counts, num_draws=3)
    assert seen[-1][0].sum(-1).tolist() == [3.0, 50.0]

    holes = VAE(
        priors.Normal(2),
        posteriors.Normal(networks.FillMissing(networks.MLP(2, [8]), 2), 2),
        likelihoods.Missing(likelihoods.Normal(networks.MLP(2, [8]), 2)),
    )
    holes.posterior.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    calibration.sbc(holes, x, num_draws=3)
    assert torch.equal(seen[-1][0].isnan(), x.isnan())


def test_hierarchical_codes_and_inner_plates_are_flattened_with_their_names():
    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            top = pyro.sample("top", dist.Normal(torch.zeros(1), 1.0))
            with pyro.plate("pixels", 3, dim=-1):
                low = pyro.sample("low", dist.Normal(top.expand(-1, 3) if top.dim() == 2 else top, 1.0))
                pyro.sample("x", dist.Normal(low, 1.0), obs=x)

    def guide(x):
        # exact: x | top ~ N(top, 2), low | top, x ~ N((top + x) / 2, 1/2)
        with pyro.plate("data", len(x), dim=-2):
            mean = x.sum(-1, keepdim=True) / 2 / (1 + 3 / 2)
            top = pyro.sample("top", dist.Normal(mean, (1 / (1 + 3 / 2)) ** 0.5))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("low", dist.Normal((top + x) / 2, 0.5**0.5))

    result = calibration.sbc(models.Program(model, guide), torch.zeros(300, 3))
    assert result.names == ("top", "low[0]", "low[1]", "low[2]")
    assert result.calibrated().all() and result.ranks.shape == (300, 4)


def test_a_plate_of_fixed_size_takes_its_template_again_and_again():
    def model(x):
        with pyro.plate("data", 40):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 40):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    result = calibration.sbc(models.Program(model, guide), torch.zeros(40), num_datasets=300)
    assert result.ranks.shape == (300, 1) and result.names == ("z",) and result.calibrated().all()


def _program(latent, observed, guide):
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0)) if latent == "global" else 0.0
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + w, 1.0), obs=observed(x))

    def q(x):
        if latent == "global":
            pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(guide(x), 1.0))

    return models.Program(model, q)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (_program("global", lambda x: x, lambda x: x / 2), "site w is outside the plate data"),
        (_program("local", lambda x: x + 1, lambda x: x / 2), "site x does not observe the batch's x"),
        (_program("local", lambda x: x, lambda x: torch.zeros(len(x))), "the same whatever x is"),
        (_program("local", lambda x: x, lambda x: torch.where(x == 0, x, math.nan)), "gives NaN"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_one_sentence(program, words):
    with pytest.raises(ValueError, match=words):
        calibration.sbc(program, torch.zeros(5))


def test_bad_arguments():
    model = Guided()
    with pytest.raises(TypeError, match="with Pyro programs model and guide, not Linear"):
        calibration.sbc(torch.nn.Linear(2, 2), X)
    for words, call in (
        ("num_draws must be a whole number", lambda: calibration.sbc(model, X, num_draws=0)),
        ("num_datasets must be a whole number of at least 2", lambda: calibration.sbc(model, X, num_datasets=1)),
        ("only a VAE generates without one", lambda: calibration.sbc(model, 10)),
        ("x is empty", lambda: calibration.sbc(model, X[:0])),
        ("levels must lie between 0 and 1, not 95", lambda: calibration.coverage(model, X[:5], levels=[95])),
        ("levels must hold at least one", lambda: calibration.coverage(model, X[:5], levels=[])),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    result = calibration.sbc(model, X[:20], num_draws=9)
    for words, call in (
        ("bins must divide the 10 possible ranks, which 4 does not", lambda: result.histogram(4)),
        ("level must lie between 0 and 1", lambda: result.band(1.0)),
        ("error must lie between 0 and 1", lambda: result.calibrated(0)),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_khat_is_summarised():
    found = calibration.khat(torch.tensor([0.8, math.nan, 0.1, 2.0, 0.9]), worst=2)
    assert found == calibration.Khat(0.75, (3, 4), 1)
    assert math.isnan(calibration.khat(torch.full((3,), math.nan)).share)
    none = calibration.khat(torch.zeros(4))
    assert none.share == 0 and none.worst == ()
    estimate = evaluation.log_likelihood(Guided(widen=0.3), torch.randn(20, 3), num_particles=200)
    assert estimate.threshold == pytest.approx(1 - 1 / math.log10(200)) and estimate.threshold < 0.6
    found = calibration.khat(estimate)
    assert found.share == (estimate.khat > estimate.threshold).double().mean() > (estimate.khat > 0.7).double().mean()
    assert found == calibration.khat(estimate.khat, num_particles=200) and found.threshold == estimate.threshold
    assert calibration.khat(estimate.khat).share == (estimate.khat > 0.7).double().mean() > 0.3
    with pytest.raises(ValueError, match="num_particles must be None or the 200 of values, not 100"):
        calibration.khat(estimate, num_particles=100)
