"""Zero-inflated negative binomial likelihood: with probability g_i(z) a count is 0, otherwise negative binomial.

P(0) = g + (1 - g) NB(0; m, r),    P(x) = (1 - g) NB(x; m, r) for x > 0,    mean (1 - g) m
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ..distributions.negative_binomial import NegativeBinomial
from ..distributions.zero_inflated import ZeroInflated
from .counts import Counts, concentration_for
from .spread import Spread
from .zero_inflated_poisson import GATE


class ZeroInflatedNegativeBinomial(Counts, Spread):
    """Independent over-dispersed counts with extra zeros, as in single-cell gene expression.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        concentration: r, the inverse dispersion: a positive number; "learned", one parameter; "pixel", one for every
            entry; "network", a third output of the network.
        total: None: the decoder gives the means. "observed": it gives every entry's share of the sum N of its row,
            which is treated as known: m_i = N s_i(z). Figures compare only among models with the same ``total``.

    Raises:
        ValueError: any other concentration or total, or a total of one entry.

    Source: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics".

    Example:
        >>> from ppl_vae import networks
        >>> p = ZeroInflatedNegativeBinomial(networks.MLP(4, [8]), 3)(torch.zeros(5, 4))
        >>> p.log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        concentration: float | Literal["learned", "pixel", "network"] = "pixel",
        total: Literal["observed"] | None = None,
    ) -> None:
        super().__init__(network, shape, concentration, parameters=2, argument="concentration")
        self._set_total(total)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Zero-inflated negative binomial of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        return self.counts(_inflated, parts[0], self.spread_of(parts), parts[1] + GATE)

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> ZeroInflatedNegativeBinomial:
        """Start at the data's means and over-dispersion, with 12 % of extra zeros."""
        super().start_at(mean, std)
        self.head.bias(1).zero_()
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Of the mean without the extra zeros, mean / (1 - 0.12)."""
        return super().unconstrain(mean / (1 - torch.sigmoid(mean.new_tensor(GATE))))

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """r = mean^2 / (variance - mean) over all entries, clamped to [1, 100]."""
        return concentration_for(mean, std)


def _inflated(mean: Tensor, concentration: Tensor, gate: Tensor) -> ZeroInflated:
    return ZeroInflated(NegativeBinomial(mean, concentration), gate)
