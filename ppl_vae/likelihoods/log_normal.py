"""Log-Normal likelihood: log x_i ~ N(m_i(z), s_i^2), a density on the positive numbers.

log p(x | z) = sum_i log N(log x_i; m_i, s_i^2) - log x_i
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .spread import Spread


class LogNormal(Spread):
    """Independent positive entries whose logarithms are Normal, with means linear in the network's features.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        scale: s, of the logarithms: a positive number; "learned", one parameter; "pixel", one for every entry;
            "network", a second output of the network.

    Raises:
        ValueError: any other scale.

    Source: Galton 1879.

    Example:
        >>> from ppl_vae import networks
        >>> likelihood = LogNormal(networks.MLP(4, []), 2).start_at(torch.tensor([3.0, 50.0]), torch.ones(2))
        >>> _ = torch.nn.init.zeros_(likelihood.head.layer.weight)
        >>> likelihood(torch.zeros(4)).mean
        tensor([ 3.0000, 50.0000], grad_fn=<ExpBackward0>)
    """

    support = constraints.positive

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        scale: float | Literal["learned", "pixel", "network"] = "learned",
    ) -> None:
        super().__init__(network, shape, scale)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Log-Normal of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        return dist.LogNormal(parts[0], self.spread_of(parts)).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """m = log(mean) - s^2 / 2."""
        return mean.clamp(min=1e-6).log() - self._spread_now().to(mean).square() / 2

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """s from s^2 = log(1 + variance / mean^2), averaged over the entries."""
        return torch.log1p((std / mean.clamp(min=1e-6)).square()).mean().sqrt()
