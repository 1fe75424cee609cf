"""What the tests of users' programs share: a program of which all is known, and how figures are compared.

"Equal" is equal within rounding of float32, on the same noise; estimates are within 4 of their standard errors.
"""

import math
from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from torch.distributions import Normal

from ppl_vae import estimators, evaluation, models

X = torch.tensor([0.5, -1.0, 2.0])
LOC = torch.tensor(0.3, requires_grad=True)  # the one parameter of guides
ELBOS = [(estimators.TraceELBO, infer.Trace_ELBO), (estimators.MeanFieldELBO, infer.TraceMeanField_ELBO)]
BOTH = pytest.mark.parametrize(("ours", "pyros"), ELBOS, ids=lambda elbo: elbo.__name__)
EVIDENCE = Normal(0.0, math.sqrt(2)).log_prob(X)  # of ``model``


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(LOC * x, 0.8))


def figures(elbo, model, guide, *batch, seed=1):
    """Loss in nats and its gradient in LOC."""
    torch.manual_seed(seed)
    loss = elbo.differentiable_loss(model, guide, *batch)
    return torch.stack([loss.detach(), torch.autograd.grad(loss, LOC)[0]])


def closed_form(loss):
    """The same of a loss that is a formula."""
    return torch.stack([loss.detach(), torch.autograd.grad(loss, LOC)[0]])


def check_pyros(ours, pyros, model, guide, *batch):
    pyros.loss(model, guide, *batch)  # finds the plates, which takes random numbers
    expected = figures(pyros, model, guide, *batch)
    assert expected[1].abs() > 0.01  # not vacuous
    found = figures(ours, model, guide, *batch)
    assert torch.allclose(found, expected, rtol=1e-5), f"{found.tolist()} where {expected.tolist()} is right"


def log_likelihood(model, guide, x, num_particles=1000):
    return evaluation.log_likelihood(models.Program(model, guide), x, num_particles=num_particles)


def check_value(found, expected):
    """Within 4 standard errors, and these small enough to tell."""
    assert (found.stderr < 0.3).all()
    off = (found.value - expected).abs()
    assert (off <= 4 * found.stderr + 1e-5).all(), f"{found.value.tolist()} where {expected.tolist()} is right"


@contextmanager
def refused(words):
    """ValueError, TypeError or NotImplementedError of one line, in these words."""
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
