import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian
from instances import DIM, SHAPE, shaken, vae
from torch import nn

from ppl_vae import VAE, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation.gaps import FIGURES, _figures, gaps
from ppl_vae.posteriors import Posterior

NOISE = 0.7
X = 1.5 * torch.randn(12, 3, generator=torch.Generator().manual_seed(1))


def linear(orthogonal=False, family=posteriors.Normal):
    """A linear decoder, with columns at right angles if ``orthogonal``, and an encoder that has learned nothing."""
    torch.manual_seed(3)
    posterior = family(networks.MLP(3, []), 2)
    model = VAE(priors.Normal(2), posterior, likelihoods.Normal(networks.MLP(2, []), 3, scale=NOISE))
    with torch.no_grad():
        w = torch.randn(3, 2)
        model.likelihood.head.layer.weight.copy_(torch.linalg.qr(w).Q * torch.tensor([1.5, 0.7]) if orthogonal else w)
    return model


@torch.no_grad()
def exact(model, x):
    """log p(x), the encoder's ELBO and that of the best diagonal Normal, (B,) each."""
    w, b = model.likelihood.head.layer.weight, model.likelihood.head.layer.bias
    q = model.posterior(x)
    squared = (x - q.mean @ w.T - b).square().sum(-1) + q.variance @ w.square().sum(0)
    reconstruction = -squared / (2 * NOISE**2) - 1.5 * math.log(2 * math.pi * NOISE**2)
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
    evidence = dist.MultivariateNormal(b, w @ w.T + NOISE**2 * torch.eye(3)).log_prob(x)
    m = w.T @ w + NOISE**2 * torch.eye(2)
    return evidence, reconstruction - kl, evidence - 0.5 * (m.diagonal().log().sum() - m.logdet())


def agree(found, name, expected, slack=0.0):
    """Within 4 standard errors for each datum and, but for what optimisation leaves, in the mean."""
    off, error = getattr(found, name) - expected, found.stderr[name]
    assert (off.abs() < 4 * error + slack).all(), (name, off, error)
    assert off.mean().abs() < 4 * error.square().sum().sqrt() / len(off) + slack / 4, (name, off.mean())


def test_standard_errors_are_the_spread_over_data_of_one_kind():
    """2000 data with the same distribution of log-weights: the errors' root mean square is their spread to 4 errors."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 2000, generator=draw)
    amortized = -5 + 1.5 * (0.6 * noise + 0.8 * torch.randn(300, 2000, generator=draw))
    figures = _figures(-3 + 0.5 * noise, amortized)
    for name in FIGURES:
        spread, error = figures[name].std(), figures[f"{name}_stderr"].square().mean().sqrt()
        assert abs(error / spread - 1) < 4 * 1.5 / math.sqrt(2 * 2000), name  # log-normal weights: 1.5 for their tails
    assert abs(figures["approximation"].mean() - 0.125) < 0.005 and abs(figures["amortization"].mean() - 2) < 0.01


@pytest.mark.parametrize("orthogonal", [False, True])
def test_a_linear_model_has_the_gaps_of_theory(orthogonal):
    """300 steps end within 0.02 nats of each datum's best q and 0.005 in the mean; the gaps are 0.03 and 6 nats."""
    model = linear(orthogonal)
    evidence, elbo, best = exact(model, X)
    found = gaps(model, X, num_particles=2000)
    agree(found, "log_likelihood", evidence)
    agree(found, "elbo", elbo)
    agree(found, "refined_elbo", best, slack=0.02)
    agree(found, "approximation", evidence - best, slack=0.02)
    agree(found, "amortization", best - elbo, slack=0.02)
    gap = (evidence - best).mean()
    assert (gap.abs() < 1e-5) == orthogonal and (best - elbo).mean() > 3
    assert (gap < 0.2 * found.approximation.mean()) == orthogonal  # 0.034 nats would be seen
    assert found.num_particles == 2000 and (found.khat < 0.7).all()
    total = found.approximation + found.amortization
    assert torch.allclose(total, found.log_likelihood - found.elbo, atol=1e-4)


def test_a_full_covariance_leaves_no_approximation_gap():
    model = linear(family=posteriors.MultivariateNormal)
    found = gaps(model, X, num_particles=500)
    agree(found, "log_likelihood", exact(model, X)[0])
    assert found.approximation.mean() < 0.01 and found.amortization.mean() > 3


def test_the_best_encoder_has_no_amortization_gap_and_is_kept_where_refining_makes_it_worse():
    model = linear(orthogonal=True)
    w, b = model.likelihood.head.layer.weight, model.likelihood.head.layer.bias
    with torch.no_grad():
        m = w.T @ w + NOISE**2 * torch.eye(2)
        head = model.posterior.head.layer
        head.weight.zero_(), head.bias.zero_()
        head.weight[:2] = m.inverse() @ w.T
        head.bias[:2] = -m.inverse() @ w.T @ b
        head.bias[2:] = (NOISE * m.diagonal().rsqrt()).expm1().log()  # the softplus's inverse
    assert torch.allclose(*exact(model, X)[1:], atol=1e-4)
    found = gaps(model, X, num_particles=1000, steps=3, lr=1.0)  # three wild steps
    assert (found.amortization == 0).all() and (found.stderr["amortization"] == 0).all()
    assert (found.refined_elbo - found.log_likelihood).abs().max() < 1e-4


FAMILIES = [
    (priors.Normal, posteriors.LowRankNormal),
    (priors.Normal, posteriors.Flow),
    (priors.Normal, posteriors.StudentT),
    (priors.Hierarchical, posteriors.Hierarchical),
    (priors.Beta, posteriors.Beta),
    (priors.Dirichlet, posteriors.Dirichlet),
    (priors.StickBreaking, posteriors.StickBreaking),
    (priors.Hyperspherical, posteriors.Hyperspherical),
    (priors.Bernoulli, posteriors.Bernoulli),
    (priors.OneHotCategorical, posteriors.OneHotCategorical),
]


@pytest.mark.parametrize(("prior", "posterior"), FAMILIES, ids=lambda part: part.__name__)
def test_every_family_is_refined_and_never_made_worse(prior, posterior):
    images = torch.rand(5, *SHAPE).bernoulli()
    model = vae(prior=prior(DIM), posterior=posterior(networks.Conv(SHAPE, [3]), DIM))
    shaken(model.likelihood, 2.0)  # so that codes matter
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = gaps(model, images, steps=60, lr=0.1, num_particles=300)
    mean, error = found.means()["amortization"]
    assert mean > 4 * error or posterior is posteriors.OneHotCategorical  # whose two codes leave little to gain
    assert (found.amortization > -4 * found.stderr["amortization"] - 1e-5).all() and found.elbo.shape == (5,)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_prior_that_shares_the_posterior_stays():
    posterior = posteriors.Normal(networks.MLP(SHAPE, [5]), DIM)
    model = shaken(vae(prior=priors.VampPrior(posterior, 3), posterior=posterior), 1.0)
    density = model.prior().log_prob(torch.ones(DIM))
    assert gaps(model, torch.rand(3, *SHAPE).bernoulli(), steps=50, num_particles=300).amortization.mean() > 0
    assert torch.equal(model.prior().log_prob(torch.ones(DIM)), density) and model.posterior is posterior


class Headless(Posterior):
    """A posterior that reads its parameters off the network itself, and looks at labels."""

    support = posteriors.Normal.support

    def forward(self, x, y=None):
        mean, raw = self.network(x).chunk(2, -1)
        mean = mean if y is None else mean + y[:, None]
        return dist.Normal(mean, nn.functional.softplus(raw) + 0.01).to_event(1)


def test_without_a_head_the_network_s_features_are_refined():
    model = linear()
    model.posterior = Headless(nn.Linear(3, 4), 2)
    evidence, _, best = exact(model, X)
    found = gaps(model, X, torch.full((12,), 3.0), num_particles=1000)
    agree(found, "refined_elbo", best, slack=0.02)
    agree(found, "elbo", gaps(model, X, torch.full((12,), 3.0), steps=1, num_particles=1000).elbo)


def test_nothing_is_left_behind_and_seeds_repeat():
    model = linear().train()
    state = torch.get_rng_state()
    one, same, other = (gaps(model, X, steps=5, num_particles=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.elbo, same.elbo) and not torch.equal(one.elbo, other.elbo)
    assert torch.equal(torch.get_rng_state(), state) and model.training and not len(pyro.get_param_store())
    assert "amortization" in repr(one) and "n=12" in repr(one)


def test_the_memory_budget_changes_the_pieces_and_not_the_figures():
    model = linear()
    evidence, elbo, best = exact(model, X)
    for memory in (2_000, 40_000):
        found = gaps(model, X[:4], steps=100, lr=0.1, num_particles=200, memory=memory)
        agree(found, "elbo", elbo[:4])
        agree(found, "log_likelihood", evidence[:4])
        agree(found, "refined_elbo", best[:4], slack=0.1)


def test_refusals():
    pair = LinearGaussian()
    program = models.Program(pair.model, pair.guide)
    with pytest.raises(TypeError, match="model must be a VAE, whose posterior is refined, not Program"):
        gaps(program, X)

    class Bare(nn.Module):
        dim, support = 2, posteriors.Normal.support

        def forward(self, x, y=None):
            return dist.Normal(x[:, :2], 1.0).to_event(1)

    model = linear()
    model.posterior = Bare()
    with pytest.raises(TypeError, match="posterior Bare has neither a head nor a network"):
        gaps(model, X)
    model.posterior = Headless(nn.Linear(3, 4), 2)
    model.posterior.forward = lambda x, y=None: dist.Normal(x[:, :2], 1.0).to_event(1)
    with pytest.raises(TypeError, match="does not call its network once"):
        gaps(model, X)
    for bad in ({"steps": 0}, {"num_particles": 1}, {"step_particles": 0}, {"lr": 0.0}, {"lr": math.inf}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
            gaps(linear(), X, **bad)
    with pytest.raises(ValueError, match="x is empty"):
        gaps(linear(), X[:0])
