"""The partition function Z of a restricted Boltzmann machine: exactly by enumeration, or estimated by annealing.

Annealed importance sampling moves draws of p_0, where W = 0 and Z is known, through p_t with weights t W, t = 0..1:

    log w = sum_t F_{t-1}(v_t) - F_t(v_t),    v_{t+1} ~ a Gibbs step of p_t from v_t,    Z = Z_0 E[w]
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from .. import randomness

MOST = 20  # binary units that may be enumerated
PIECE = 2**13  # states per chunk


def enumerated(rbm: Any) -> Tensor:
    """log Z (scalar) as a sum over all states of the smaller binary side of an RBM."""
    sides = [("code", rbm.dim, rbm.code, rbm.code_free_energy), ("visible", rbm.size, rbm.visible, rbm.free_energy)]
    small = sorted(((n, name, energy) for name, n, units, energy in sides if units == "bernoulli"), key=lambda s: s[0])
    size, name, free_energy = small[0]
    if size > MOST:
        raise ValueError(
            f"log_partition enumerates at most {MOST} binary units, not {size} {name} ones; use annealed_log_partition"
        )
    bits = torch.arange(size, device=rbm.weight.device)
    totals = []
    for piece in torch.arange(2**size, device=rbm.weight.device).split(PIECE):
        states = (piece[:, None] >> bits & 1).to(rbm.weight.dtype)
        states = states.unflatten(-1, rbm.shape) if name == "visible" else states
        totals.append((-free_energy(states)).logsumexp(0))
    return torch.stack(totals).logsumexp(0)


@torch.no_grad()
def annealed(rbm: Any, chains: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Estimate of log Z (scalar) by annealed importance sampling, and its standard error."""
    hot = copy.deepcopy(rbm).double()
    weight = hot.weight.clone()
    device = weight.device
    zeros = torch.zeros(chains, rbm.dim, dtype=weight.dtype, device=device)
    with randomness.isolated(randomness.apart(seed), device):
        hot.weight.zero_()
        x = hot.draw_data(zeros)
        # At W = 0 the sides are independent, so p_0(z = 0) = exp(-H(0)) / sum_z exp(-H(z)) is known.
        code_part = hot.energy(x, zeros) - hot.free_energy(x)
        log_base = (code_part - hot.code_free_energy(zeros))[0]
        log_weight = torch.zeros_like(log_base).expand(chains)
        for step in range(1, steps + 1):
            before = hot.free_energy(x)
            hot.weight.copy_(weight * (step / steps))
            log_weight = log_weight + before - hot.free_energy(x)
            x = hot.gibbs(x)
    ratio = (log_weight - log_weight.max()).exp()
    estimate = log_base + log_weight.logsumexp(0) - math.log(chains)
    return estimate.to(rbm.weight.dtype), (ratio.std() / ratio.mean() / math.sqrt(chains)).to(rbm.weight.dtype)
