"""Gamma likelihood: x_i ~ Gamma(a, rate a / m) with mean m_i(z) and concentration a_i, a density on the positives.

log p(x | z) = sum_i a log(a / m_i) - log G(a) + (a - 1) log x_i - a x_i / m_i,    variance m_i^2 / a
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .spread import Spread, positive, unpositive


class Gamma(Spread):
    """Independent positive entries with Gamma distributions, means linear in the features through a softplus.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        concentration: a: a positive number (1 is the exponential distribution); "learned", one parameter; "pixel",
            one for every entry; "network", a second output of the network.

    Raises:
        ValueError: any other concentration.

    Source: McCullagh and Nelder 1989, "Generalized linear models", chapter 8.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Gamma(networks.MLP(4, [8]), 3)(torch.zeros(5, 4)).mean.shape
        torch.Size([5, 3])
    """

    support = constraints.positive

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        concentration: float | Literal["learned", "pixel", "network"] = "learned",
    ) -> None:
        super().__init__(network, shape, concentration, argument="concentration")

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Gamma of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        a = self.spread_of(parts)
        return dist.Gamma(a, a / positive(parts[0])).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Inverse softplus of the mean, clamped to at least 0.001."""
        return unpositive(mean)

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """a = mean^2 / variance, over all entries."""
        return mean.square().mean() / std.square().mean().clamp(min=1e-12)
