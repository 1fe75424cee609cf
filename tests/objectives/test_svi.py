import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian
from instances import vae
from torch import nn

from ppl_vae import SVI, estimators, handlers, models
from ppl_vae.objectives import Loss

X = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)).bernoulli()
ELBOS = [
    estimators.TraceELBO(),
    estimators.MeanFieldELBO(num_particles=3),
    pyro.infer.Trace_ELBO(),
    pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    pyro.infer.TraceMeanField_ELBO(),
]


@pytest.mark.parametrize("elbo", ELBOS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "beta",
    [1.0, 0.0, 2.5, torch.tensor(2.5), handlers.Linear(steps=4)],
    ids=["one", "zero", "number", "tensor", "schedule"],
)
def test_loss_is_the_mean_over_examples_and_the_store_stays_empty(elbo, beta):
    model = vae(shape=(3,))
    objective = SVI(model, elbo, beta)
    torch.manual_seed(2)
    loss = objective(X)
    assert isinstance(loss, Loss) and loss.value.shape == () and loss.value.requires_grad
    loss.value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert not len(pyro.get_param_store())
    now = 0.0 if isinstance(beta, handlers.Linear) else beta
    programs = handlers.scale_latents(model.model, now), handlers.scale_latents(model.guide, now)
    torch.manual_seed(2)
    assert torch.allclose(loss.value, elbo.differentiable_loss(*programs, X) / 6, rtol=1e-5)


def test_terms_are_reported_at_beta_one():
    pair = LinearGaussian()
    x = torch.randn(4, 3)
    for beta in (0.0, 1.0, 5.0):
        torch.manual_seed(0)
        loss = SVI(pair, estimators.MeanFieldELBO(), beta)(x)
        assert set(loss.terms) == {"elbo", "reconstruction", "kl"}
        assert all(t.shape == (4,) and not t.requires_grad for t in loss.terms.values())
        assert torch.allclose(loss.terms["kl"], pair.terms(x)[1].detach(), atol=1e-5)
        assert torch.allclose(loss.value, (beta * loss.terms["kl"] - loss.terms["reconstruction"]).mean(), rtol=1e-5)


def test_schedules():
    objective = SVI(vae(shape=(3,)), beta=handlers.Linear(steps=10, end=2.0))
    assert objective.watch == ("elbo", "max") and SVI(vae(shape=(3,))).watch == ("loss", "min")
    for step, beta in ((0, 0.0), (5, 1.0), (10, 2.0), (99, 2.0)):
        assert objective.at_step(step) == {"beta": beta}
        torch.manual_seed(1)
        loss = objective(X)
        expected = (beta * loss.terms["kl"] - loss.terms["reconstruction"]).mean()
        assert torch.allclose(loss.value, expected, rtol=1e-5)
    assert SVI(vae(shape=(3,)), beta=3.0).at_step(7) == {"beta": 3.0}
    assert "_beta" not in objective.state_dict()


def test_a_schedule_that_goes_wrong_says_so():
    with pytest.raises(ValueError, match="beta must be a finite number of at least 0, not -1.0"):
        SVI(vae(shape=(3,)), beta=handlers.Linear(start=-1.0))
    with pytest.raises(ValueError, match="beta must be a finite number of at least 0, not -1.0"):
        SVI(vae(shape=(3,)), beta=torch.tensor(-1.0))


def test_plate_subsampling_reaches_the_loss():
    pair = LinearGaussian()

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = pair

        def model(self, x):
            return pyro.poutine.scale(pair.model, 3.0)(x)

        def guide(self, x):
            return pyro.poutine.scale(pair.guide, 3.0)(x)

    x = torch.randn(4, 3)
    for elbo in (estimators.TraceELBO(), pyro.infer.Trace_ELBO()):
        values = []
        for model in (pair, Scaled()):
            torch.manual_seed(0)
            values.append(SVI(model, elbo)(x).value)
        assert torch.allclose(values[1], 3 * values[0], rtol=1e-5)


def test_two_objectives_do_not_touch_each_other():
    a, b = vae(shape=(3,)), vae(shape=(3,))
    before = [p.detach().clone() for p in b.parameters()]
    optimizer = torch.optim.Adam(a.parameters(), 0.1)
    SVI(a)(X).value.backward()
    optimizer.step()
    assert all(p.grad is None for p in b.parameters())
    assert all(torch.equal(p, q) for p, q in zip(before, b.parameters(), strict=True))


def test_deepcopy_is_independent():
    objective = SVI(vae(shape=(3,)), beta=handlers.Cyclical(period=4))
    clone = copy.deepcopy(objective)
    clone.at_step(3)
    torch.manual_seed(0)
    a = objective(X).value
    torch.manual_seed(0)
    b = clone(X).value
    assert not torch.equal(a, b)
    assert not {id(p) for p in objective.parameters()} & {id(p) for p in clone.parameters()}


def test_training_lowers_the_loss():
    model = vae(shape=(3,))
    objective = SVI(model, estimators.MeanFieldELBO())
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = objective(X).value
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < sum(losses[:10])


def test_diagnose_names_the_site():
    model = vae(shape=(3,))
    objective = SVI(model)
    with pyro.validation_enabled(False):
        assert objective.diagnose(X) is None
        with torch.no_grad():
            model.likelihood.head.layer.bias.fill_(float("nan"))
        assert objective.diagnose(X) == "x of the model"
        with torch.no_grad():
            model.posterior.head.layer.bias.fill_(float("nan"))
        assert objective.diagnose(X) == "z of the guide"


def test_prepare_finds_a_programs_parameters():
    def model(x):
        mean = pyro.param("mean", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + mean, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    objective = SVI(models.Program(model, guide))
    assert not list(objective.parameters())
    objective.prepare(X)
    assert len(list(objective.parameters())) == 1
    SVI(vae(shape=(3,))).prepare(X)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"estimator": estimators.TraceELBO}, TypeError, "estimator must be an instance of a pyro.infer.ELBO class"),
        ({"estimator": "trace-elbo"}, TypeError, "estimator must be an instance"),
        (
            {"estimator": pyro.infer.RenyiELBO()},
            TypeError,
            "RenyiELBO weighs the whole batch as one datum.*use estimators.Renyi",
        ),
        ({"beta": -1}, ValueError, "beta must be a finite number of at least 0, not -1"),
        ({"beta": float("nan")}, ValueError, "beta must be a finite number"),
        ({"beta": True}, ValueError, "beta must be a number, a tensor or a schedule, not True"),
        ({"beta": "linear"}, ValueError, "beta must be a number, a tensor or a schedule"),
        ({"beta": torch.ones(3)}, ValueError, "beta must be a scalar"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        SVI(vae(shape=(3,)), **arguments)


def test_a_model_without_programs():
    with pytest.raises(TypeError, match="model must have Pyro programs model and guide"):
        SVI(nn.Linear(2, 2))
