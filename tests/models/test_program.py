import copy
import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from ppl_vae import SVI, data, estimators, evaluation, fit, load, models, parts, reporting

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
    found = evaluation.log_likelihood(program, X, num_particles=50)
    assert found.value.shape == (40,) and found.joint_stderr is not None


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


AUTOGUIDES = [
    "AutoNormal",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
    "AutoDelta",
]


def regression(x, y):
    """Bayesian linear regression, with batches drawn from 200 rows."""
    w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(-1.0, 0.5))
    with pyro.plate("data", 200, subsample_size=len(x)):
        pyro.sample("y", dist.Normal((x * w).sum(-1), scale), obs=y)


def rows(seed=2):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(-1) + 0.3 * torch.randn(200, generator=torch.Generator().manual_seed(seed + 1))


@pytest.mark.parametrize("name", AUTOGUIDES)
def test_fit_evaluate_report_resume_and_load_with_autoguides(name, tmp_path):
    def program():
        return models.Program(regression, getattr(pyro.infer.autoguide, name)(regression))

    def run(made, epochs, out=None, **arguments):
        objective = SVI(made, estimators.TraceELBO())
        return fit(objective, rows(), epochs=epochs, lr=0.03, batch_size=64, out=out, progress=False, **arguments)

    whole = program()
    history = run(whole, 30)
    assert history.rows[-1]["train"]["elbo"] > history.rows[0]["train"]["elbo"] + 0.5
    run(program(), 12, tmp_path / "run")
    resumed = program()
    rest = run(resumed, 30, tmp_path / "run", resume=True)
    assert len(rest.rows) == 30
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    loaded = program()
    loaded.prepare(*rows())
    loaded = load(tmp_path / "run", model=loaded)
    test = data.as_split(rows(7), part="test")
    results = [evaluation.evaluate(each, test, num_particles=50) for each in (whole, resumed, loaded)]
    assert results[0] == results[1] == results[2]
    assert results[0]["log_likelihood_kind"] == "posterior predictive" and results[0]["log_likelihood"] > -1.0
    assert results[0]["bits_per_dim"] == pytest.approx(-results[0]["log_likelihood"] / math.log(2))  # of y alone
    assert results[0]["ess"] == pytest.approx(50.0) if name == "AutoDelta" else 1 < results[0]["ess"] < 50
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    page = reporting.write(tmp_path / "run", loaded, None, rest.rows, config, {"test": results[0]})
    assert "Test log-likelihood" in page.read_text()


@pytest.mark.parametrize("prepared", [False, True])
def test_copies_of_autoguides_leave_the_original_whole(prepared):
    program = models.Program(regression, pyro.infer.autoguide.AutoNormal(regression))
    if prepared:
        program.prepare(*rows())
    clone = copy.deepcopy(program)
    for each in (clone, program):
        fit(SVI(each), rows(), epochs=2, batch_size=100, progress=False)
    trained = {name: value.clone() for name, value in clone.state_dict().items()}
    fit(SVI(program), rows(), epochs=2, batch_size=100, progress=False)
    assert all(torch.equal(value, trained[name]) for name, value in clone.state_dict().items())
    assert any(not torch.equal(value, trained[name]) for name, value in program.state_dict().items())
    assert parts.describe(clone) == parts.describe(program)


def test_autonormal_of_local_latents_has_codes_of_its_own():
    def local(x):
        scale = pyro.sample("scale", dist.Gamma(2.0, 2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Normal(z, scale), obs=x)

    x = 1.0 + torch.rand(40, generator=torch.Generator().manual_seed(0))
    program = models.Program(local, pyro.infer.autoguide.AutoNormal(local))
    untrained = evaluation.elbo(program, x, num_particles=20)  # finds the parameters from all data, not the first
    history = train(program, epochs=300, x=x)
    assert program.get_parameter(_named(program, "locs.z")).shape == (40,)
    assert evaluation.elbo(program, x, num_particles=20).elbo.mean() > untrained.elbo.mean() + 0.2
    assert history.rows[-1]["train"]["elbo"] == pytest.approx(
        evaluation.elbo(program, x, num_particles=200).elbo.mean().item(), abs=0.3
    )
    test = data.as_split(x, part="test")
    assert evaluation.evaluate(program, test, num_particles=30)["log_likelihood_kind"] == "posterior predictive"
    for function in (evaluation.log_likelihood, evaluation.elbo):
        with pytest.raises(ValueError, match="the guide has codes of its own for 40 data and was given 39"):
            function(program, x[:39])


def _named(program, part):
    return next(name for name, _ in program.named_parameters() if part in name)


@pytest.mark.parametrize("name", ["AutoDelta", "AutoDiagonalNormal", "AutoMultivariateNormal"])
def test_guides_without_a_density_for_single_data_are_refused(name):
    program = models.Program(model, getattr(pyro.infer.autoguide, name)(model))
    train(program, epochs=2)
    assert evaluation.elbo(program, X).elbo.isfinite().all()
    with pytest.raises(ValueError, match="site z.* no log-weights; use pyro.infer.autoguide.AutoNormal") as caught:
        evaluation.log_likelihood(program, X)
    assert "\n" not in str(caught.value)


class Weights(nn.Module):
    """A decoder with sampled weights, which take no particles in front, and an encoder of the local latents."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 4)
        self.weights = pyro.infer.autoguide.AutoNormal(pyro.poutine.block(self.model, hide=["z", "x"]))

    def model(self, x):
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        with pyro.plate("data", 40, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(nn.functional.linear(z, weight, bias), 0.3).to_event(1), obs=x)

    def guide(self, x):
        self.weights(x)
        mean, scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", 40, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(mean, nn.functional.softplus(scale) + 1e-3).to_event(1))


def test_a_bayesian_decoder_beside_an_amortized_guide():
    owner = Weights()
    program = models.Program(owner.model, owner.guide)
    history = fit(SVI(program), X, epochs=100, lr=0.03, batch_size=16, progress=False)
    assert history.rows[-1]["train"]["elbo"] > history.rows[0]["train"]["elbo"] + 1
    found = evaluation.log_likelihood(program, X, num_particles=200)
    bound = evaluation.elbo(program, X, num_particles=200)
    assert found.value.isfinite().all() and found.mean > bound.reconstruction.mean() - bound.kl.mean()
    assert evaluation.log_likelihood(program, torch.cat([X, X]), num_particles=5).value.shape == (80,)


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
