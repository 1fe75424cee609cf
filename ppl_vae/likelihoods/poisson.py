"""Poisson likelihood: log p(x | z) = sum_i x_i log r_i(z) - r_i(z) - log x_i!, a mass on the counts 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
from torch import Tensor, nn

from .counts import Counts


class Poisson(Counts):
    """Independent counts with rates linear in the network's features through a softplus.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        total: None: the decoder gives the means. "observed": it gives every entry's share of the sum N of its row,
            which is treated as known: m_i = N s_i(z). Figures compare only among models with the same ``total``.

    Raises:
        ValueError: any other total, or a total of one entry.

    Source: McCullagh and Nelder 1989, "Generalized linear models", chapter 6.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> p = Poisson(networks.MLP(4, [8]), 3)(torch.zeros(5, 4))
        >>> p.log_prob(torch.ones(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self, network: nn.Module, shape: int | Sequence[int], total: Literal["observed"] | None = None
    ) -> None:
        super().__init__(network, shape, parameters=1)
        self._set_total(total)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Poisson of batch shape (...) and event shape ``shape``."""
        (raw,) = self.parameters_of(z, y)
        return self.counts(dist.Poisson, raw)
