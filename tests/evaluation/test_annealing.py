import math

import pyro
import pytest
import torch
from contracts import LinearGaussian, within
from instances import every, instance, vae
from pyro import distributions as dist
from torch import nn

from ppl_vae import likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import annealed_log_likelihood, bidirectional, log_likelihood
from ppl_vae.evaluation.importance import evaluating
from ppl_vae.evaluation.layout import layout
from ppl_vae.evaluation.path import Path, settings

X = 1.5 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1))


def path(model, x, start="prior", temperatures=10, leapfrog=10):
    found = layout(model, x, None, torch.device("cpu"))
    return Path(model, (x,), settings(2, temperatures, leapfrog, start), found)


@pytest.mark.parametrize("start", ["prior", "guide"])
@pytest.mark.parametrize("temperatures", [40, 200])
def test_agrees_with_the_exact_value_within_its_own_error(start, temperatures):
    pair = LinearGaussian()
    found = annealed_log_likelihood(pair, X, num_temperatures=temperatures, leapfrog=5, start=start)
    exact = pair.log_likelihood(X).detach()
    z = (found.value - exact) / found.stderr
    # 60 independent scores: Jensen's -stderr/2 apart, mean 0 +- 4/sqrt(60); 16 chains leave them t-like tails.
    assert abs((z + found.stderr / 2).mean()) < 4 / math.sqrt(60)
    assert abs(z.std() - 1) < 0.5
    assert abs(found.mean - exact.mean()) < 4 * found.mean_stderr + found.stderr.square().mean() / 2
    assert 0.55 < found.acceptance.mean() < 0.75 and found.num_particles == 16


def test_weights_are_unbiased_at_few_temperatures():
    """E[w] = p(x) exactly, however short the path: the mean weight, not its logarithm."""
    pair, x = LinearGaussian(noise=1.5), X[:4]
    for start in ("prior", "guide"):
        with evaluating(pair, 0):
            along = path(pair, x, start, temperatures=4, leapfrog=3)
            log_w, _ = along.forward(along.draw(20_000), along.find_steps())
        within((log_w - pair.log_likelihood(x)).exp().detach(), torch.ones(4))


def test_reverse_weights_are_unbiased_for_the_inverse():
    pair, x = LinearGaussian(noise=1.5), X[:1].expand(20_000, 3)
    with evaluating(pair, 0):
        along = path(pair, x, temperatures=4, leapfrog=3)
        u = along.simulate()
        log_w = along.backward(u, along.find_steps())[0]
        exact = pair.log_likelihood(along.batch[0]).detach()
    within((exact - log_w).exp(), 1.0)


def test_the_bounds_enclose_the_exact_value_and_close_in():
    pair = LinearGaussian()
    gaps = []
    for temperatures in (10, 40, 200):
        found = bidirectional(pair, X, num_temperatures=temperatures, num_chains=4, leapfrog=5)
        exact = pair.log_likelihood(found.x).detach()
        for lower, upper in ((found.lower, exact), (exact, found.upper)):
            difference = upper - lower
            assert difference.mean() > -4 * difference.std() / math.sqrt(60)
        gaps.append(found.gap)
    assert gaps[0] > gaps[1] > -0.05 and abs(gaps[2]) < 4 * found.gap_stderr + 0.1
    assert gaps[0] > 0.2 and "gap" in repr(found)
    # The data are the model's own: mean b and covariance W W' + s^2 I.
    simulated = bidirectional(pair, torch.zeros(4000, 3), num_chains=1, num_temperatures=1).x
    within(simulated, pair.b.detach())
    covariance = (pair.w @ pair.w.T + pair.s**2 * torch.eye(3)).detach()
    centred = simulated - pair.b.detach()
    within(centred[:, :, None] * centred[:, None], covariance)


def test_better_than_importance_sampling_with_a_bad_guide():
    pair = LinearGaussian(noise=0.2)
    with torch.no_grad():
        pair.c.add_(3.0)
        pair.t.fill_(0.3)
    exact = pair.log_likelihood(X).detach()
    plain = (log_likelihood(pair, X, num_particles=2000).value - exact).abs().mean()
    annealed = (annealed_log_likelihood(pair, X, num_temperatures=100).value - exact).abs().mean()
    assert annealed < 0.5 < 2 < plain


class OneLatent(nn.Module):
    """A latent with a constrained support and a Normal datum, whose evidence is a sum on a grid."""

    def __init__(self, prior):
        super().__init__()
        self.p = prior

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.p)
            pyro.sample("x", dist.Normal(2 * z, 0.3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.p)

    def exact(self, x, low, high):
        z = torch.linspace(low, high, 200_001, dtype=torch.float64)[1:-1, None]
        log_p = self.p.log_prob(z) + dist.Normal(2 * z, 0.3).log_prob(x)
        return log_p.logsumexp(0) + math.log((high - low) / 200_000)


@pytest.mark.parametrize(
    ("prior", "high", "start"),
    [
        (dist.Beta(2.0, 3.0), 1.0, "prior"),
        (dist.Gamma(2.0, 1.5), 20.0, "prior"),
        (dist.Gamma(2.0, 1.5), 20.0, "guide"),
        (dist.LogNormal(0.0, 1.0), 60.0, "prior"),
        (dist.Uniform(0.0, 3.0), 3.0, "prior"),
    ],
    ids=str,
)
def test_constrained_latents_against_quadrature(prior, high, start):
    pair, x = OneLatent(prior), torch.linspace(0.2, 3.0, 30)
    found = annealed_log_likelihood(pair, x, num_temperatures=100, leapfrog=5, start=start)
    off = found.value - pair.exact(x, 0.0, high)
    assert (off.abs() < 4.5 * found.stderr + 0.02).all()
    assert abs(off.mean()) < 4 * found.mean_stderr + found.stderr.square().mean() / 2


def test_hmc_leaves_its_target_as_it_is():
    """From exact draws of the posterior, moves keep every moment; from others, they reach it."""
    pair, x = LinearGaussian(noise=0.5), X[:1]
    m = (pair.w.T @ pair.w / pair.s**2 + torch.eye(2)).inverse().detach()
    mean = ((x - pair.b) @ pair.w / pair.s**2 @ m)[0].detach()
    with evaluating(pair, 0):
        along = path(pair, x, leapfrog=5)
        along.draw(2)
        u = dist.MultivariateNormal(mean, m).sample((40_000, 1))
        for step in (0.1, 0.4):  # the second is refused now and then
            v, chance, _ = along.move(u, 1.0, torch.tensor([step]))
            z = v[:, 0] - mean
            within(z, torch.zeros(2))
            within(z[:, :, None] * z[:, None], m)
            assert (v != u).any() and chance.mean() > 0.3
        assert chance.mean() < 0.95
        away = torch.zeros(4000, 1, 2)
        for _ in range(40):
            away, _, _ = along.move(away, 1.0, torch.tensor([0.2]))
        within(away[:, 0], mean)


class Deep(nn.Module):
    """z2 -> z1 -> x, with a plate of three within a datum, and a support that depends on a parent."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-2):
            top = pyro.sample("top", dist.Gamma(3.0, 2.0).expand([1]))
            with pyro.plate("parts", 3, dim=-1):
                low = pyro.sample("low", dist.Uniform(torch.zeros_like(top), top))
                pyro.sample("x", dist.Normal(low, 0.5), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-2):
            top = pyro.sample("top", dist.Gamma(3.0, 2.0).expand([1]))
            with pyro.plate("parts", 3, dim=-1):
                pyro.sample("low", dist.Uniform(torch.zeros_like(top), top))


def test_several_sites_nested_plates_and_supports_that_depend_on_parents():
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    top = torch.linspace(1e-4, 20, 20_001, dtype=torch.float64)
    low = dist.Normal(0.0, 1.0)
    inner = (low.cdf((top[:, None, None] - x) / 0.5) - low.cdf(-x / 0.5)) / top[:, None, None]  # (top, 5, 3)
    weight = dist.Gamma(3.0, 2.0).log_prob(top) + math.log(20 / 20_000)
    exact = (weight[:, None] + inner.log().sum(-1)).logsumexp(0)
    plain = log_likelihood(Deep(), x, num_particles=5_000)
    assert ((plain.value - exact).abs() < 4.5 * plain.stderr).all()
    found = annealed_log_likelihood(Deep(), x, num_temperatures=60, leapfrog=4)
    assert ((found.value - exact).abs() < 4.5 * found.stderr + 0.02).all()
    alone = annealed_log_likelihood(Deep(), x, num_chains=1, num_temperatures=100, leapfrog=4)
    assert ((alone.value - exact).abs() < 1.0).all()
    both = bidirectional(Deep(), x, num_temperatures=60, leapfrog=4)
    assert both.x.shape == (5, 3) and -0.5 < both.gap < 0.5


class Blind(nn.Module):
    """The guide is the prior."""

    def __init__(self, prior):
        super().__init__()
        self.prior, self.likelihood = prior, likelihoods.Bernoulli(networks.MLP(prior.dim, [5]), 6)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.prior())


@pytest.mark.parametrize("case", every("priors"), ids=lambda case: f"{case[0]}{case[1]}")
def test_every_prior_or_one_sentence(case):
    model, x = Blind(instance("priors", case)), torch.ones(2, 6)
    if case[0] in ("Hyperspherical", "OneHotCategorical", "Bernoulli"):
        with pytest.raises(ValueError, match="site z lives on .*, where chains cannot follow gradients"):
            annealed_log_likelihood(model, x, num_chains=2, num_temperatures=3)
    else:
        found = annealed_log_likelihood(model, x, num_chains=8, num_temperatures=20, leapfrog=2)
        reference = log_likelihood(model, x, num_particles=2000)
        assert ((found.value - reference.value).abs() < 6 * (found.stderr + reference.stderr) + 0.02).all()


def _natural(prior, shape):
    return posteriors.natural(prior)(networks.MLP(shape, [5]), prior.dim)


def test_seeds_pieces_and_the_callers_generator():
    model, x = vae(shape=(3,)), torch.ones(5, 3)
    arguments = {"num_chains": 3, "num_temperatures": 8, "leapfrog": 2}
    before = torch.get_rng_state()
    a, b, c = (annealed_log_likelihood(model, x, seed=s, **arguments).value for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(before, torch.get_rng_state())
    piecewise = annealed_log_likelihood(model, x, memory=1, **arguments)
    assert piecewise.value.shape == piecewise.acceptance.shape == (5,) and (piecewise.value - a).abs().max() < 1.5
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and "k-hat" in repr(piecewise)


def test_one_temperature_is_importance_sampling_from_the_start():
    pair = LinearGaussian()
    found = annealed_log_likelihood(pair, X[:5], num_chains=4000, num_temperatures=1, start="guide")
    plain = log_likelihood(pair, X[:5], num_particles=4000)
    assert ((found.value - plain.value).abs() < 4 * (found.stderr + plain.stderr)).all()


def test_labels_and_likelihoods_of_other_kinds():
    model = vae(shape=(3,), prior=priors.Gamma(2), posterior=_natural(priors.Gamma(2), (3,)))
    model = models.VAE(model.prior, model.posterior, likelihoods.Poisson(networks.MLP(2, [4]), 3))
    found = bidirectional(model, torch.ones(6, 3), torch.arange(6), num_chains=2, num_temperatures=20)
    assert (found.x >= 0).all() and (found.x == found.x.round()).all() and found.upper.isfinite().all()


def test_bad_input_is_one_sentence():
    def bayes(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    program = models.Program(bayes, pyro.infer.autoguide.AutoNormal(bayes))
    with pytest.raises(ValueError, match="site mean is outside the data plate"):
        annealed_log_likelihood(program, torch.zeros(4))
    with pytest.raises(ValueError, match="start must be 'prior' or 'guide', not 'posterior'"):
        annealed_log_likelihood(vae(), torch.ones(2, 1, 4, 4), start="posterior")
    for name in ("num_chains", "num_temperatures", "leapfrog"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, not 0"):
            annealed_log_likelihood(vae(), torch.ones(2, 1, 4, 4), **{name: 0})

    def local(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("a", dist.Normal(z, 1.0), obs=x)
            pyro.sample("b", dist.Normal(z, 1.0), obs=x)

    program = models.Program(local, pyro.infer.autoguide.AutoNormal(local))
    with pytest.raises(
        ValueError, match="start='guide' needs a guide of the model's own sites, without z_unconstrained"
    ):
        annealed_log_likelihood(program, torch.zeros(4), start="guide")
    with pytest.raises(ValueError, match="the model observes a, b"):
        bidirectional(program, torch.zeros(4))
