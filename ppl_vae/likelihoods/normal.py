"""Normal likelihood: log p(x | z) = sum_i log N(x_i; m_i(z), s_i^2), a density on the reals.

The scale s is a number, one learned number, a learned number for every entry of x, or a function of z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from .base import Likelihood

SCALE_FLOOR = 1e-3  # a free scale otherwise runs to 0 on constant pixels, and the density to infinity
START = math.log(math.expm1(1 - SCALE_FLOOR))  # at which a learned scale is 1


class Normal(Likelihood):
    """Independent Normal entries with means linear in the network's features.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        scale: a positive number (fixed); "learned", one parameter for all entries; "pixel", one parameter for every
            entry; "network", a second output of the network. Learned scales are softplus(.) + 0.001 and start at 1, or
            with ``start_at`` at the data's: from a scale above the data's own, training falls into the optimum in
            which no code is used.

    Raises:
        ValueError: a scale that is not positive or not one of the words.

    Source: Kingma and Welling 2014; learned scales: Dai and Wipf 2019.

    Example:
        >>> from ppl_vae import networks
        >>> p = Normal(networks.MLP(4, [32]), 3, scale="learned")(torch.zeros(5, 4))
        >>> p.base_dist.scale.shape
        torch.Size([5, 3])
    """

    support = constraints.real

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        scale: float | Literal["learned", "pixel", "network"] = "learned",
    ) -> None:
        fixed = isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale < math.inf
        if not fixed and scale not in ("learned", "pixel", "network"):
            raise ValueError(f"scale must be a positive number, 'learned', 'pixel' or 'network', not {scale!r}")
        super().__init__(network, shape, parameters=2 if scale == "network" else 1)
        self.scale = scale
        if scale in ("learned", "pixel"):
            self.raw_scale = nn.Parameter(torch.full(self.shape if scale == "pixel" else (), START))

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Normal of batch shape z.shape[:-1] and event shape ``shape``."""
        mean, *rest = self.parameters_of(z)
        if isinstance(self.scale, int | float):
            scale = torch.full_like(mean, self.scale)
        else:
            raw = rest[0] + START if rest else self.raw_scale
            scale = (F.softplus(raw) + SCALE_FLOOR).expand_as(mean)
        return dist.Normal(mean, scale).to_event(len(self.shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Normal:
        """Start the means at the data's, and a learned scale at the root mean square of ``std``."""
        super().start_at(mean, std)
        if std is not None and not isinstance(self.scale, int | float):
            start = std.double().square().mean().sqrt().clamp(min=2 * SCALE_FLOOR).item()
            raw = math.log(math.expm1(start - SCALE_FLOOR))
            if self.scale == "network":
                self.head.bias(1).fill_(raw - START)
            else:
                self.raw_scale.fill_(raw)
        return self
