"""Normal prior: p(z) = N(0, I), or N(m, diag s^2) with m and s learned."""

from __future__ import annotations

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions.softplus import inverse_softplus
from .base import Prior


class Normal(Prior):
    """Standard Normal over codes, or a diagonal Normal with learned mean and scale that starts there.

    Args:
        dim: size of the code.
        learned: learn the mean (dim,) and the scale (dim,); the scale is a softplus of its parameter.

    Raises:
        ValueError: dim below 1.

    Source: Kingma and Welling 2014.

    Example:
        >>> prior = Normal(2)
        >>> round(prior().log_prob(torch.zeros(2)).item(), 4)
        -1.8379
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim: int, learned: bool = False) -> None:
        super().__init__(dim)
        if learned:
            self.mean = nn.Parameter(torch.zeros(dim))
            self.raw_scale = nn.Parameter(torch.full((dim,), inverse_softplus(1.0)))
        else:
            self.register_buffer("mean", torch.zeros(dim), persistent=False)
            self.register_buffer("raw_scale", None)

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """N(mean, scale^2) of event shape (dim,); ``y`` is not used."""
        scale = torch.ones_like(self.mean) if self.raw_scale is None else F.softplus(self.raw_scale)
        return dist.Normal(self.mean, scale).to_event(1)
