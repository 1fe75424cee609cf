"""Logit-Normal likelihood: logit(x_i) ~ N(m_i(z), s_i^2), a density on (0, 1).

log p(x | z) = sum_i log N(logit x_i; m_i, s_i^2) - log x_i - log(1 - x_i)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from .. import supports
from ..distributions.logit_normal import LogitNormal as Distribution
from .spread import Spread


class LogitNormal(Spread):
    """Independent entries whose logits are Normal; their medians are the sigmoid of a linear function of the features.

    Data of exactly 0 or 1, whose logits are infinite, are refused: de-quantize images
    (``data.load(..., dequantize=True)``), shrink rates by (x (n - 1) + 0.5) / n, or use ContinuousBernoulli.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        scale: s, of the logits: a positive number; "learned", one parameter; "pixel", one for every entry; "network",
            a second output of the network.

    Raises:
        ValueError: any other scale.

    Source: Atchison and Shen 1980, "Logistic-normal distributions: some properties and uses".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> LogitNormal(networks.MLP(4, [8]), 3)(torch.zeros(5, 4)).event_shape
        torch.Size([3])
    """

    support = supports.open_unit_interval

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        scale: float | Literal["learned", "pixel", "network"] = "learned",
    ) -> None:
        super().__init__(network, shape, scale)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Logit-Normal of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        return Distribution(parts[0], self.spread_of(parts)).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """m at which the mean is about this one, clamped to [0.001, 0.999]: logit(mean) sqrt(1 + pi s^2 / 8)."""
        s = self._spread_now().to(mean)
        return mean.clamp(1e-3, 1 - 1e-3).logit() * (1 + math.pi / 8 * s.square()).sqrt()

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """s at which the slope of the sigmoid at the mean gives the standard deviation, at most 3."""
        m = mean.clamp(0.01, 0.99)
        return (std.square().mean().sqrt() / (m * (1 - m)).square().mean().sqrt()).clamp(max=3.0)
