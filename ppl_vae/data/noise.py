"""Noise on the data: binarization and dequantization, fresh for each batch or fixed once for each row.

With u uniform on [0, 1), element by element,

    binarize:    x' = 1 if u < x else 0          (x in [0, 1] read as the probability of a 1)
    dequantize:  x' = ((L - 1) x + u) / L        (x on the L levels 0, 1/(L-1), ..., 1; x' has a density on (0, 1))

Fresh noise comes from a generator that is seeded for each batch. Fixed noise is a counter-based hash (splitmix64) of
(seed, part, row, element), so rows get the same draw in any order, in memory or streamed, and nothing is stored.
Neither uses a global random state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..randomness import seed_of
from ..randomness import unchanged as own_randomness  # noqa: F401  # until evaluation and reporting use the new name

PARTS = ("train", "valid", "test")


def hashed(key: tuple[int, ...], counters: np.ndarray) -> np.ndarray:
    """Splitmix64 of each counter in the stream ``key``: uint64, same shape as ``counters``."""
    z = counters.astype(np.uint64) + np.uint64(1)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed_of(*key))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(key: tuple[int, ...], rows: np.ndarray, size: int) -> Tensor:
    """Uniform numbers in [0, 1), shape (len(rows), size), a function of only the key and the row number.

    Example:
        >>> u = uniform((0, 1), np.array([3, 7]), 4)
        >>> bool((u[1] == uniform((0, 1), np.array([7]), 4)[0]).all())
        True
    """
    counters = rows.astype(np.uint64)[:, None] * np.uint64(size) + np.arange(size, dtype=np.uint64)
    return torch.from_numpy((hashed(key, counters) >> np.uint64(40)).astype(np.float32)) * 2.0**-24


@dataclass(frozen=True)
class Noise:
    """Binarization (``levels`` None) or dequantization of ``levels`` levels, with the key of its fixed draws."""

    key: tuple[int, ...]
    levels: int | None = None

    def apply(self, x: Tensor, u: Tensor) -> Tensor:
        """Noisy x, same shape; ``u`` is overwritten."""
        if self.levels is None:
            return torch.lt(u, x, out=u)
        # rounding must not reach 0 or 1, where densities on the open interval are infinite
        return u.add_(x, alpha=self.levels - 1).div_(self.levels).clamp_(2.0**-33, 1 - 2.0**-24)

    def fixed(self, x: Tensor, rows: np.ndarray) -> Tensor:
        """x of shape (B, ...) with the fixed draw of these rows."""
        u = uniform(self.key, rows, x[:1].numel()).view(x.shape).to(x.dtype)
        return self.apply(x, u)
