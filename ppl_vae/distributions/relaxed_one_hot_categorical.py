"""Relaxed one-hot categorical (Concrete, Gumbel-softmax) distribution that stays inside the simplex in float32.

    x = softmax((l + g) / T),  g Gumbel,    log p(x) = lnG(d) + (d-1) log T + sum_k [l_k - (T+1) log x_k]
                                                       - d log sum_k exp(l_k - T log x_k)

At low T entries underflow; they are clamped to the smallest normal float, so that their logarithms are finite.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


class RelaxedOneHotCategorical(dist.RelaxedOneHotCategorical):
    """Pyro's distribution, with entries clamped to at least the smallest normal float.

    Source: Maddison et al. 2017, "The Concrete distribution"; Jang et al. 2017, "Gumbel-softmax".

    Example:
        >>> x = RelaxedOneHotCategorical(torch.tensor(0.01), logits=torch.zeros(5)).sample((100,))
        >>> bool((x > 0).all())
        True
    """

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised samples (..., dim)."""
        return _inside(super().rsample(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density over the first dim - 1 entries, (..., batch shape)."""
        return super().log_prob(_inside(value))


def _inside(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(x.dtype).tiny)
