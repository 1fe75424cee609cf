"""Uniform prior on a box: p(z) = (high - low)^(-dim) for low <= z_j <= high."""

from __future__ import annotations

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..distributions.uniform import Uniform as _Uniform
from .base import Prior


class Uniform(Prior):
    """Independent uniform distributions on [low, high]; posteriors must live on the same interval.

    Args:
        dim: size of the code.
        low: lower end.
        high: upper end.

    Raises:
        ValueError: ends that are not finite, or not in order.

    Source: Makhzani et al. 2016, "Adversarial autoencoders" (as an imposed prior).

    Example:
        >>> Uniform(2, low=-1.0)().log_prob(torch.zeros(2)).exp()
        tensor(0.2500)
    """

    low: Tensor
    high: Tensor

    def __init__(self, dim: int, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(dim)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low and high must be finite with low below high, not {low!r} and {high!r}")
        self.support = constraints.independent(constraints.interval(low, high), 1)
        self.register_buffer("low", torch.full((dim,), float(low)), persistent=False)
        self.register_buffer("high", torch.full((dim,), float(high)), persistent=False)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Uniform on the box, event shape (dim,); ``y`` is not used."""
        return _Uniform(self.low, self.high).to_event(1)
