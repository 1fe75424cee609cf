"""Discretized logistic mixture likelihood: each grey level has the mass that a mixture of logistics gives its bin.

    P(x_i) = sum_j w_j [s((x_i + h/2 - m_j) / s_j) - s((x_i - h/2 - m_j) / s_j)],    h = 1 / (levels - 1)

where the outer bins extend to infinity. Unlike in PixelCNN++, pixels and channels are independent given z.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from .. import supports
from ..checks import check_size
from ..distributions.discretized_logistic_mixture import DiscretizedLogisticMixture as Distribution
from ..distributions.softplus import inverse_softplus
from .base import Likelihood
from .spread import unpositive

WIDTH = 0.25  # standard deviation of the components' means around the middle before ``start_at``
SCALE = 0.1  # scale of each component before ``start_at``
RAW = inverse_softplus(SCALE)
FLOOR = 1e-4  # lower bound of a component's scale; a bin of 256 levels is 40 times as wide


class DiscretizedLogisticMixture(Likelihood):
    """Independent entries, each a mixture of ``components`` logistics on ``levels`` grey levels. A probability mass.

    Data are grey images in [0, 1] on the levels k / (levels - 1), as they are loaded (not de-quantized). The
    distribution's ``mean`` is the expected level. A mass: bits per dimension need no correction.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        components: number of logistics for every entry.
        levels: number of levels, at least 2.

    Raises:
        ValueError: components below 1 or levels below 2.

    Source: Salimans et al. 2017, "PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood".

    Example:
        >>> from ppl_vae import networks
        >>> p = DiscretizedLogisticMixture(networks.MLP(4, [8]), (1, 8, 8), levels=17)(torch.zeros(5, 4))
        >>> p.log_prob(torch.full((5, 1, 8, 8), 3 / 16)).shape
        torch.Size([5])
    """

    mass = True
    levels: int
    _places: Tensor

    def __init__(self, network: nn.Module, shape: int | Sequence[int], components: int = 10, levels: int = 256) -> None:
        super().__init__(network, shape, parameters=3 * check_size("components", components))
        self.components, self.levels = components, check_size("levels", levels, 2)
        self.support = supports.grid(levels)
        places = (torch.arange(components, dtype=torch.float64) + 0.5) / components
        self.register_buffer("_places", torch.special.ndtri(places).to(torch.get_default_dtype()), persistent=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Mixture of batch shape (...) and event shape ``shape``."""
        loc, raw, logits = self.stacked_parameters_of(z, y).split(self.components, -1)
        loc = loc + 0.5 + WIDTH * self._places.to(loc.dtype)
        scale = F.softplus(raw + RAW) + FLOOR
        return Distribution(logits, loc, scale, self.levels).to_event(len(self.shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> DiscretizedLogisticMixture:
        """Start with equal weights and components at the quantiles of a Normal with the data's mean and deviation."""
        self._check_start(mean)
        like = self.head.bias()
        std = torch.full_like(mean, WIDTH) if std is None else std
        spread = std.to(like).clamp(min=0.5 / (self.levels - 1))
        raw = unpositive((spread * (SCALE / WIDTH)).clamp(min=2e-3)) - RAW
        for j, place in enumerate(self._places.tolist()):
            self._start(j, self.unconstrain(mean.to(like)) + (spread - WIDTH) * place)
            self._start(self.components + j, raw)
            self._start(2 * self.components + j, torch.zeros_like(raw))
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Offset of the components from the middle of [0, 1]."""
        return mean - 0.5
