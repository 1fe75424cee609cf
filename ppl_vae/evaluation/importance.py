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
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import randomness
from ..capture.cost import forward_seconds, repays
from ..capture.repeated import Repeated
from ..checks import check_size
from ..estimators.program_layout import ProgramLayout, check_whole, program_layout
from ..estimators.tracing import sites
from ..models import Pair
from ..statistics.weights import LogLikelihood, summarize
from .doors import batches, check_data, check_density, evaluating

FEW = 100_000  # log-weights that never repay a compiler
TRIED = 64  # particles of the run whose work is counted

Weigh = Callable[[tuple[Tensor, ...], int], Tensor]  # log-weights (K, B) from a batch and K


def log_likelihood(
    model: Pair,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num_particles: int = 1000,
    seed: int = 0,
    memory: int = 2**28,
) -> LogLikelihood:
    """Importance-sampled log-likelihood of every datum, with exactly ``num_particles`` weights each, beta = 1.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``. Latent sites outside the data plate are drawn from
            the guide, one draw a particle for all data of a piece: the value is the log posterior predictive.
        x: data (B, *shape), on any device.
        y: labels (B, ...), or None.
        num_particles: K.
        seed: of the samples; the caller's generators are left alone.
        memory: bytes that the intermediate tensors of one piece may take; data and particles are cut to fit.

    Raises:
        TypeError: a number in the place of y, or an autoencoder.
        ValueError: no data, K below 1, data outside the likelihood's support, labels that do not fit, or a guide whose
            draws inside the data plate have no density of their own.

    Source: Rezende et al. 2014, appendix; Burda et al. 2016; k-hat: Vehtari et al. 2024.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> log_likelihood(vae, torch.ones(5, 6), num_particles=100).value.shape
        torch.Size([5])
    """
    check_size("num_particles", num_particles)
    check_density(model, "log_likelihood")
    x, y = check_data(model, x, y)
    with evaluating(model, seed) as device:
        found = program_layout(model, x, y, device)
        found.check_weights()
        particles, examples = tile(found, len(x), num_particles, memory)
        first = next(batches(device, len(x) if found.whole or found.own else 1, x, y))
        weigh: Weigh = functools.partial(_weights, model, found.nesting)
        if is_long(model, weigh, first, len(x) * num_particles, (particles, examples)):
            weigh = _compiled(weigh, (particles, examples))
        parts = [_one_piece(weigh, part, num_particles, particles, found) for part in batches(device, examples, x, y)]
    value, stderr, ess, khat = (torch.cat(column) for column in zip(*(part[0] for part in parts), strict=True))
    joint = math.sqrt(sum(part[1] for part in parts)) / len(x) if found.shared else None
    return LogLikelihood(value, stderr, ess, khat, num_particles, joint)


def is_long(model: nn.Module, weigh: Weigh, first: tuple[Tensor, ...], weights: int, full: tuple[int, int]) -> bool:
    """Whether so many log-weights, in pieces of ``full`` particles and examples, repay a compiler.

    The work is counted in a few particles of the batch ``first``.
    """
    if weights <= max(FEW, full[0] * full[1]):
        return False
    device, tried = first[0].device, min(TRIED, full[0])
    with randomness.unchanged(device):
        seconds = forward_seconds(model, lambda: weigh(first, tried), device)
    return repays(seconds * weights / tried, device)


def _compiled(weigh: Weigh, full: tuple[int, int]) -> Weigh:
    """``weigh`` with full pieces compiled; the others run eagerly."""
    repeated = Repeated(lambda *batch: weigh(batch, full[0]), "log-weights")
    return lambda batch, k: repeated(*batch) if (k, len(batch[0])) == full else weigh(batch, k)


def _one_piece(
    weigh: Weigh, batch: tuple[Tensor, ...], total: int, particles: int, found: ProgramLayout
) -> tuple[tuple[Tensor, ...], float]:
    """``summarize`` of one piece of the data, its weights gathered on the CPU, and the variance of its sum."""
    log_w = torch.cat([weigh(batch, min(particles, total - done)).cpu() for done in range(0, total, particles)])
    # The joint error: of the sum over data of w_k / mean(w), whose terms share the k-th draw.
    spread = ((log_w - log_w.logsumexp(0)).double().exp() * total).sum(1) if found.shared else log_w.new_zeros(1)
    variance = spread.var().item() / total if found.shared and total > 1 else math.nan
    return summarize(log_w), variance


def _weights(model: Any, nesting: int, batch: tuple[Tensor, ...], num_particles: int) -> Tensor:
    """Log-weights (K, B) of the sites inside the data plate."""
    traced = sites(model.model, model.guide, batch, num_particles, nesting)
    check_whole(traced.plate, len(batch[0]), len(batch[0]))
    total: Any = sum(traced.log_prob(site) for site in traced.model.values() if traced.is_local(site))
    total = total - sum(traced.log_prob(site) for site in traced.drawn.values() if traced.is_local(site))
    return total.expand(num_particles, traced.size)


def tile(found: ProgramLayout, count: int, num_particles: int, memory: int) -> tuple[int, int]:
    """Particles and examples of one piece, so that its intermediate tensors stay within ``memory`` bytes.

    Global latents are drawn one particle at a time: the layers of a program need not take particles in front of their
    weights. So are those of a program that takes none in front of its batch.
    """
    fit = max(1, memory // found.bytes)
    particles = min(num_particles, fit) if found.vectorised and not found.shared else 1
    # The weights of a piece are kept until it is done: K doubles an example.
    examples = min(max(1, fit // particles), max(1, memory // (8 * num_particles)))
    return particles, found.piece(examples, count)
