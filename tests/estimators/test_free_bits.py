import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, within
from instances import vae

from ppl_vae import networks, posteriors, priors
from ppl_vae.estimators import FreeBits, MeanFieldELBO, TraceELBO
from ppl_vae.handlers import scale_latents

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def by_hand(pair, x=X):
    """KL of every dimension, mean over the batch: (2,)."""
    mean = x @ pair.a.T + pair.c
    return 0.5 * (mean.square() + pair.t**2 - 1 - 2 * pair.t.log()).mean(0)


def floors(pair):
    """A floor above both dimensions, between them, and under both."""
    low, high = by_hand(pair).detach().sort().values.tolist()
    assert high > low + 0.02
    return 2 * high, (low + high) / 2, low / 2


def terms_at(seed, estimator, pair, beta=1.0, x=X):
    torch.manual_seed(seed)
    return estimator.terms(scale_latents(pair.model, beta), scale_latents(pair.guide, beta), x)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_value_and_gradient_by_hand(which, k, beta):
    pair = LinearGaussian()
    nats = floors(pair)[which]
    terms = terms_at(3, FreeBits(k, nats), pair, beta)
    expected = terms_at(3, TraceELBO(k), pair).reconstruction - beta * by_hand(pair).clamp(min=nats).sum()
    assert torch.allclose(terms.surrogate, expected, atol=1e-5)
    assert torch.allclose(pair.gradient(terms.surrogate.sum()), pair.gradient(expected.sum()), atol=1e-4)


def test_below_the_floor_only_the_reconstruction_trains():
    pair = LinearGaussian()
    ours, theirs = terms_at(3, FreeBits(2, floors(pair)[0]), pair), terms_at(3, TraceELBO(2), pair)
    only = pair.gradient(theirs.reconstruction.sum())
    assert torch.allclose(pair.gradient(ours.surrogate.sum()), only, atol=1e-5) and only.abs().min() > 1e-3


def test_above_the_floor_it_is_the_mean_field_elbo():
    pair = LinearGaussian()
    ours, theirs = terms_at(3, FreeBits(2, floors(pair)[2]), pair), terms_at(3, MeanFieldELBO(2), pair)
    assert torch.allclose(ours.surrogate.sum(), theirs.surrogate.sum())
    gradients = pair.gradient(ours.surrogate.sum()), pair.gradient(theirs.surrogate.sum())
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("nats", [0.0, 100.0])
def test_reported_terms_have_no_floor(nats):
    pair = LinearGaussian()
    ours, theirs = terms_at(3, FreeBits(2, nats), pair, 3.0), terms_at(3, TraceELBO(2), pair)
    for name in ("elbo", "reconstruction", "kl"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5)


def test_each_dimension_of_a_matrix_has_its_floor():
    scale = torch.tensor([[0.5, 0.9, 1.0], [1.1, 1.5, 2.0]])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z.sum((-1, -2)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, None, None].expand(-1, 2, 3), scale).to_event(2))

    x = X[:, 0]
    kl = 0.5 * (x.square().mean() + scale**2 - 1 - 2 * scale.log())
    for nats in (0.0, kl.median().item()):
        terms = FreeBits(3, nats).terms(model, guide, x)
        assert torch.allclose(terms.surrogate, terms.reconstruction - kl.clamp(min=nats).sum(), atol=1e-5)


def test_a_joint_family_is_one_dimension_in_closed_form():
    torch.manual_seed(0)
    posterior = posteriors.MultivariateNormal(networks.MLP(3, [4]), 2)
    model = vae(2, (3,), posterior=posterior)
    x = X.sigmoid().round()
    q = posterior(x)
    exact = dist.kl.kl_divergence(q, dist.Normal(torch.zeros(2), 1.0).to_event(1)).mean()
    for nats in (0.0, 50.0):
        terms = FreeBits(2, nats).terms(model.model, model.guide, x)
        assert torch.allclose(terms.surrogate, terms.reconstruction - exact.clamp(min=nats), atol=1e-5)


def test_a_scalar_site_is_in_closed_form():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.5))

    x = X[:, 0]
    kl = 0.5 * (x.square() + 0.25 - 1) - torch.tensor(0.5).log()
    terms = FreeBits(nats=0.0).terms(model, guide, x)
    assert torch.allclose(terms.surrogate, terms.reconstruction - kl.mean(), atol=1e-5)


@pytest.mark.parametrize("nats", [0.0, 50.0])
def test_an_unknown_kl_is_sampled_and_floored_whole(nats):
    torch.manual_seed(0)
    model = vae(prior=priors.MixtureOfGaussians(2))
    x = torch.rand(4, 1, 4, 4).round()
    terms = FreeBits(3, nats).terms(model.model, model.guide, x)
    assert torch.allclose(terms.surrogate, terms.reconstruction - terms.kl.mean().clamp(min=nats), atol=1e-5)
    ps = list(model.prior.parameters())
    for g in torch.autograd.grad(terms.surrogate.sum(), ps):
        assert (g.abs().max() > 0) == (nats == 0)


def test_sites_ordered_differently_are_sampled():
    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            a = pyro.sample("a", dist.Normal(2 * b, 1.0))
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x, 0.5))
            pyro.sample("b", dist.Normal(a * 0.5, 0.5))

    x = X[:, 0]
    ours = [FreeBits(10, 0.0).terms(model, guide, x).surrogate.mean() for _ in range(200)]
    theirs = [TraceELBO(10).terms(model, guide, x).elbo.mean() for _ in range(200)]
    within(torch.stack(ours) - torch.stack(theirs), 0.0)


def test_refusals():
    for bad in (-0.1, True, "some", float("nan")):
        with pytest.raises(ValueError, match="nats must be a finite number of at least 0"):
            FreeBits(nats=bad)
    model = vae(prior=priors.Bernoulli(2), posterior=posteriors.Bernoulli(networks.MLP((1, 4, 4), [3]), 2))
    with pytest.raises(ValueError, match="site z of the guide is a Bernoulli, .* and FreeBits needs them; use VIMCO"):
        FreeBits().terms(model.model, model.guide, torch.rand(3, 1, 4, 4).round())
