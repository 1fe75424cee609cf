"""Categorical likelihood over grey levels: P(x_i = k / (L-1)) = softmax(l_i(z))_k, a mass on L levels in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from .. import supports
from ..checks import check_size
from ..distributions.levels import LevelsCategorical, tilt_of_mean
from .base import Likelihood


class Categorical(Likelihood):
    """Independent entries, each with its own probabilities of the ``levels`` grey levels.

    Data are grey images in [0, 1] on the levels k / (levels - 1), as they are loaded (not de-quantized). The
    distribution's ``mean`` is the expected level. A mass: bits per dimension need no correction.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        levels: number of levels, at least 2.

    Raises:
        ValueError: levels below 2.

    Source: van den Oord et al. 2016, "Pixel recurrent neural networks".

    Example:
        >>> from ppl_vae import networks
        >>> p = Categorical(networks.MLP(4, [8]), (1, 8, 8), levels=17)(torch.zeros(5, 4))
        >>> p.log_prob(torch.full((5, 1, 8, 8), 3 / 16)).shape
        torch.Size([5])
    """

    mass = True
    levels: int

    def __init__(self, network: nn.Module, shape: int | Sequence[int], levels: int = 256) -> None:
        super().__init__(network, shape, parameters=check_size("levels", levels, 2))
        self.levels = levels
        self.support = supports.grid(levels)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Categorical over levels, batch shape (...) and event shape ``shape``."""
        return LevelsCategorical(self.stacked_parameters_of(z, y)).to_event(len(self.shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Categorical:
        """Start at the maximum-entropy distributions with the data's means: logits linear in the level."""
        self._check_start(mean)
        mean = mean.to(self.head.bias())
        mean = mean.mean((-2, -1), keepdim=True) if self.head.spatial else mean
        tilt = tilt_of_mean(mean.clamp(1e-3, 1 - 1e-3), self.levels)
        for k in range(self.levels):
            self.head.bias(k).copy_(tilt * (k / (self.levels - 1)))
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Logits of the first level: 0, the reference for the others."""
        return torch.zeros_like(mean)
