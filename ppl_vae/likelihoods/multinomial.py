"""Multinomial likelihood of bags of words: log p(x | z, n) = log n! - sum_v log x_v! + sum_v x_v log p_v(z).

The likelihood conditions on each datum's total n = sum_v x_v, so n carries no information about z, and the model does
not describe the length of a document. A probability mass on the counts that sum to n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..distributions.multinomial import Multinomial as Distribution
from .base import Likelihood


class Multinomial(Likelihood):
    """Counts over a vocabulary, with logits of the words linear in the network's features.

    Samples and the distribution's ``mean`` need a total: ``total_count``, or by default the mean total of the training
    data, which ``start_at`` stores (100 before). For other totals, build ``distributions.multinomial.Multinomial`` from
    the logits with a total for every datum.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data, the size of the vocabulary.
        total_count: words of a sampled document; None for the data's mean.

    Raises:
        ValueError: a total_count below 1, or a vocabulary of fewer than 2 words.

    Source: Miao et al. 2016, "Neural variational inference for text processing".

    Example:
        >>> from ppl_vae import networks
        >>> p = Multinomial(networks.MLP(4, [8]), 30, total_count=12)(torch.zeros(5, 4))
        >>> p.sample().sum(-1)
        tensor([12., 12., 12., 12., 12.])
    """

    support = constraints.nonnegative_integer
    mass = True
    entrywise = False
    total: Tensor

    def __init__(self, network: nn.Module, shape: int | Sequence[int], total_count: int | None = None) -> None:
        super().__init__(network, shape, parameters=1)
        if math.prod(self.shape) < 2:
            raise ValueError(f"shape must hold at least 2 words for a multinomial, not {self.shape}")
        self.total_count = None if total_count is None else check_size("total_count", total_count)
        self.register_buffer("total", torch.tensor(100 if total_count is None else total_count))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """Multinomial of batch shape (...) and event shape ``shape``."""
        (logits,) = self.parameters_of(z, y)
        return Distribution(logits, self.total, event_dim=len(self.shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Multinomial:
        """Start at the words' mean frequencies, and store the mean total for samples."""
        super().start_at(mean, std)
        if self.total_count is None:
            self.total.fill_(mean.sum().round().clamp(min=1))
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Log of the mean counts, clamped to at least 0.0001."""
        return mean.clamp(min=1e-4).log()
