"""Uniform distribution on a closed interval: p(z) = 1 / (high - low) for low <= z <= high, both ends included.

Torch's density is 0 at ``high``, so a sample that is rounded up to it has an infinite loss.
"""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor


class Uniform(dist.Uniform):
    """``dist.Uniform`` whose density includes both ends.

    Example:
        >>> import torch
        >>> Uniform(0.0, 2.0).log_prob(torch.tensor([0.0, 2.0])).exp()
        tensor([0.5000, 0.5000])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(high - low) inside, -inf outside."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (value >= self.low) & (value <= self.high)
        return (-(self.high - self.low).log()).masked_fill(~inside, -math.inf)
