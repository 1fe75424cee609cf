import pyro.distributions as dist
import pytest
import torch
from contracts import check_posterior
from instances import DIM, SHAPE

from ppl_vae import networks, posteriors


@pytest.mark.parametrize("name", ["Weibull", "Gumbel", "SoftLaplace", "Dirichlet", "MultivariateNormal", "Bernoulli"])
def test_contract(name):
    check_posterior(posteriors.Of(networks.MLP(SHAPE, [5]), DIM, getattr(dist, name)))


def test_equals_the_named_family():
    torch.manual_seed(0)
    of = posteriors.Of(networks.MLP(3, [4]), 2, dist.LogNormal)
    torch.manual_seed(0)
    named = posteriors.LogNormal(networks.MLP(3, [4]), 2)
    x = torch.randn(5, 3)
    assert torch.equal(of(x).base_dist.loc, named(x).base_dist.loc)
    assert not torch.equal(of(x).base_dist.scale, named(x).base_dist.scale)  # which starts at 1


def test_fixed_parameters():
    q = posteriors.Of(networks.MLP(3, [4]), 2, dist.StudentT, df=4.0)(torch.randn(5, 3))
    assert (q.base_dist.df == 4).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: posteriors.Of(n, 2, dist.Pareto), "Pareto cannot be used by the general rule"),
        (lambda n: posteriors.Of(n, 2, dist.Gamma, rte=1.0), "Gamma has no parameter 'rte'; .*did you mean rate"),
        (lambda n: posteriors.Of(n, 2, dist.MixtureSameFamily), "MixtureSameFamily cannot be used"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make(networks.MLP(3, [4]))
    with pytest.raises(TypeError, match="network must be a torch.nn.Module"):
        posteriors.Of([200], 2, dist.Gamma)
