"""Captured steps against eager ones: the same bits uncompiled, the same to rounding compiled, always the same noise."""

import copy
import functools
import json
import random
import shutil
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from instances import DISCRETE, every, instance, vae
from torch import nn

from ppl_vae import SVI, Reconstruction, fit, handlers, likelihoods, models, networks, posteriors, priors
from ppl_vae.capture.graphs import NotCapturable
from ppl_vae.estimators import Enum
from ppl_vae.objectives import Loss
from ppl_vae.training import RunFolder, cost, steps
from ppl_vae.training.capture import Captured
from ppl_vae.training.checkpoint import load_checkpoint
from ppl_vae.training.precision import half_products

SHAPE = (1, 4, 4)
X = torch.rand(90, *SHAPE, generator=torch.Generator().manual_seed(1)).round()

# Estimators that need another model than the plain one, by name: a function that makes it.
OTHER_MODELS = dict.fromkeys(
    DISCRETE,
    lambda: vae(2, SHAPE, prior=priors.Bernoulli(2), posterior=posteriors.Bernoulli(networks.MLP(SHAPE, [6]), 2)),
)


def mlp(*sizes, **more):
    return networks.MLP(*sizes, **more)


def encoder():
    return mlp(SHAPE, [6], "tanh")


def decoder(dim):
    return likelihoods.Bernoulli(mlp(dim, [6], "tanh"), SHAPE)


def own_program():
    """Site parameters with constraints, plain torch layers with dropout, and a plate that sub-samples nothing."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.5), nn.Softplus(), nn.Linear(8, 2))

    def model(x):
        scale = pyro.param("scale", torch.tensor(0.7), constraint=dist.constraints.positive)
        weight = pyro.param("weight", torch.linspace(-1, 1, 32).view(2, 16))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight, scale).to_event(1), obs=x.flatten(1))

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.net(x), 0.3).to_event(1))

    return SVI(models.Program(model, Guide()))


def convolutional():
    """Batch normalisation under two particles, and a warm-up of beta."""
    deep = networks.ResNet(SHAPE, [3])
    mirror = networks.ResNet.decoder(2, [3], SHAPE)
    both = vae(2, SHAPE, posterior=posteriors.Normal(deep, 2), likelihood=likelihoods.Bernoulli(mirror, SHAPE))
    return SVI(both, beta=handlers.Linear(steps=5))


def relaxed():
    """A temperature that follows a schedule."""
    q = posteriors.RelaxedOneHotCategorical(encoder(), 3, temperature=lambda step: 1.0 / (1 + step))
    return SVI(vae(3, SHAPE, prior=priors.RelaxedOneHotCategorical(3), posterior=q, likelihood=decoder(3)))


def straight_through():
    """Three categorical variables with straight-through gradients, at a temperature that falls."""
    q = posteriors.GumbelSoftmax(encoder(), 6, groups=3, end_temperature=0.3, steps=5)
    return SVI(vae(6, SHAPE, prior=priors.OneHotCategorical(6, groups=3), posterior=q, likelihood=decoder(6)))


def enumerated():
    """Two categorical variables, summed over all their values."""
    q, prior = posteriors.OneHotCategorical(encoder(), 6, groups=2), priors.OneHotCategorical(6, groups=2, learned=True)
    return SVI(vae(6, SHAPE, prior=prior, posterior=q, likelihood=decoder(6)), Enum())


OBJECTIVES = {
    "reconstruction": lambda: Reconstruction(models.Autoencoder(encoder(), mlp(2, [6]), 2, SHAPE), "bce"),
    "own program": own_program,
    "batch normalisation": convolutional,
    "schedules": relaxed,
    "straight-through": straight_through,
    "enumerated": enumerated,
    "dirichlet": lambda: SVI(
        vae(3, SHAPE, prior=priors.Dirichlet(3), posterior=posteriors.Dirichlet(encoder(), 3), likelihood=decoder(3))
    ),
    "beta": lambda: SVI(
        vae(2, SHAPE, prior=priors.Beta(2), posterior=posteriors.Beta(encoder(), 2), likelihood=decoder(2))
    ),
    "mixture": lambda: SVI(vae(2, SHAPE, prior=priors.MixtureOfGaussians(2, 3), likelihood=decoder(2)), beta=2.0),
    "flow": lambda: SVI(vae(2, SHAPE, prior=priors.Flow(2), likelihood=decoder(2))),
    "covariance": lambda: SVI(
        vae(2, SHAPE, posterior=posteriors.MultivariateNormal(encoder(), 2), likelihood=decoder(2))
    ),
}


def of_estimator(case):
    make = OTHER_MODELS.get(case[0], lambda: vae(2, SHAPE))
    return SVI(make(), instance("estimators", case))


def made(make, *args):
    torch.manual_seed(0)
    objective = make(*args)
    objective.prepare(X[:32])
    return objective.train()


def walk(objective, step, count):
    """Losses and terms of a training with ``step(batch) -> Loss`` and Adam."""
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    torch.manual_seed(2)
    seen = []
    for i in range(count):
        objective.at_step(i)
        optimizer.zero_grad()
        loss = step((X[i % 50 : i % 50 + 32],))
        seen += [loss.value.detach().clone(), *(term.clone() for term in loss.terms.values())]
        optimizer.step()
    return seen


def eager(objective):
    def step(batch):
        loss = objective(*batch)
        loss.value.backward()
        return loss

    return step


def both_ways(objective, steps, compiled):
    reference = copy.deepcopy(objective)
    before = torch.get_rng_state()
    captured = Captured(objective, (X[:32],), compiled=compiled)
    assert torch.equal(before, torch.get_rng_state())
    start = copy.deepcopy(reference.state_dict())
    assert all(torch.equal(start[name], value) for name, value in objective.state_dict().items())
    walks = walk(objective, captured, steps), walk(reference, eager(reference), steps)
    ends = [[*walked, *o.state_dict().values()] for walked, o in zip(walks, (objective, reference), strict=True)]
    moved = [not torch.equal(a, b) for a, b in zip(start.values(), reference.state_dict().values(), strict=True)]
    assert any(moved)
    return list(zip(*ends, strict=True)), captured


ESTIMATORS = [pytest.param(case, id=str(case)) for case in every("estimators")]


@pytest.mark.parametrize("case", ESTIMATORS)
def test_the_graph_of_every_estimator_walks_to_the_same_bits(case):
    pairs, _ = both_ways(made(of_estimator, case), steps=10, compiled=False)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_graph_of_every_objective_walks_to_the_same_bits(name):
    pairs, captured = both_ways(made(OBJECTIVES[name]), steps=10, compiled=False)
    assert all(torch.equal(a, b) for a, b in pairs)
    called = {str(node.target) for node in captured.run.graph.nodes}
    assert not {"aten._local_scalar_dense.default", "aten.item.default", "aten.nonzero.default"} & called


def agree(pairs, tolerance):
    for a, b in pairs:
        assert torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)


def test_compiled_steps_follow_eager_ones():
    # Rounding of 1e-7 a step grows along the way; another noise would part them by 0.1 in a step.
    pairs, _ = both_ways(made(lambda: SVI(vae(2, SHAPE), beta=handlers.Linear(5))), steps=20, compiled=True)
    agree(pairs, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("case", ESTIMATORS)
def test_compiled_steps_of_every_estimator_follow_eager_ones(case):
    pairs, _ = both_ways(made(of_estimator, case), steps=20, compiled=True)
    agree(pairs, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_compiled_steps_of_every_objective_follow_eager_ones(name):
    pairs, _ = both_ways(made(OBJECTIVES[name]), steps=20, compiled=True)
    agree(pairs, 1e-3)


# fit


def trained(make, **more):
    objective = made(make)
    history = fit(objective, (X,), epochs=4, batch_size=20, progress=False, seed=3, **more)
    return history, objective.state_dict()


@pytest.mark.parametrize(
    "more",
    [{}, {"accumulate": 2, "clip": 1.0, "schedule": "cosine", "warmup": 3}, {"precision": "bf16"}],
    ids=["plain", "accumulated", "bf16"],
)
def test_fit_captures_once_and_gives_the_bits_of_eager_steps(uncompiled, more):
    """Four full batches and a short one an epoch, validation, a schedule of beta, batch normalisation."""
    history, state = trained(convolutional, valid=X[:10], compile=True, **more)
    assert history.steps == "captured" and len(uncompiled) == 1
    reference, expected = trained(convolutional, valid=X[:10], compile=False, **more)
    assert reference.steps == "eager" and len(uncompiled) == 1
    assert all(torch.equal(a, b) for a, b in zip(state.values(), expected.values(), strict=True))
    for a, b in zip(history.rows, reference.rows, strict=True):
        assert (a["train"], a["valid"]) == (b["train"], b["valid"])


def test_a_captured_run_resumes_to_the_same_bits(uncompiled, tmp_path):
    whole, parts = ({"out": tmp_path / name, "batch_size": 20, "progress": False} for name in ("whole", "parts"))
    fit(made(convolutional), (X,), epochs=4, compile=True, **whole)
    fit(made(convolutional), (X,), epochs=2, compile=True, **parts)
    fit(made(convolutional), (X,), epochs=4, compile=True, resume=True, **parts)
    assert len(uncompiled) == 3
    assert (tmp_path / "whole/weights.safetensors").read_bytes() == (
        tmp_path / "parts/weights.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_a_compiled_run_resumes_to_the_same_bits(tmp_path):
    for name, lengths in (("whole", (4,)), ("parts", (2, 4))):
        for epochs in lengths:
            torch._dynamo.reset()
            more = {"resume": epochs == 4, "compile": True, "progress": False}
            fit(made(convolutional), (X,), epochs=epochs, batch_size=20, out=tmp_path / name, **more)
    assert (tmp_path / "whole/weights.safetensors").read_bytes() == (
        tmp_path / "parts/weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("first", [True, False])
def test_the_choice_is_made_once_and_kept(uncompiled, tmp_path, monkeypatch, first):
    monkeypatch.setattr(steps, "worth_capturing", lambda *_: first)
    run = functools.partial(fit, train=(X,), batch_size=20, progress=False, out=tmp_path / "run")
    assert run(made(convolutional), epochs=1).steps == ("captured" if first else "eager")
    assert RunFolder(tmp_path / "run").config()["training"]["capture"] is first
    assert load_checkpoint(tmp_path / "run/checkpoint.pt")["stages"][0]["capture"] is first
    monkeypatch.setattr(steps, "worth_capturing", lambda *_: not first)
    assert run(made(convolutional), epochs=2, resume=True).steps == ("captured" if first else "eager")
    with pytest.raises(ValueError, match="compile was 'auto'"):
        run(made(convolutional), epochs=2, resume=True, compile=not first)


def test_a_run_of_before_there_was_a_choice_goes_on_eagerly(uncompiled, tmp_path):
    run = functools.partial(fit, train=(X,), batch_size=20, progress=False, out=tmp_path / "run")
    run(made(convolutional), epochs=1)
    file = tmp_path / "run/config.json"
    config = json.loads(file.read_text())
    del config["training"]["compile"], config["training"]["capture"]
    file.write_text(json.dumps(config))
    assert run(made(convolutional), epochs=2, resume=True).steps == "eager"


class Shared(nn.Module):
    """An objective whose parameters get one and the same gradient, and an expanded one."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.ones(16)) for _ in range(3))

    def forward(self, x):
        return Loss((self.a + self.b).sum() - (x.flatten(1) * self.b).mean() + 3 * self.c.sum(), {})


def test_gradients_that_share_memory_are_clipped_as_in_eager_steps(uncompiled):
    ends = []
    for choice in (True, False):
        objective = Shared()
        assert (
            fit(objective, (X,), epochs=2, optimizer="sgd", progress=False, clip=0.1, compile=choice).steps != "eager"
            or not choice
        )
        ends.append([p.detach() for p in objective.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# What cannot be captured


class Plain(nn.Module):
    """An objective with one weight and something wrong."""

    def __init__(self, wrong):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))
        self.wrong, self.calls = wrong, 0

    def forward(self, x):
        self.calls += 1
        return Loss((self.wrong(self, x.flatten(1)) * self.weight).square().mean(), {})


WRONG = {
    "item": lambda self, x: x * x.sum().item(),
    "branch": lambda self, x: x if x.sum() > 3 else -x,
    "shape": lambda self, x: x[x.sum(1) > 8],
    "python's noise": lambda self, x: x * random.random(),
    "numpy's noise": lambda self, x: x + torch.from_numpy(np.random.rand(16).astype("float32")),
    "a count": lambda self, x: x * self.calls,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_captured_runs_eagerly_and_says_why(name):
    with pytest.warns(UserWarning, match="steps run eagerly, since the program") as said:
        history = fit(Plain(WRONG[name]), (X,), epochs=1, batch_size=20, progress=False, compile=True)
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert history.steps == str(said[0].message).replace("steps run eagerly", "eager")


def test_pyros_own_estimators_run_eagerly():
    objective = SVI(vae(2, SHAPE), pyro.infer.Trace_ELBO())
    with pytest.raises(NotCapturable, match="without values|from a tensor"):
        Captured(objective, (X[:32],), compiled=False)


def test_a_broken_compiler_is_no_obstacle(monkeypatch):
    def broken(*_, **__):
        def run(*_):
            raise RuntimeError("no such compiler\nand more")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(
        UserWarning, match=r"eagerly, since the graph does not compile \(RuntimeError: no such compiler\)"
    ):
        history = fit(made(convolutional), (X,), epochs=1, batch_size=20, progress=False, compile=True)
    assert "does not compile" in history.steps


def test_an_automatic_choice_that_fails_is_no_warning(monkeypatch):
    monkeypatch.setattr(steps, "worth_capturing", lambda *_: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = fit(Plain(WRONG["item"]), (X,), epochs=1, batch_size=20, progress=False)
    assert "from a tensor's values" in history.steps


def test_errors_of_the_first_step_are_the_users_to_see():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z[:, None].expand(-1, 16)).to_event(1), obs=x.flatten(1) + 0.5)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    for choice in (True, False):
        with pytest.raises(ValueError, match="support"):
            objective = SVI(models.Program(model, guide))
            fit(objective, (X,), epochs=1, batch_size=20, progress=False, compile=choice)


# The choice


def test_long_trainings_are_captured_and_short_ones_are_not(monkeypatch):
    mnist = SVI(vae(20, (784,), hidden=(400,)))
    digits = SVI(vae(8, (1, 8, 8), hidden=(256, 256)))
    x = torch.zeros(128, 784)
    assert cost.worth_capturing(mnist, (x,), steps=20 * 430)
    assert not cost.worth_capturing(mnist, (x,), steps=430)
    assert not cost.worth_capturing(digits, (x[:, :64].reshape(128, 1, 8, 8),), steps=300 * 12)  # make demo
    assert not cost.worth_capturing(mnist, (x,), steps=cost.FEW)
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    assert not cost.worth_capturing(mnist, (x,), steps=20 * 430)


def test_the_estimate_changes_nothing_and_grows_with_the_work():
    objective = made(convolutional)
    state, noise = copy.deepcopy(objective.state_dict()), torch.get_rng_state()
    small, large = (cost.eager_seconds(objective, (X[:n],), steps=10) for n in (10, 90))
    assert 0.02 < small < large
    assert torch.equal(noise, torch.get_rng_state()) and all(p.grad is None for p in objective.parameters())
    assert all(torch.equal(state[name], value) for name, value in objective.state_dict().items())


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_compile_is_checked(value):
    with pytest.raises(ValueError, match="compile must be 'auto', True or False"):
        fit(made(convolutional), (X,), epochs=1, progress=False, compile=value)


# bf16


def test_layers_multiply_in_bfloat16_and_densities_are_in_float32():
    objective = made(OBJECTIVES["covariance"])
    posterior = objective.model.posterior
    exact = posterior(X).loc
    seen = []
    posterior.network.layers[1].register_forward_hook(lambda layer, inputs, out: seen.append(out.dtype))
    with half_products(objective):
        q = posterior(X)
        torch.manual_seed(0)
        z = q.rsample()
        torch.manual_seed(0)
        noise = torch.randn_like(q.loc)
        terms = objective(X).terms
    assert seen[0] == torch.float32 and 1e-5 < (q.loc - exact).abs().max() < 0.05
    # A product in bfloat16 would miss by 1e-2.
    expected = q.loc + (q.scale_tril.double() @ noise.double()[..., None])[..., 0]
    assert torch.allclose(z.double(), expected, atol=1e-6)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert torch.equal(posterior(X).loc, exact)


def test_bf16_is_undone_after_an_error_and_leaves_flows_and_float64_alone():
    flow = priors.Flow(2)
    z = torch.randn(5, 2)
    wide = nn.Linear(3, 3).double()
    whole = nn.ModuleList([flow, wide])
    expected = flow().log_prob(z)
    x = torch.randn(4, 3, dtype=torch.double)
    with pytest.raises(RuntimeError, match="on purpose"), half_products(whole):
        assert torch.equal(flow().log_prob(z), expected)
        assert wide(x).dtype == torch.double
        raise RuntimeError("on purpose")
    assert "forward" not in vars(wide)


def test_bf16_gradients_point_where_float32_ones_do():
    grads = []
    for half in (False, True):
        objective = made(convolutional)
        torch.manual_seed(1)
        with half_products(objective) if half else torch.enable_grad():
            loss = objective(X)
        loss.value.backward()
        grads.append(torch.cat([p.grad.flatten() for p in objective.parameters()]))
    assert torch.cosine_similarity(*grads, dim=0) > 0.99 and not torch.equal(*grads)
