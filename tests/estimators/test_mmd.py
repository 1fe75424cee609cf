import contextlib

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, within
from instances import vae

from ppl_vae import SVI, networks, posteriors, priors
from ppl_vae.estimators import MMD, TraceELBO
from ppl_vae.estimators.mmd import SCALES, mmd
from ppl_vae.handlers import scale_latents

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def kernel(a, b, scale):
    return sum(s * scale / (s * scale + sum((p - q) ** 2 for p, q in zip(a, b, strict=True))) for s in SCALES)


def test_against_loops_over_all_pairs():
    z, draws = torch.randn(5, 2).double(), torch.randn(5, 2).double()
    total = 0.0
    for i in range(5):
        for j in range(5):
            total -= 2 * kernel(z[i].tolist(), draws[j].tolist(), 3.0) / 25
            if i != j:
                total += kernel(z[i].tolist(), z[j].tolist(), 3.0) / 20
                total += kernel(draws[i].tolist(), draws[j].tolist(), 3.0) / 20
    assert mmd(z, draws, torch.tensor(3.0)).item() == pytest.approx(total)


@pytest.mark.parametrize("size", [2, 5])
def test_the_statistic_is_unbiased(size):
    """Two distributions of two values each, of which the MMD is a sum of 12 terms."""
    a, b = torch.tensor([[-1.0], [0.5]]), torch.tensor([[0.0], [2.0]])
    pairs = [torch.tensor([[kernel(p, q, 2.0) for q in v.tolist()] for p in u.tolist()]).mean() for u, v in
             ((a, a), (b, b), (a, b))]  # fmt: skip
    exact = pairs[0] + pairs[1] - 2 * pairs[2]
    draws = mmd(a[torch.randint(2, (50000, size))], b[torch.randint(2, (50000, size))], torch.tensor(2.0))
    assert exact > 0.1
    within(draws, exact)


class Encoded:
    """q(z | x) = N(where + spread x, 0.01^2) in two dimensions, prior N(0, I)."""

    def __init__(self, spread, where=0.0):
        self.spread, self.where = spread, where

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.where + self.spread * x, 0.01).to_event(1))


def discrepancies(pair, size, k=1, repeats=300):
    found = []
    for _ in range(repeats):
        terms = MMD(k, weight=1.0).terms(pair.model, pair.guide, torch.randn(size, 2))
        assert torch.allclose(terms.reconstruction - terms.surrogate, (terms.reconstruction - terms.surrogate)[0])
        found.append((terms.reconstruction - terms.surrogate)[0].detach())
    return torch.stack(found)


@pytest.mark.parametrize("size", [3, 30])
@pytest.mark.parametrize("k", [1, 3])
def test_narrow_posteriors_that_add_up_to_the_prior_cost_nothing(size, k):
    within(discrepancies(Encoded(1.0), size, k), 0.0)


def test_the_kernels_scale_is_independent_of_what_it_scales():
    """Else the statistic of three codes of a guide that is the prior has mean 0.011, not 0."""
    pair = Encoded(0.0)
    terms = [MMD(5000, weight=1.0).terms(pair.model, exact_guide, torch.zeros(3, 2)) for _ in range(100)]
    within(torch.stack([(t.reconstruction - t.surrogate)[0].detach() for t in terms]), 0.0)


def exact_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


@pytest.mark.parametrize("where", [0.0, 1.0])
@pytest.mark.parametrize("k", [1, 10])
def test_all_data_on_one_point_cost_much(where, k):
    assert discrepancies(Encoded(0.0, where), 30, k, 30).min() > 0.5


def loss_at(seed, estimator, pair, beta=1.0):
    torch.manual_seed(seed)
    model, guide = scale_latents(pair.model, beta), scale_latents(pair.guide, beta)
    return estimator.differentiable_loss(model, guide, X.to(next(pair.parameters()).dtype))


@pytest.mark.parametrize("alpha", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("k", [1, 3])
def test_gradient_by_finite_differences_with_fixed_noise(alpha, k):
    pair, estimator = LinearGaussian().double(), MMD(k, weight=7.0, alpha=alpha)
    gradient = pair.gradient(loss_at(3, estimator, pair, 0.7))
    found = []
    for p in pair.parameters():
        for i in range(p.numel()):
            ends = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    p.view(-1)[i] += step
                    ends.append(loss_at(3, estimator, pair, 0.7).item())
                    p.view(-1)[i] -= step
            found.append((ends[0] - ends[1]) / 2e-5)
    assert torch.allclose(gradient, torch.tensor(found).double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_beta_multiplies_kl_and_mmd(beta):
    pair = LinearGaussian()

    def cost(beta, **options):
        torch.manual_seed(2)
        model, guide = scale_latents(pair.model, beta), scale_latents(pair.guide, beta)
        terms = MMD(**options).terms(model, guide, X)
        return terms.reconstruction - terms.surrogate

    for options in ({"weight": 5.0}, {"weight": 5.0, "alpha": 0.3}, {"weight": 0.0, "alpha": 0.0}):
        assert torch.allclose(cost(beta, **options), beta * cost(1.0, **options), atol=1e-4)
    assert cost(1.0, weight=5.0).abs().min() > 0.01
    assert torch.allclose(cost(1.0, weight=10.0), 2 * cost(1.0, weight=5.0), rtol=1e-4)


def test_alpha_zero_without_weight_is_the_elbo():
    pair = LinearGaussian()
    ours, theirs = (loss_at(3, e, pair) for e in (MMD(4, weight=0.0, alpha=0.0), TraceELBO(4)))
    assert torch.allclose(ours, theirs) and torch.allclose(pair.gradient(ours), pair.gradient(theirs), atol=1e-4)


def test_a_learned_prior_of_reparameterised_draws_is_trained():
    model = vae(prior=priors.Normal(2, learned=True))
    x = torch.rand(5, 1, 4, 4).round()
    MMD(weight=10.0).loss_and_grads(model.model, model.guide, x)
    assert all(p.grad.abs().min() > 0 for p in model.prior.parameters())


def test_a_learned_prior_that_would_not_be_trained_is_refused():
    x = torch.rand(5, 1, 4, 4).round()
    model = vae(prior=priors.MixtureOfGaussians(2))
    with pytest.raises(ValueError, match="prior of site z has parameters to learn, but its draws are not reparam"):
        MMD().terms(model.model, model.guide, x)
    for p in model.prior.eval().parameters():
        p.requires_grad_(False)
    assert MMD().terms(model.model, model.guide, x).surrogate.isfinite().all()


def test_refusals():
    pair = LinearGaussian()
    with pytest.raises(ValueError, match="MMD compares the codes of a batch with one another, .* one example"):
        MMD().terms(pair.model, pair.guide, X[:1])
    discrete = vae(3, prior=priors.Bernoulli(3), posterior=posteriors.Bernoulli(networks.MLP((1, 4, 4), [3]), 3))
    with pytest.raises(ValueError, match="site z of the guide is a Bernoulli, which has no reparam.* MMD needs them"):
        SVI(discrete, MMD())(torch.rand(3, 1, 4, 4).round())
    for bad in ({"weight": -1.0}, {"weight": True}, {"weight": float("nan")}):
        with pytest.raises(ValueError, match="weight must be a finite number of at least 0"):
            MMD(**bad)
    for bad in (1.5, "all", float("nan")):
        with pytest.raises(ValueError, match="alpha, .* must be a number of at most 1"):
            MMD(alpha=bad)


def test_one_site_in_no_other_plate():
    def programs(names, nested):
        def program(x, observed):
            with pyro.plate("data", len(x), dim=-1):
                for name in names:
                    with pyro.plate("entries", 3, dim=-2) if nested else contextlib.nullcontext():
                        pyro.sample(name, dist.Normal(0.0, 1.0))
                if observed:
                    pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

        return (lambda x: program(x, True)), (lambda x: program(x, False))

    with pytest.raises(ValueError, match="MMD compares one latent site with its prior, but the model has 2"):
        MMD().terms(*programs("ab", False), X[:, 0])
    for k in (1, 2):
        with pytest.raises(ValueError, match="site z is in a plate besides data; use TraceELBO"):
            MMD(k, max_plate_nesting=2).terms(*programs("z", True), X[:, 0])


def test_auxiliary_sites_of_an_autoguide_do_not_count():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = X[:, 0]
    guide = pyro.infer.autoguide.AutoNormal(model)
    guide(x)
    for k in (1, 2):
        assert MMD(k).differentiable_loss(model, guide, x).isfinite()
