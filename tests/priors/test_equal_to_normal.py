"""A mixture with identical components, a Vamp with one pseudo-input that maps to N(0, I), and an identity flow are
each the Normal prior: the same density, ELBO, gradient of the likelihood and log-likelihood, to float precision."""

import math

import pytest
import torch
from instances import SHAPE, vae
from torch import nn

from ppl_vae import SVI, evaluation, likelihoods, networks, posteriors, priors
from ppl_vae.estimators import MeanFieldELBO, TraceELBO
from ppl_vae.posteriors.normal import SCALE_FLOOR

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)).bernoulli()


def mixture(posterior):
    prior = priors.MixtureOfGaussians(2, components=4)
    nn.init.zeros_(prior.means)
    nn.init.constant_(prior.raw_scales, math.log(math.expm1(1 - SCALE_FLOOR)))
    nn.init.normal_(prior.logits)  # weights of identical components do not matter
    return prior


def vamp(posterior):
    prior = priors.VampPrior(posterior, components=1, inputs="real")
    nn.init.zeros_(prior.raw)  # of which the features are 0, and the head's bias is all that is left
    return prior


def flow(kind):
    return lambda posterior: priors.Flow(2, kind)


PRIORS = {
    "mixture": mixture,
    "vamp": vamp,
    "coupling": flow("coupling"),
    "autoregressive": flow("autoregressive"),
    "spline": flow("spline"),
}


def two(name):
    torch.manual_seed(0)
    posterior = posteriors.Normal(networks.MLP(SHAPE, []), 2)
    with torch.no_grad():
        posterior.head.bias(0).zero_()
        posterior.head.bias(1).fill_(math.log(math.expm1(1 - SCALE_FLOOR)))
    likelihood = likelihoods.Bernoulli(networks.MLP(2, [5]), SHAPE)
    return [
        vae(prior=p, posterior=posterior, likelihood=likelihood) for p in (priors.Normal(2), PRIORS[name](posterior))
    ]


@pytest.mark.parametrize("name", PRIORS)
def test_density(name):
    normal, other = two(name)
    z = 3 * torch.randn(4, 7, 2)
    assert torch.allclose(other.prior().log_prob(z), normal.prior().log_prob(z), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", [TraceELBO(3), MeanFieldELBO(3)], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", PRIORS)
def test_elbo_and_gradient(name, beta, estimator):
    gradients, terms = [], []
    for model in two(name):
        torch.manual_seed(1)
        # The Normal's KL in closed form is compared with itself elsewhere; here every term is sampled.
        sampled = TraceELBO(3) if model.prior.__class__ is priors.Normal else estimator
        loss = SVI(model, sampled, beta=beta)(X)
        gradients.append(torch.autograd.grad(loss.value, list(model.likelihood.parameters())))
        terms.append([loss.value, *(loss.terms[key] for key in ("elbo", "reconstruction", "kl"))])
    for a, b in zip(*terms, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", ["mixture", "coupling", "autoregressive", "spline"])
def test_gradient_of_the_posterior(name):
    gradients = []
    for model in two(name):
        torch.manual_seed(1)
        value = SVI(model, TraceELBO(3))(X).value
        gradients.append(torch.autograd.grad(value, list(model.posterior.parameters())))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", PRIORS)
def test_log_likelihood(name):
    normal, other = (evaluation.log_likelihood(model, X, num_particles=50) for model in two(name))
    assert torch.allclose(normal.value, other.value, rtol=1e-5, atol=1e-5)
    assert normal.value.std() > 0
