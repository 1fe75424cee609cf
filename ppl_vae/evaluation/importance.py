"""Importance-sampled log-likelihood and how far to trust it.

    log p(x) ~ logsumexp_k log w_k - log K,    log w_k = log p(x, z_k) - log q(z_k | x)

a lower bound in expectation, tight as K grows; ``weights`` says how far to trust it.

Of a program with latent sites g outside the data plate (Bayesian weights) it is the log posterior-predictive density

    log E_q(g) p(x | g) ~ logsumexp_k log w_k - log K,    log w_k = log p(x, z_k | g_k) - log q(z_k | x, g_k)

with g_k ~ q(g): sites outside the plate enter neither density.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import randomness, supports
from ..checks import check_size
from ..data.checks import check_event, check_values
from ..data.rows import to_float
from ..estimators.tracing import sites
from ..handlers import LocalParameters
from .compiled import Weigher
from .layout import Layout, layout
from .weights import LogLikelihood, summarize


def log_likelihood(
    model: nn.Module,
    x: Tensor,
    num_particles: int = 1000,
    seed: int = 0,
    y: Tensor | None = None,
    memory: int = 2**28,
) -> LogLikelihood:
    """Importance-sampled log-likelihood of every datum, with exactly ``num_particles`` weights each, beta = 1.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``. Latent sites outside the data plate are drawn from
            the guide, one draw a particle for all data of a piece: the value is the log posterior predictive.
        x: data (B, *shape), on any device.
        num_particles: K.
        seed: of the samples; the caller's generators are left alone.
        y: labels (B, ...), or None.
        memory: bytes that the intermediate tensors of one piece may take; data and particles are cut to fit.

    Returns:
        a ``LogLikelihood`` with tensors on the CPU.

    Raises:
        ValueError: no data, K below 1, data outside the likelihood's support, or a guide whose draws inside the data
            plate have no density of their own.

    Source: Rezende et al. 2014, appendix; Burda et al. 2016; k-hat: Vehtari et al. 2024.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> log_likelihood(vae, torch.ones(5, 6), num_particles=100).value.shape
        torch.Size([5])
    """
    check_size("num_particles", num_particles)
    x = check_data(model, x)
    with evaluating(model, seed) as device:
        found = layout(model, x, y, device)
        found.check_weights()
        particles, examples = tile(found, len(x), num_particles, memory)
        count = len(x) if found.whole or found.own else 1
        first = x[:count].to(device), _part(y, 0, count, device)
        weights = functools.partial(_weights, model, nesting=found.nesting)
        weigh = Weigher(model, weights, *first, len(x) * num_particles, (particles, examples))
        parts = [
            _one_piece(
                weigh, _part(x, i, examples, device), _part(y, i, examples, device), num_particles, particles, found
            )
            for i in range(0, len(x), examples)
        ]
    value, stderr, ess, khat = (torch.cat(column) for column in zip(*(part[0] for part in parts), strict=True))
    joint = math.sqrt(sum(part[1] for part in parts)) / len(x) if found.shared else None
    return LogLikelihood(value, stderr, ess, khat, num_particles, joint)


def _one_piece(
    weigh: Weigher, x: Any, y: Tensor | None, total: int, particles: int, found: Layout
) -> tuple[tuple[Tensor, ...], float]:
    """``summarize`` of one piece of the data, its weights gathered on the CPU, and the variance of its sum."""
    pieces = [weigh(x, y, min(particles, total - done)).cpu() for done in range(0, total, particles)]
    log_w = torch.cat(pieces)
    # The joint error: of the sum over data of w_k / mean(w), whose terms share the k-th draw.
    spread = ((log_w - log_w.logsumexp(0)).double().exp() * total).sum(1) if found.shared else log_w.new_zeros(1)
    variance = spread.var().item() / total if found.shared and total > 1 else math.nan
    return summarize(log_w), variance


def _weights(model: Any, x: Tensor, y: Tensor | None, num_particles: int, *, nesting: int) -> Tensor:
    """Log-weights (K, B) of the sites inside the data plate."""
    args = (x,) if y is None else (x, y)
    traced = sites(model.model, model.guide, args, num_particles, nesting)
    if traced.plate.name is not None and traced.size != len(x):
        raise ValueError(
            f"the plate {traced.plate.name} holds {traced.size} of the {len(x)} examples given; the program must take "
            "every example it is given, as in pyro.plate('data', N, subsample_size=len(x))"
        )
    total: Any = sum(traced.log_prob(site) for site in traced.model.values() if traced.is_local(site))
    total = total - sum(traced.log_prob(site) for site in traced.drawn.values() if traced.is_local(site))
    return total.expand(num_particles, traced.size)


def _part(t: Tensor | None, start: int, count: int, device: torch.device) -> Tensor | None:
    return None if t is None else t[start : start + count].to(device)


def tile(found: Layout, count: int, num_particles: int, memory: int) -> tuple[int, int]:
    """Particles and examples of one piece, so that its intermediate tensors stay within ``memory`` bytes.

    Global latents are drawn one particle at a time: the layers of a program need not take particles in front of their
    weights. So are those of a program that takes none in front of its batch.
    """
    fit = max(1, memory // found.bytes)
    particles = min(num_particles, fit) if found.vectorised and not found.shared else 1
    # The weights of a piece are kept until it is done: K doubles an example.
    examples = min(max(1, fit // particles), max(1, memory // (8 * num_particles)))
    return particles, found.piece(examples, count)


def check_shape(model: Any, x: Any) -> Tensor:
    """x as a float tensor; ValueError if it is empty, or of another shape or dtype than the model's data."""
    x = to_float(x, "x")
    if x.numel() == 0:
        raise ValueError("x is empty; give at least one example")
    check_event(model, x.shape[1:], x.dtype, "x")
    return x


def check_data(model: Any, x: Any) -> Tensor:
    """x as ``check_shape`` gives it; ValueError if it is outside the support of the model's likelihood."""
    x = check_shape(model, x)
    support = getattr(model, "support", None)
    if support is not None:
        check_values(x, np.arange(len(x)), "x", support, supports.allows_missing(support), ours=True)
    return x


@contextmanager
def evaluating(model: nn.Module, seed: int) -> Iterator[torch.device]:
    """Evaluation mode, no gradients, no validation, seeded generators and no parameter store; undone afterwards.

    Raises:
        ValueError: a parameter of the model that holds NaN.
    """
    broken = next((name for name, p in model.named_parameters() if not is_lazy(p) and p.isnan().any()), None)
    if broken is not None:
        raise ValueError(
            f"parameter {broken} of the model holds NaN, so no figure of it can be computed; train it again, or load "
            "weights from before it diverged"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with (
            torch.no_grad(),
            randomness.isolated(randomness.apart(seed), device),
            LocalParameters(),
            pyro.validation_enabled(False),
        ):
            yield device
    finally:
        for module, mode in modes:
            module.training = mode
