import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from ppl_vae import SVI, estimators, evaluation, fit, models, parts

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) * 0.3 + 2.0


def model(x):
    scale = pyro.param("scale", torch.tensor(2.0), constraint=constraints.positive)
    mean = pyro.param("mean.of x", torch.zeros(3))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 0.1).to_event(1))
        pyro.sample("x", dist.Normal(mean + z, scale).to_event(1), obs=x)


def guide(x):
    t = pyro.param("t", torch.tensor(0.1), constraint=constraints.interval(0.01, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(3), t).to_event(1))


def train(program, epochs=150, x=X, **arguments):
    objective = SVI(program, estimators.TraceELBO())
    return fit(objective, x, epochs=epochs, lr=0.05, batch_size=len(x), progress=False, **arguments)


def sites(program, x=X):
    """Constrained values as the program sees them."""
    traces = [pyro.poutine.trace(fn).get_trace(x) for fn in (program.model, program.guide)]
    return {n: site["value"].detach() for t in traces for n, site in t.nodes.items() if site["type"] == "param"}


def test_constrained_parameters_train_and_the_global_store_stays():
    pyro.param("scale", torch.tensor(7.0))
    program = models.Program(model, guide)
    train(program)
    found = sites(program)
    assert found["scale"].item() == pytest.approx(0.3, abs=0.1) and found["scale"] > 0
    assert (found["mean.of x"] - X.mean(0)).abs().max() < 0.1 and 0.01 <= found["t"] <= 0.5
    assert pyro.param("scale").item() == 7.0 and list(pyro.get_param_store().keys()) == ["scale"]


def test_two_programs_with_the_same_site_names_stay_apart():
    a, b = models.Program(model, guide), models.Program(model, guide)
    train(a)
    b.prepare(X)
    assert sites(b)["scale"].item() == pytest.approx(2.0)
    train(b, x=X - 4)
    assert sites(a)["mean.of x"].mean() > 1.8 and sites(b)["mean.of x"].mean() < -1.8


def test_state_round_trip_and_copies():
    program = models.Program(model, guide)
    train(program, epochs=20)
    again = models.Program(model, guide)
    again.prepare(X)
    again.load_state_dict(program.state_dict())
    assert {k: v.tolist() for k, v in sites(again).items()} == {k: v.tolist() for k, v in sites(program).items()}
    clone = copy.deepcopy(program)
    train(clone, epochs=20, x=X - 4)
    assert sites(program)["mean.of x"].mean() > sites(clone)["mean.of x"].mean() + 0.5


def test_prepare_leaves_the_generator_alone_and_may_be_repeated():
    program = models.Program(model, guide)
    before = torch.get_rng_state()
    program.prepare(X)
    first = dict(program.named_parameters())
    program.prepare(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert {k: id(v) for k, v in first.items()} == {k: id(v) for k, v in program.named_parameters()}
    assert all(p.requires_grad and p.is_leaf for p in program.parameters()) and len(first) == 3


class Owner(nn.Module):
    """A plain module whose bound methods are the programs, as in Pyro's tutorial."""

    def __init__(self, register=True):
        super().__init__()
        self.decoder, self.encoder, self.register = nn.Linear(2, 3), nn.Linear(3, 4), register

    def model(self, x):
        if self.register:
            pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.3).to_event(1), obs=x)

    def guide(self, x):
        if self.register:
            pyro.module("encoder", self.encoder)
        mean, scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, nn.functional.softplus(scale) + 1e-3).to_event(1))


@pytest.mark.parametrize("register", [True, False])
def test_bound_methods_of_a_module(register):
    owner = Owner(register)
    program = models.Program(owner.model, owner.guide)
    program.prepare(X)
    assert {id(p) for p in program.parameters()} == {id(p) for p in owner.parameters()}
    before = [p.detach().clone() for p in owner.parameters()]
    history = train(program, epochs=100)
    assert all(not torch.equal(a, b) for a, b in zip(before, owner.parameters(), strict=True))
    assert history.rows[-1]["train"]["elbo"] > history.rows[0]["train"]["elbo"] + 1
    assert not len(pyro.get_param_store())
    assert evaluation.log_likelihood(program, X, num_particles=50).value.shape == (40,)
    assert evaluation.elbo(program, X).elbo.isfinite().all()
    clone = copy.deepcopy(program)
    expected = evaluation.elbo(program, X).elbo
    assert torch.equal(evaluation.elbo(clone, X).elbo, expected)
    with torch.no_grad():
        for p in clone.parameters():
            p.zero_()
    assert torch.equal(evaluation.elbo(program, X).elbo, expected)
    assert not torch.equal(evaluation.elbo(clone, X).elbo, expected)


class Guide(PyroModule):
    def __init__(self):
        super().__init__()
        self.t = PyroParam(torch.tensor(0.3), constraint=constraints.positive)
        self.net = PyroModule[nn.Linear](3, 3)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.1 * self.net(x), self.t).to_event(1))


def test_pyro_module_guides():
    q = Guide()
    program = models.Program(model, q)
    program.prepare(X)
    before = [p.detach().clone() for p in q.parameters()]
    assert {id(p) for p in q.parameters()} <= {id(p) for p in program.parameters()}
    assert len(list(program.parameters())) == 2 + 3
    train(program, epochs=20)
    assert all(not torch.equal(a, b) for a, b in zip(before, q.parameters(), strict=True))
    assert q.t > 0 and not len(pyro.get_param_store())


def test_autoguide_as_guide():
    def bayes(x):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(3), 10.0).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, scale).to_event(1), obs=x)

    q = pyro.infer.autoguide.AutoNormal(bayes)
    program = models.Program(bayes, q)
    train(program, epochs=400)
    assert (q.median(X)["mean"] - X.mean(0)).abs().max() < 0.2
    with pytest.raises(ValueError, match="outside the plate data"):
        evaluation.log_likelihood(program, X)


def test_sampled_weights_of_a_bayesian_module():
    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](3, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))

        def forward(self, x, y):
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    regression = Regression()
    program = models.Program(regression, pyro.infer.autoguide.AutoNormal(regression))
    history = fit(SVI(program), (X, X.sum(-1)), epochs=10, lr=0.05, progress=False)
    assert history.rows[-1]["train"]["loss"] < history.rows[0]["train"]["loss"]


def test_labels_are_given_to_those_who_take_them():
    seen = []

    def labelled(x, y=None):
        seen.append(y)
        model(x)

    SVI(models.Program(labelled, guide))(X, torch.arange(40))
    assert seen[0].shape == (40,)


def test_a_program_is_named_and_not_rebuilt():
    record = parts.describe(models.Program(model, guide))
    assert record["class"] == "models.Program" and record["model"]["custom"].endswith("model")
    with pytest.raises(ValueError, match="a class of your own"):
        parts.build(record)


def test_not_programs():
    with pytest.raises(TypeError, match="guide must be a Pyro program, a callable of the batch, not 3"):
        models.Program(model, 3)
