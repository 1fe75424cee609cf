"""How a program is judged: its loss and gradient by Pyro's estimators, its log p(x) by numbers of another origin.

The reference runs the raw programs under ``pyro.infer``, with Pyro's global parameter store and the same parameters.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pytest
import quadrature
import torch
from pyro import infer
from torch import Tensor, nn

from ppl_vae import SVI, estimators, evaluation, fit, models

REFUSALS = (ValueError, TypeError, NotImplementedError)


@dataclass
class Pair:
    """Model and guide, and who knows log p(x) exactly: a function of the data."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    exact: Callable[..., Any] | None = None


def trace_elbo():
    return estimators.TraceELBO(), infer.Trace_ELBO()


def mean_field():
    return estimators.MeanFieldELBO(), infer.TraceMeanField_ELBO()


def enumerated(**arguments):
    """Pyro's own estimator in our objective."""
    return infer.TraceEnum_ELBO(**arguments), infer.TraceEnum_ELBO(**arguments)


@dataclass
class Case:
    """A program and what must come out of it.

    Attributes:
        build: gives an object with ``model`` and ``guide``, and with ``exact`` from the data to log p of every datum,
            (B,), or a pair of these and their standard errors, where it can be had.
        data: all the data, (x,) or (x, y).
        pairs: functions that give our estimator and Pyro's, which must agree on the same noise.
        refused: what the refusal of ``log_likelihood`` must say, a regular expression, where it is refused.
        bound: whether the weights have so long a tail that the estimate is only no greater than the exact value.
        rows: how many data a batch of the loss has; None: all.
        size: N, by which Pyro's loss is divided; None: the data.
        batch_size: of ``fit``.
        particles: K of ``log_likelihood``.
    """

    build: Callable[[], Any]
    data: tuple[Tensor, ...]
    pairs: tuple[Callable[[], tuple[Any, Any]], ...] = (trace_elbo, mean_field)
    refused: str | None = None
    bound: bool = False
    rows: int | None = None
    size: int | None = None
    batch_size: int | None = None
    particles: int = 2000

    @property
    def batch(self):
        return tuple(t[: self.rows] for t in self.data)


def built(case):
    torch.manual_seed(0)
    return case.build()


def prepared(case):
    """What ``build`` gives, and the program made of it."""
    pair = built(case)
    program = models.Program(pair.model, pair.guide)
    torch.manual_seed(0)
    program.prepare(*case.data)
    return pair, program


class Raw(nn.Module):
    """The parameters of two programs as Pyro sees them, under the names that ``Program`` gives them."""

    def __init__(self, pair):
        super().__init__()
        for name in ("model", "guide"):
            fn = getattr(pair, name)
            owner = fn if isinstance(fn, nn.Module) else getattr(fn, "__self__", None)
            if isinstance(owner, nn.Module):
                self.add_module(f"{name}_module", owner)

    def named(self):
        found = dict(self.named_parameters())
        known = {id(p) for p in found.values()}
        store = pyro.get_param_store()
        alone = {name: p for name, p in store.named_parameters() if id(p) not in known}
        return found | {f"sites.{name}": p for name, p in alone.items()}


def named(program):
    return {name.replace("/", "."): p for name, p in program.named_parameters()}


def raw_loss(case, elbo):
    """The loss per example of the raw programs as a function of the seed, and their parameters."""
    pyro.clear_param_store()
    pair = built(case)
    torch.manual_seed(0)
    with torch.no_grad():  # finds parameters
        trace = pyro.poutine.trace(pair.guide).get_trace(*case.data)
        pyro.poutine.replay(pair.model, trace=trace)(*case.data)
    elbo.differentiable_loss(pair.model, pair.guide, *case.batch)  # finds the plates
    size = case.size or len(case.data[0])

    def loss(seed):
        torch.manual_seed(seed)
        return elbo.differentiable_loss(pair.model, pair.guide, *case.batch) / size

    return loss, Raw(pair)


def our_loss(case, elbo, raw):
    """The same through ``Program`` and ``SVI``, with the parameters and buffers of ``raw``."""
    _, program = prepared(case)
    objective = SVI(program, elbo)
    objective(*case.batch)  # checked and without a gradient
    theirs, ours = raw.named(), named(program)
    assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
    with torch.no_grad():
        for name, p in ours.items():
            p.copy_(theirs[name])
        buffers = dict(raw.named_buffers())
        for name, b in program.named_buffers():
            b.copy_(buffers[name])

    def loss(seed):
        torch.manual_seed(seed)
        return objective(*case.batch).value

    return loss, program


def gradients(loss, parameters):
    """Loss, and its gradients by name."""
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return loss.item(), dict(zip(parameters, found, strict=True))


def check_same(case, ours, pyros, seeds=(1, 2)):
    """Loss per example and gradient are Pyro's on the same seed, within rounding."""
    theirs, raw = raw_loss(case, pyros)
    mine, program = our_loss(case, ours, raw)
    for seed in seeds:
        expected, wanted = gradients(theirs(seed), raw.named())
        value, found = gradients(mine(seed), named(program))
        assert math.isfinite(expected) and value == pytest.approx(expected, rel=1e-5, abs=1e-5)
        largest = max(g.abs().max().item() for g in wanted.values())
        assert largest > 0
        for name, gradient in wanted.items():
            assert torch.allclose(found[name], gradient, rtol=1e-3, atol=2e-5 * largest), name


def check_in_mean(case, ours, pyros, draws=40):
    """Loss per example and gradient agree with Pyro's in the mean, every entry within 4.5 standard errors of both."""
    theirs, raw = raw_loss(case, pyros)
    mine, program = our_loss(case, ours, raw)
    names = list(raw.named())

    def drawn(loss, parameters, first):
        rows = []
        for seed in range(first, first + draws):
            value, found = gradients(loss(seed), parameters)
            rows.append(torch.cat([torch.tensor([value]), *(found[name].flatten() for name in names)]))
        rows = torch.stack(rows).double()
        return rows.mean(0), rows.var(0) / draws

    (expected, spread), (found, own) = drawn(theirs, raw.named(), 1), drawn(mine, named(program), 1000)
    assert ((found - expected).abs() <= 4.5 * (spread + own).sqrt() + 1e-5 * expected.abs().max()).all()


def check_fit(case, ours, epochs=2, **arguments):
    """``fit`` gives finite losses."""
    _, program = prepared(case)
    x = case.data if len(case.data) > 1 else case.data[0]
    arguments = {"batch_size": case.batch_size, "lr": 0.01, "progress": False} | arguments
    history = fit(SVI(program, ours), x, epochs=epochs, **arguments)
    assert all(math.isfinite(row["train"]["loss"]) for row in history.rows)
    return history


def log_likelihood(case, particles=None):
    pair, program = prepared(case)
    y = case.data[1] if len(case.data) > 1 else None
    return pair, evaluation.log_likelihood(program, case.data[0], y, num_particles=particles or case.particles)


def check_log_likelihood(case):
    """Within 4 standard errors of a value of another origin, or refused with the right reason."""
    if case.refused is not None:
        with pytest.raises(REFUSALS, match=case.refused) as caught:
            log_likelihood(case, 50)
        assert one_line(caught.value)
        return
    pair, found = log_likelihood(case)
    with torch.no_grad():
        expected = pair.exact(*case.data)
    expected, error = expected if isinstance(expected, tuple) else (expected, torch.zeros(()))
    assert found.value.shape == expected.shape
    stderr = (found.stderr.double().square() + error.double().square()).sqrt()
    off = found.value.double() - expected.double()
    if not case.bound:
        assert (stderr < 0.5).all(), stderr  # not vacuous
        off = off.abs()
    assert (off <= 4 * stderr + 1e-5 * expected.abs()).all(), (found.value, expected, stderr)


def one_line(error):
    """Whether an error is a sentence of ours: one line, and none of Pyro's own about shapes."""
    return "\n" not in str(error).strip() and not re.match(r"Shape mismatch|at site", str(error))


def network(*sizes):
    """Layers of so many units, tanh between them."""
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])


def joined(*tensors):
    """Tensors side by side, their leading dimensions broadcast."""
    lead = torch.broadcast_shapes(*(t.shape[:-1] for t in tensors))
    return torch.cat([t.expand(*lead, t.shape[-1]) for t in tensors], -1)


def normal(features):
    """Normal distribution of mean and log-scale side by side, wider than most posteriors."""
    mean, scale = features.chunk(2, -1)
    return pyro.distributions.Normal(mean, 1.2 * (0.3 * scale).exp()).to_event(1)


def nodes(dims, count=40):
    """Points (G, dims) and log-weights (G,) of the standard normal."""
    points, weights = quadrature.grid(dims, count)
    return points.T.float(), weights.log()


def mixed(log_p, log_weights):
    """log of the sum over points (G, ...) of weight times density."""
    return (log_p.double() + log_weights.reshape(-1, *(1,) * (log_p.dim() - 1))).logsumexp(0)
