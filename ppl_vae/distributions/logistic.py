"""Logistic distribution with samples that are finite: z = loc + scale log(u / (1 - u)), u uniform and never 0."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor


class Logistic(dist.Logistic):
    """``dist.Logistic`` with the uniform draw clamped away from 0 (Pyro's samples are -inf once in 2^24).

    Example:
        >>> Logistic(torch.zeros(3), 1.0).rsample((4,)).shape
        torch.Size([4, 3])
    """

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A reparameterised sample."""
        u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u.clamp(min=torch.finfo(u.dtype).eps / 2))
