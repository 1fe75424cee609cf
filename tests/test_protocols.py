"""Base classes: unfinished subclasses cannot be built, and Pyro can take every part as a module of its own."""

import importlib
import inspect

import pyro
import pyro.distributions as dist
import pytest
import torch
from instances import SHAPE, exported, make, vae
from pyro.infer import SVI as PyroSVI
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule, PyroSample
from pyro.nn.module import to_pyro_module_
from torch import nn

from ppl_vae import SVI, likelihoods, models, networks, posteriors, priors
from ppl_vae.networks.base import Network
from ppl_vae.networks.condition import Condition

X = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0)).round()
BASES = {
    priors.Prior: "forward",
    posteriors.Posterior: "forward",
    likelihoods.Likelihood: "forward",
    Condition: "forward",
    models.Codec: "decode, encode",
    models.Latent: "prior",
    models.Pair: "guide, model",
}


@pytest.mark.parametrize("base", [*BASES, Network], ids=lambda base: base.__name__)
def test_bases_are_abstract(base):
    assert inspect.isabstract(base)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_an_unfinished_subclass_cannot_be_built(base):
    unfinished = type("Unfinished", (nn.Module, base) if not issubclass(base, nn.Module) else (base,), {})
    assert inspect.isabstract(unfinished)
    with pytest.raises(TypeError, match=f"abstract class Unfinished .*{BASES[base].replace(', ', '.*')}"):
        unfinished()


@pytest.mark.parametrize("folder", ["networks", "priors", "posteriors", "likelihoods"])
def test_what_is_exported_can_be_built(folder):
    module = importlib.import_module(f"ppl_vae.{folder}")
    assert not [name for name in module.__all__ if inspect.isabstract(getattr(module, name))]


def test_a_prior_as_a_pyro_module():
    """Its parameters become Pyro's, and one of them a random variable."""
    torch.manual_seed(0)
    prior = PyroModule[priors.Normal](2, learned=True)
    assert isinstance(prior, priors.Normal) and isinstance(prior, PyroModule)
    prior.mean = PyroSample(dist.Normal(torch.zeros(2), 1.0).to_event(1))
    trace = pyro.poutine.trace(lambda: pyro.sample("z", prior())).get_trace()
    assert torch.equal(trace.nodes["z"]["fn"].base_dist.loc, trace.nodes["mean"]["value"])
    assert trace.nodes["raw_scale"]["type"] == "param"
    pyro.clear_param_store()


def test_a_network_that_becomes_bayesian():
    """Every part of the network is a Pyro module then, and works inside a posterior."""
    network = networks.MLP(SHAPE, [5])
    before = network(X)
    to_pyro_module_(network)
    assert isinstance(network, PyroModule) and isinstance(network, networks.MLP)
    assert torch.equal(network(X), before)
    posterior = posteriors.Normal(network, 2)
    layer = network.layers[1]
    layer.weight = PyroSample(dist.Normal(torch.zeros(5, 16), 1.0).to_event(2))
    trace = pyro.poutine.trace(posterior).get_trace(X)
    assert sum(site["type"] == "sample" for site in trace.nodes.values()) == 1
    pyro.clear_param_store()


def test_a_conditioned_network_that_becomes_bayesian():
    network = networks.Conditioned.around(networks.MLP, networks.Label(3), SHAPE, [5])
    to_pyro_module_(network)
    posterior = posteriors.Normal(network, 2)
    assert posterior(X, torch.tensor([0, 1, 2, 0])).batch_shape == (4,)
    pyro.clear_param_store()


@pytest.mark.parametrize("folder", ["priors", "posteriors", "likelihoods"])
def test_every_part_becomes_a_pyro_module(folder):
    inputs = {"priors": (), "posteriors": (X,), "likelihoods": (torch.zeros(4, 2),)}[folder]
    for name in set(exported(folder)) - {"Flow"}:  # Pyro's own transforms have a metaclass that Pyro refuses
        for part in make(folder, name)[:1]:
            expected = type(part(*inputs))
            to_pyro_module_(part)
            assert isinstance(part, PyroModule) and type(part(*inputs)) is expected, name
    pyro.clear_param_store()


def test_a_pair_that_is_a_pyro_module():
    class Mine(PyroModule, models.Pair):
        def __init__(self):
            super().__init__()
            self.vae = vae()

        def model(self, x):
            return self.vae.model(x)

        def guide(self, x):
            return self.vae.guide(x)

    mine = Mine()
    assert isinstance(mine, models.Pair) and SVI(mine)(X).value.isfinite()
    svi = PyroSVI(mine.model, mine.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    before = {name: p.detach().clone() for name, p in mine.named_parameters()}
    svi.step(X)
    assert [name for name, p in mine.named_parameters() if torch.equal(before[name], p)] == []

    class Half(PyroModule, models.Pair):
        def model(self, x):
            return x

    with pytest.raises(TypeError, match="abstract class Half .*guide"):
        Half()


def test_a_vae_is_all_three():
    assert all(isinstance(vae(), protocol) for protocol in (models.Codec, models.Latent, models.Pair))
    assert not isinstance(models.Program(lambda x: x, lambda x: x), models.Codec)
