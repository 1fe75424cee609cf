"""``start(train)``: what starts at the training data, once."""

import copy

import pyro.distributions as dist
import pytest
import torch
from instances import exported, make
from torch import nn

from ppl_vae import VAE, data, likelihoods, models, networks, posteriors, priors
from ppl_vae.data import as_split
from ppl_vae.networks import MLP, Conditioned, Label
from ppl_vae.parts import Part

ROWS = 3 * torch.rand(9, 4, generator=torch.Generator().manual_seed(2)).square() + 0.1


def vae(likelihood, dim=2, network=None):
    network = networks.FillMissing(MLP(likelihood.shape, [3]), likelihood.shape) if network is None else network
    return VAE(priors.Normal(dim), posteriors.Normal(network, dim), likelihood)


def state(part):
    return {name: value.clone() for name, value in part.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", [name for name in exported("likelihoods") if name not in ("Of", "Completed")])
def test_every_likelihood_starts_at_the_data_once(name):
    torch.manual_seed(0)
    for likelihood in make("likelihoods", name):
        by_hand, built = copy.deepcopy(likelihood), state(likelihood)
        x = likelihood(torch.randn(9, 2)).sample()
        train = as_split(x)
        model = vae(likelihood)
        model.start(train)
        if isinstance(by_hand, likelihoods.Scaled):  # by hand it starts in the units that it has
            by_hand.units.start(train)
        by_hand.start_at(train.mean(), train.std())
        started = state(likelihood)
        assert same(started, by_hand.state_dict()) and not same(started, built) and started.keys() == built.keys()
        model.start(as_split(x.flip(1)))  # a second ``fit``
        assert same(state(likelihood), started)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.start_at(torch.full((4,), 0.3)),
        lambda p: p.load_state_dict(likelihoods.Bernoulli(MLP(2, [3]), 4).state_dict()),
        lambda p: torch.optim.SGD([p.head.layer.bias], 0.1).step(lambda: p(torch.zeros(2)).mean.sum().backward()),
        lambda p: nn.init.zeros_(p.head.layer.bias),
    ],
    ids=["started", "loaded", "trained", "set"],
)
def test_what_was_changed_stays(change):
    likelihood = likelihoods.Bernoulli(MLP(2, [3]), 4)
    model = vae(likelihood)
    change(likelihood)
    before = state(likelihood)
    model.start(as_split(ROWS.clamp(max=1)))
    assert same(state(likelihood), before)


@pytest.mark.parametrize("moved", [lambda m: m, lambda m: m.double(), copy.deepcopy, lambda m: m.to("cpu").eval()])
def test_a_model_moved_or_copied_still_starts(moved):
    model = moved(vae(likelihoods.Normal(MLP(2, [3]), 4)))
    model.start(as_split(ROWS))
    assert torch.allclose(model.likelihood.head.bias().float(), ROWS.mean(0))


def test_a_network_of_the_users_own_starts_too():
    model = vae(likelihoods.Normal(nn.Sequential(nn.Linear(2, 5), nn.Tanh()), 4))
    model.start(as_split(ROWS))
    assert torch.allclose(model.likelihood.head.bias(), ROWS.mean(0))


def test_a_likelihood_that_does_not_know_its_mean_stays():
    class Mine(likelihoods.Likelihood):
        support = dist.constraints.positive

        def forward(self, z, y=None):
            (raw,) = self.parameters_of(z, y)
            return dist.Exponential(raw.exp()).to_event(1)

    for likelihood in (
        Mine(MLP(2, [3]), 4, parameters=1),
        likelihoods.Of(MLP(2, [3]), 4, dist.Weibull),
        likelihoods.Of(MLP(2, [3]), 4, dist.Dirichlet),
    ):
        before, train = state(likelihood), as_split(torch.softmax(ROWS, 1))
        likelihood.start(train)
        likelihood.start_at(train.mean(), train.std())
        assert same(state(likelihood), before)
    located = likelihoods.Of(MLP(2, [3]), 4, dist.Normal)
    located.start(as_split(ROWS))
    assert torch.allclose(located.head.bias(), ROWS.mean(0))


def test_table_encoders_start_wherever_they_are():
    x = torch.cat([ROWS, torch.full((9, 1), torch.nan)], 1)
    x[4, 1] = torch.nan
    train, kinds = as_split((x.nan_to_num(1.0), torch.zeros(9, dtype=torch.long))), {0: "positive", 3: "count"}
    expected = networks.TableEncoder(5, [3], kinds=kinds).start_at(train.mean(), train.std())
    plain = networks.TableEncoder(5, [3], kinds=kinds)
    joined = Conditioned.around(networks.TableEncoder, Label(3), 5, [3], kinds=kinds)
    inside = nn.Sequential(networks.TableEncoder(5, [3], kinds=kinds))
    for network in (plain, joined, inside):
        table = network if network is plain else next(p for p in network.modules() if type(p) is type(plain))
        posteriors.Normal(network, 2).start(train)
        assert torch.equal(table.zero[:5], expected.zero) and torch.equal(table.unit[:5], expected.unit)
        assert torch.equal(table.zero[5:], torch.zeros(len(table.zero) - 5)) and (table.unit[5:] == 1).all()
    encoder = models.Autoencoder(networks.TableEncoder(5, [3]), MLP(2, [3]), 2, 5, "identity")
    encoder.start(train)
    assert torch.equal(encoder.encoder.zero, train.mean())
    encoder.start(as_split(x.nan_to_num(9.0)))
    assert torch.equal(encoder.encoder.zero, train.mean())


def test_a_vamp_prior_starts_at_rows():
    posterior = posteriors.Normal(MLP(4, [3]), 2)
    x = ROWS.clamp(max=1)
    prior = priors.VampPrior(posterior, 5)
    random = prior.raw.detach().clone()
    prior.start(as_split(x[:4]))  # too few
    assert torch.equal(prior.raw, random)
    prior.start(as_split(x))
    assert torch.allclose(prior.pseudo_inputs, x[:5].clamp(0.01, 0.99), atol=1e-5)
    prior.start(as_split(x.flip(0)))
    assert torch.allclose(prior.pseudo_inputs, x[:5].clamp(0.01, 0.99), atol=1e-5)


def test_a_vamp_prior_starts_at_grey_rows_and_at_what_is_known():
    posterior = posteriors.Normal(MLP(4, [3]), 2)
    x = (ROWS / 4).clamp(max=0.9)
    prior = priors.VampPrior(posterior, 5)
    prior.start(data.Split(x, binarize="dynamic"))
    assert torch.allclose(prior.pseudo_inputs, x[:5].clamp(min=0.01), atol=1e-5)
    x[2, 1] = torch.nan
    prior = priors.VampPrior(posterior, 5, inputs="real")
    prior.start(as_split(x))
    assert torch.allclose(prior.raw[2, 1], x[:, 1].nanmean()) and torch.equal(prior.raw[0], x[0])
    prior = priors.VampPrior(posterior, 5)  # whose pseudo-inputs cannot lie where these rows do
    random = prior.raw.detach().clone()
    prior.start(as_split(ROWS))
    assert torch.equal(prior.raw, random)


def test_parts_start_in_order():
    class Seen(Part):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, z):
            return z

        def start(self, train):
            seen.append(self.name)

    seen = []
    model = vae(likelihoods.Bernoulli(nn.Sequential(Seen("decoder"), MLP(2, [3])), 4), network=MLP(4, [3]))
    model.posterior.network.add_module("own", nn.ModuleList([Seen("encoder")]))
    model.prior.add_module("own", Seen("prior"))
    model.start(as_split(ROWS.clamp(max=1)))
    assert seen == ["prior", "encoder", "decoder"]
