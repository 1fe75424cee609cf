"""Poisson likelihood: log p(x | z) = sum_i x_i log r_i(z) - r_i(z) - log x_i!, a mass on the counts 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .base import Likelihood
from .spread import positive, unpositive


class Poisson(Likelihood):
    """Independent counts with rates linear in the network's features through a softplus.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.

    Source: McCullagh and Nelder 1989, "Generalized linear models", chapter 6.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> p = Poisson(networks.MLP(4, [8]), 3)(torch.zeros(5, 4))
        >>> p.log_prob(torch.ones(5, 3)).shape
        torch.Size([5])
    """

    support = constraints.nonnegative_integer
    mass = True

    def __init__(self, network: nn.Module, shape: int | Sequence[int]) -> None:
        super().__init__(network, shape, parameters=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Poisson of batch shape (...) and event shape ``shape``."""
        (raw,) = self.parameters_of(z, y)
        return dist.Poisson(positive(raw)).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Inverse softplus of the mean, clamped to at least 0.001."""
        return unpositive(mean)
