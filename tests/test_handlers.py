import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian
from instances import vae
from pyro import poutine
from torch import nn

from ppl_vae import SVI
from ppl_vae.estimators import MeanFieldELBO, TraceELBO
from ppl_vae.handlers import Cyclical, Linear, LocalParameters, register, scale_latents

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
ESTIMATORS = [TraceELBO, MeanFieldELBO, pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO]
EACH = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.__name__)
BETAS = pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0, torch.tensor(0.0), torch.tensor(4.0)], ids=str)


def loss(estimator, model, guide, x=X):
    torch.manual_seed(3)
    return estimator().differentiable_loss(model, guide, x)


@EACH
@BETAS
def test_beta_scales_the_kl_alone(estimator, beta):
    pair = LinearGaussian()
    value = loss(estimator, scale_latents(pair.model, beta), scale_latents(pair.guide, beta))
    torch.manual_seed(3)
    q = dist.Normal(X @ pair.a.T + pair.c, pair.t).to_event(1)
    z = q.rsample()
    reconstruction = dist.Normal(z @ pair.w.T + pair.b, pair.s).to_event(1).log_prob(X)
    closed = estimator in (MeanFieldELBO, pyro.infer.TraceMeanField_ELBO)
    kl = pair.terms(X)[1] if closed else q.log_prob(z) - pair.prior(X).log_prob(z)
    expected = -(reconstruction - beta * kl).sum()
    assert torch.allclose(value, expected, rtol=1e-5)
    gradient = pair.gradient(value)
    assert torch.allclose(gradient, pair.gradient(expected), rtol=1e-3, atol=1e-4)
    if beta == 0:
        assert torch.equal(gradient, pair.gradient(loss(estimator, *likelihood_only(pair))))


def likelihood_only(pair):
    """The programs with masked latents: what beta = 0 must be, to the bit."""

    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=False):
                z = pyro.sample("z", pair.prior(x))
            pyro.sample("x", dist.Normal(z @ pair.w.T + pair.b, pair.s).to_event(1), obs=x)

    return model, poutine.mask(pair.guide, False)


class TwoEqualNormals(LinearGaussian):
    """A mixture prior that is the standard Normal, of which Pyro knows no closed-form KL."""

    def prior(self, x):
        components = dist.Normal(torch.zeros(2, 2), 1.0).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=torch.tensor([0.3, -1.0])), components)


@EACH
@BETAS
def test_a_mixture_of_equal_normals_is_the_normal(estimator, beta):
    mixture, normal = TwoEqualNormals(), LinearGaussian()
    a = loss(estimator, scale_latents(mixture.model, beta), scale_latents(mixture.guide, beta))
    sampled = {MeanFieldELBO: TraceELBO, pyro.infer.TraceMeanField_ELBO: pyro.infer.Trace_ELBO}
    estimator = sampled.get(estimator, estimator)
    b = loss(estimator, scale_latents(normal.model, beta), scale_latents(normal.guide, beta))
    assert torch.allclose(a, b, rtol=1e-5)
    assert torch.allclose(mixture.gradient(a), normal.gradient(b), rtol=1e-3, atol=1e-4)


@EACH
def test_the_same_through_the_objective(estimator):
    model, x = vae(shape=(3,)), torch.ones(4, 3)
    by_hand = loss(estimator, scale_latents(model.model, 3.0), scale_latents(model.guide, 3.0), x)
    torch.manual_seed(3)
    objective = SVI(model, estimator(), beta=3.0)
    assert torch.allclose(objective(x).value, by_hand / 4, rtol=1e-5)


def test_only_latent_sites_are_scaled():
    def model(x):
        with pyro.plate("data", 20, subsample_size=5):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    trace = poutine.trace(scale_latents(model, 0.5)).get_trace(torch.zeros(5))
    nodes = trace.nodes
    assert (nodes["data"]["scale"], nodes["z"]["scale"], nodes["x"]["scale"]) == (1.0, 2.0, 4.0)
    assert nodes["z"]["infer"]["beta"] == 0.5
    assert "beta" not in nodes["x"]["infer"] and "beta" not in nodes["data"]["infer"]


def test_nested_betas_multiply_and_a_conditioned_site_is_observed():
    def model():
        return pyro.sample("z", dist.Normal(0.0, 1.0))

    twice = poutine.trace(scale_latents(scale_latents(model, 0.5), 0.5)).get_trace()
    assert twice.nodes["z"]["scale"] == twice.nodes["z"]["infer"]["beta"] == 0.25
    conditioned = poutine.condition(model, {"z": torch.tensor(1.0)})
    assert poutine.trace(scale_latents(conditioned, 0.5)).get_trace().nodes["z"]["scale"] == 1.0


def test_beta_leaves_the_reported_terms_alone():
    pair = LinearGaussian()
    plain, scaled = (
        [torch.manual_seed(3), TraceELBO().terms(scale_latents(pair.model, b), scale_latents(pair.guide, b), X)][1]
        for b in (1.0, 7.0)
    )
    for name in ("elbo", "reconstruction", "kl"):
        assert torch.allclose(getattr(plain, name), getattr(scaled, name))
    assert torch.allclose(scaled.surrogate, plain.reconstruction - 7 * plain.kl, rtol=1e-5)
    assert plain.scale == scaled.scale == 1.0


@pytest.mark.parametrize("side", ["model", "guide"])
@pytest.mark.parametrize("beta", [0.5, torch.tensor(0.5)], ids=str)
def test_beta_on_one_side_alone_is_refused(side, beta):
    pair = LinearGaussian()
    programs = {"model": pair.model, "guide": pair.guide}
    programs[side] = scale_latents(programs[side], beta)
    with pytest.raises(ValueError, match="site z is scaled by a tensor in only one|wrap all of model and guide"):
        TraceELBO().terms(programs["model"], programs["guide"], X)


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf, True, "warm", None, torch.ones(2)])
def test_bad_beta(beta):
    with pytest.raises(ValueError, match="beta must be"):
        scale_latents(lambda: None, beta)


def test_a_schedule_is_for_the_objective():
    with pytest.raises(TypeError, match="not the schedule"):
        scale_latents(lambda: None, Linear())


def test_linear():
    schedule = Linear(steps=10, start=0.5, end=2.5)
    assert [schedule(step) for step in (0, 5, 10, 10_000)] == [0.5, 1.5, 2.5, 2.5]


def test_cyclical():
    schedule = Cyclical(period=8, ramp=0.25, start=1.0, end=2.0)
    assert [schedule(step) for step in (0, 1, 2, 7, 8, 9, 16)] == [1.0, 1.5, 2.0, 2.0, 1.0, 1.5, 1.0]


@pytest.mark.parametrize("ramp", [0, -1, 1.1])
def test_bad_schedules(ramp):
    with pytest.raises(ValueError, match="ramp must be a share of the period"):
        Cyclical(ramp=ramp)
    with pytest.raises(ValueError, match="steps must be a whole number"):
        Linear(steps=0)


def test_register_answers_to_local_parameters():
    net = nn.Linear(2, 2)
    with LocalParameters():
        assert register("net", net) is net
    assert not len(pyro.get_param_store())
    register("net", net)
    assert set(pyro.get_param_store().keys()) == {"net$$$weight", "net$$$bias"}
