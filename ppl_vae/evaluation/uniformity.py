"""Null distributions behind calibration: of uniform ranks, of symmetry, and of many tests at once."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

SIMULATIONS = 10000  # of uniform ranks: no p-value is below 1/10001


@functools.lru_cache(maxsize=8)
def uniform_ranks(n: int, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided binomial tails by point and count (L, n + 1), and the least tail of simulated uniform ranks, sorted."""
    from scipy.special import bdtr

    p = np.arange(1, num_draws + 1)[:, None] / (num_draws + 1)
    below = bdtr(np.arange(n + 1.0), n, p)
    above = 1 - np.concatenate([np.zeros((num_draws, 1)), below[:, :-1]], 1)
    tails = np.minimum(1.0, 2 * np.minimum(below, above))
    rng = np.random.default_rng(0)
    cells = np.full(num_draws + 1, 1 / (num_draws + 1))
    counts = rng.multinomial(n, cells, size=SIMULATIONS).cumsum(1)[:, :-1]
    return tails, np.sort(tails[np.arange(num_draws), counts].min(1))


def walk_tail(n: int, farthest: int) -> float:
    """P(max_k |S_k| >= farthest) of a symmetric walk of n steps of +-1, by reflection.

    Example:
        >>> [round(walk_tail(3, farthest), 6) for farthest in (3, 2, 1)]
        [0.25, 0.5, 1.0]
    """
    from scipy.stats import binom

    if farthest < 1:
        return 1.0
    ends = np.arange(-farthest + 1, farthest)
    total = 0.0
    for j in range(-(n // (2 * farthest)) - 1, n // (2 * farthest) + 2):
        for end, sign in ((ends + 4 * j * farthest, 1), (2 * farthest - ends + 4 * j * farthest, -1)):
            total += sign * np.where((n + end) % 2 == 0, binom.pmf((n + end) // 2, n, 0.5), 0.0).sum()
    return float(min(1.0, max(0.0, 1 - total)))


def holm(p: Tensor, error: float) -> Tensor:
    """Which hypotheses Holm's procedure rejects with family-wise error ``error``, bool (D,)."""
    check_level("error", error)
    order = p.argsort()
    small = p[order] <= error / torch.arange(len(p), 0, -1)
    rejected = torch.zeros_like(p, dtype=torch.bool)
    rejected[order] = small.long().cumprod(0).bool()
    return rejected


def check_level(argument: str, value: float) -> None:
    """A ValueError unless the value is a probability."""
    if not 0 < value < 1:
        raise ValueError(f"{argument} must lie between 0 and 1, not {value!r}")
