import os
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae.distributions import Flow
from ppl_vae.distributions.flow import flow_transform

KINDS = ["coupling", "autoregressive", "spline"]


def shaken(module, by=0.3):
    """The module away from the identity."""
    generator = torch.Generator().manual_seed(3)
    for p in module.parameters():
        p.data += by * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return module


def flow(kind, dim=3, drawn=False, context=0, batch=()):
    lazy = shaken(flow_transform(dim, kind, transforms=3, hidden=(8, 8), context=context)).double()
    transform = lazy(torch.randn(*batch, context, dtype=torch.float64)) if context else lazy()
    base = dist.Normal(torch.zeros(*batch, dim, dtype=torch.float64), 1.0).to_event(1)
    return Flow(base, transform, drawn=drawn)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("context", [0, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_log_determinant_equals_autograd(kind, context, dim):
    lazy = shaken(flow_transform(dim, kind, transforms=3, hidden=(8,), context=context)).double()
    transform = lazy(torch.randn(context, dtype=torch.float64)) if context else lazy()
    for z in torch.randn(4, dim, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(transform, z)
        u, log_det = transform.call_and_ladj(z)
        assert torch.allclose(log_det, jacobian.slogdet().logabsdet, atol=1e-9)
        assert log_det.abs() > 1e-3
        assert torch.allclose(transform.inv(u), z, atol=1e-7)


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_two_dimensional_density_integrates_to_one(kind, drawn):
    p = flow(kind, dim=2, drawn=drawn)
    side = torch.linspace(-12, 12, 401 if kind == "spline" else 151, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)
    with torch.no_grad():
        mass = p.log_prob(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert abs(mass - 1) < 2e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("drawn", [False, True])
def test_a_draw_is_scored_as_any_other_code(kind, drawn):
    p = flow(kind, drawn=drawn, context=4, batch=(5,)).expand((6, 5))
    z = p.rsample()
    assert z.shape == (6, 5, 3) and p.rsample((2,)).shape == (2, 6, 5, 3)
    z = p.rsample()
    assert torch.allclose(p.log_prob(z), p.log_prob(z.clone()), atol=1e-7)


def test_a_draw_costs_one_pass_of_the_network_and_its_density_none():
    lazy = shaken(flow_transform(6, "autoregressive", transforms=1))
    passes = []
    lazy.transforms[0].hyper.register_forward_hook(lambda *_: passes.append(1))
    base = dist.Normal(torch.zeros(6), 1.0).to_event(1)
    q = Flow(base, lazy(), drawn=True)
    q.log_prob(q.rsample())
    assert len(passes) == 1
    p = Flow(base, lazy())
    p.log_prob(torch.zeros(6))
    assert len(passes) == 2
    p.rsample()
    assert len(passes) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_through_a_draw_equals_that_through_the_inverse(kind):
    lazy = shaken(flow_transform(3, kind, hidden=(8,))).double()
    base = dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1)
    ps = list(lazy.parameters())
    gradients = []
    for remembered in (True, False):
        torch.manual_seed(1)
        q = Flow(base, lazy(), drawn=True)
        z = q.rsample((4,))
        value = q.log_prob(z if remembered else z.clone()).sum() + z.square().sum()
        gradients.append(torch.autograd.grad(value, ps))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_a_draw_without_gradients_is_still_scored_with_them():
    lazy = shaken(flow_transform(2, "autoregressive", hidden=(8,)))
    q = Flow(dist.Normal(torch.zeros(2), 1.0).to_event(1), lazy(), drawn=True)
    z = q.sample()
    assert q.log_prob(z).requires_grad
    with torch.no_grad():
        assert torch.allclose(q.log_prob(z), q.log_prob(z.clone()), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_the_identity(kind):
    z = torch.randn(20, 4)
    u, log_det = flow_transform(4, kind)().call_and_ladj(z)
    assert torch.allclose(u, z, atol=1e-6) and torch.allclose(log_det, torch.zeros(20), atol=1e-6)
    if kind != "spline":
        assert torch.equal(u, z)


def test_in_bfloat16_regions_the_flow_stays_in_float32():
    lazy = shaken(flow_transform(3, "autoregressive"))
    p, z = Flow(dist.Normal(torch.zeros(3), 1.0).to_event(1), lazy()), torch.randn(5, 3)
    expected = p.log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(p.log_prob(z), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_can_be_captured(kind):
    from torch.fx.experimental.proxy_tensor import make_fx

    lazy = shaken(flow_transform(3, kind))
    base = dist.Normal(torch.zeros(3), 1.0).to_event(1)

    def score(z):
        return Flow(base, lazy()).log_prob(z), Flow(base, lazy(), drawn=True).log_prob(z)

    z = torch.randn(5, 3)
    with pyro.validation_enabled(False):
        captured = make_fx(score, tracing_mode="fake", _allow_non_fake_inputs=True)(torch.zeros(5, 3))
    assert all(torch.equal(a, b) for a, b in zip(captured(z), score(z), strict=True))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"kind 'splines' is unknown; choose from .* \(did you mean spline\?\)"):
        flow_transform(3, "splines")
    with pytest.raises(ValueError, match="transforms must be a whole number of at least 1, not 0"):
        flow_transform(3, transforms=0)
    with pytest.raises(ValueError, match="hidden must be"):
        flow_transform(3, hidden=(0,))


PROGRAM = """
import sys, torch, warnings
warnings.simplefilter("error")
from torch.distributions import Distribution, Normal
import ppl_vae.priors, ppl_vae.posteriors, ppl_vae.distributions
assert "zuko" not in sys.modules
before = dict(vars(Distribution))
{setting}
flag = Distribution._validate_args
prior = ppl_vae.priors.Flow(2)
assert "zuko" in sys.modules
assert Distribution._validate_args is flag
assert vars(Distribution)["arg_constraints"] is before["arg_constraints"]
try:
    Normal(0.0, torch.tensor(-1.0))
    raised = False
except ValueError:
    raised = True
assert raised is flag, (raised, flag)
prior().log_prob(torch.zeros(2))
import zuko
zuko.flows.MAF(2)().log_prob(torch.zeros(2))
assert Distribution._validate_args is flag
"""


@pytest.mark.parametrize("setting", ["", "Distribution.set_default_validate_args(False)"])
def test_importing_zuko_leaves_the_validation_flag_alone(setting):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(setting=setting)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr


def test_parameters_are_all_used():
    lazy = shaken(flow_transform(3, "coupling", transforms=2, context=4))
    q = Flow(dist.Normal(torch.zeros(5, 3), 1.0).to_event(1), lazy(torch.randn(5, 4)), drawn=True)
    q.log_prob(q.rsample()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lazy.parameters())
    assert isinstance(lazy, nn.Module)
