import pyro.distributions as dist
import pytest
import torch
from contracts import normalised
from instances import DIM, SHAPE

from ppl_vae import likelihoods, networks


@pytest.mark.parametrize("shape", [(1,), (3,), SHAPE])
@pytest.mark.parametrize(
    "name",
    ["Weibull", "Gumbel", "Poisson", "Geometric", "ZeroInflatedPoisson", "NegativeBinomial", "ContinuousBernoulli"],
)
def test_univariate_classes(name, shape):
    likelihood = likelihoods.Of(networks.MLP(DIM, [5]), shape, getattr(dist, name))
    z = torch.randn(4, 3, DIM)
    p = likelihood(z)
    assert p.batch_shape == (4, 3) and p.event_shape == shape
    x = p.sample()
    assert likelihood.support.check(x).all() and p.log_prob(x).isfinite().all()
    assert likelihood.mass == bool(getattr(dist, name).support.is_discrete)
    p.log_prob(x).sum().backward()
    assert all(parameter.grad is not None for parameter in likelihood.parameters())
    if shape == (1,):
        normalised(likelihood.double()(z[0, :1].double()), likelihood.support)


def test_a_convolutional_decoder_gives_what_its_head_says():
    likelihood = likelihoods.Of(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE, dist.Gamma)
    z = torch.randn(5, DIM)
    concentration, rate = likelihood.parameters_of(z)
    p = likelihood(z).base_dist
    assert torch.allclose(p.concentration, torch.nn.functional.softplus(concentration), atol=1e-5)
    assert torch.allclose(p.rate, torch.nn.functional.softplus(rate), atol=1e-5)


def test_classes_over_vectors():
    likelihood = likelihoods.Of(networks.MLP(DIM, [5]), 4, dist.Dirichlet)
    p = likelihood(torch.randn(5, DIM))
    assert p.event_shape == (4,) and not likelihood.entrywise
    with pytest.raises(ValueError, match=r"Dirichlet is over events of 1 dimensions, not of shape \(1, 4, 4\)"):
        likelihoods.Of(networks.MLP(DIM, [5]), SHAPE, dist.Dirichlet)


def test_refusals():
    network = networks.MLP(DIM, [5])
    with pytest.raises(ValueError, match="Binomial cannot be used by the general rule"):
        likelihoods.Of(network, 3, dist.Binomial)
    with pytest.raises(ValueError, match="ExtendedBinomial needs total_count= given"):
        likelihoods.Of(network, 3, dist.ExtendedBinomial)
    with pytest.raises(TypeError, match="network must be"):
        likelihoods.Of([3], 3, dist.Gamma)


def test_arguments_in_the_wrong_order():
    network = networks.MLP(2, [3])
    with pytest.raises(TypeError, match=r"shape must be a whole number or several, such as \(1, 8, 8\), not MLP"):
        likelihoods.Of(dist.Exponential, network, (3,))
