"""Laplace likelihood: log p(x | z) = -sum_i [|x_i - m_i(z)| / b_i + log 2 b_i], a density on the reals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .spread import Spread


class Laplace(Spread):
    """Independent Laplace entries (absolute error instead of squared error); means linear in the features.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        scale: b: a positive number; "learned", one parameter; "pixel", one for every entry; "network", a second
            output of the network.

    Raises:
        ValueError: any other scale.

    Source: Laplace 1774.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Laplace(networks.MLP(4, [8]), 3, scale=0.5)(torch.zeros(5, 4)).base_dist.scale[0]
        tensor([0.5000, 0.5000, 0.5000])
    """

    support = constraints.real

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        scale: float | Literal["learned", "pixel", "network"] = "learned",
    ) -> None:
        super().__init__(network, shape, scale)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Laplace of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        return dist.Laplace(parts[0], self.spread_of(parts)).to_event(len(self.shape))

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """b = standard deviation / sqrt(2)."""
        return super().spread_for(mean, std) / 2**0.5
