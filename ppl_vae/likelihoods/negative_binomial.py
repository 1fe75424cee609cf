"""Negative binomial likelihood: counts of mean m_i(z) and variance m_i + m_i^2 / r_i, a probability mass.

log p(x | z) = sum_i log G(x_i + r) / (G(r) x_i!) + x_i log(m_i / (m_i + r)) + r log(r / (m_i + r))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ..distributions.negative_binomial import NegativeBinomial as Distribution
from .counts import Counts, concentration_for
from .spread import Spread


class NegativeBinomial(Counts, Spread):
    """Independent over-dispersed counts, means linear in the network's features through a softplus.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        concentration: r, the inverse dispersion (infinity is Poisson): a positive number; "learned", one parameter;
            "pixel", one for every entry; "network", a second output of the network.
        total: None: the decoder gives the means. "observed": it gives every entry's share of the sum N of its row,
            which is treated as known: m_i = N s_i(z). Figures compare only among models with the same ``total``.

    Raises:
        ValueError: any other concentration or total, or a total of one entry.

    Source: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> p = NegativeBinomial(networks.MLP(4, [8]), 3)(torch.zeros(5, 4))
        >>> p.log_prob(torch.ones(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        concentration: float | Literal["learned", "pixel", "network"] = "pixel",
        total: Literal["observed"] | None = None,
    ) -> None:
        super().__init__(network, shape, concentration, argument="concentration")
        self._set_total(total)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Negative binomial of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        return self.counts(Distribution, parts[0], self.spread_of(parts))

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """r = mean^2 / (variance - mean) over all entries, clamped to [1, 100]."""
        return concentration_for(mean, std)
