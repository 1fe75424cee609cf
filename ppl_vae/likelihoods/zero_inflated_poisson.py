"""Zero-inflated Poisson likelihood: with probability g_i(z) a count is 0, otherwise Poisson(r_i(z)).

P(0) = g + (1 - g) e^-r,    P(x) = (1 - g) Poisson(x; r) for x > 0,    mean (1 - g) r
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions.zero_inflated import ZeroInflated
from .counts import Counts

GATE = -2.0  # initial logit of the probability of an extra zero, 12 %


class ZeroInflatedPoisson(Counts):
    """Independent counts with extra zeros; rates through a softplus and gates through a sigmoid of the features.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        total: None: the decoder gives the means. "observed": it gives every entry's share of the sum N of its row,
            which is treated as known: m_i = N s_i(z). Figures compare only among models with the same ``total``.

    Raises:
        ValueError: any other total, or a total of one entry.

    Source: Lambert 1992, "Zero-inflated Poisson regression".

    Example:
        >>> from ppl_vae import networks
        >>> likelihood = ZeroInflatedPoisson(networks.MLP(4, []), 2).start_at(torch.tensor([0.5, 4.0]))
        >>> _ = torch.nn.init.zeros_(likelihood.head.layer.weight)
        >>> likelihood(torch.zeros(4)).mean.detach()
        tensor([0.5000, 4.0000])
    """

    def __init__(
        self, network: nn.Module, shape: int | Sequence[int], total: Literal["observed"] | None = None
    ) -> None:
        super().__init__(network, shape, parameters=2)
        self._set_total(total)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Zero-inflated Poisson of batch shape (...) and event shape ``shape``."""
        raw, gate = self.parameters_of(z, y)
        return self.counts(_inflated, raw, gate + GATE)

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> ZeroInflatedPoisson:
        """Start at the data's means, with 12 % of extra zeros."""
        super().start_at(mean, std)
        self.head.bias(1).zero_()
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Of the rate, mean / (1 - 0.12)."""
        return super().unconstrain(mean / (1 - torch.sigmoid(mean.new_tensor(GATE))))


def _inflated(rate: Tensor, gate: Tensor) -> ZeroInflated:
    return ZeroInflated(dist.Poisson(rate), gate)
