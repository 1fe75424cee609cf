"""Beta likelihood: x_i ~ Beta(c m, c (1 - m)) with mean m_i(z) and concentration c_i, a density on (0, 1).

log p(x | z) = sum_i (c m - 1) log x_i + (c (1 - m) - 1) log(1 - x_i) - log B(c m, c (1 - m))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .. import supports
from .spread import Spread

EDGE = 1e-6  # minimum distance of means from 0 and 1


class Beta(Spread):
    """Independent Beta entries in the open unit interval, means linear in the features through a sigmoid.

    Data of exactly 0 or 1, where the density is 0 or infinite, are refused: de-quantize images
    (``data.load(..., dequantize=True)``), shrink rates by (x (n - 1) + 0.5) / n, or use ContinuousBernoulli.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        concentration: c, at which the variance is m (1 - m) / (c + 1): a positive number; "learned", one parameter;
            "pixel", one for every entry; "network", a second output of the network.

    Raises:
        ValueError: any other concentration.

    Source: Ferrari and Cribari-Neto 2004, "Beta regression for modelling rates and proportions".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> p = Beta(networks.MLP(4, [8]), 3)(torch.zeros(5, 4))
        >>> bool(((p.sample() > 0) & (p.sample() < 1)).all())
        True
    """

    support = supports.open_unit_interval

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        concentration: float | Literal["learned", "pixel", "network"] = "network",
    ) -> None:
        super().__init__(network, shape, concentration, argument="concentration")

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Beta of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        c = self.spread_of(parts)
        m, rest = (EDGE + (1 - 2 * EDGE) * torch.sigmoid(logits) for logits in (parts[0], -parts[0]))
        return _Beta(c * m, c * rest).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Logits of the mean, clamped to [0.001, 0.999]."""
        return mean.clamp(1e-3, 1 - 1e-3).logit()

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """c of the mean variance and the mean m (1 - m)."""
        m = mean.clamp(1e-3, 1 - 1e-3)
        return (m * (1 - m)).mean() / std.square().mean().clamp(min=1e-6) - 1


class _Beta(dist.Beta):
    """Beta with samples clamped to the open interval."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        x = super().rsample(torch.Size(sample_shape))
        info = torch.finfo(x.dtype)
        return x.clamp(info.tiny, 1 - info.eps / 2)
