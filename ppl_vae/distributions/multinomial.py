"""The multinomial with a separate total for every datum: log P(x | n) = log n! - sum_v log x_v! + sum_v x_v log p_v.

``log_prob`` conditions on the total n = sum_v x_v of its argument; only samples and the mean need ``total_count``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .given_total import GivenTotal


class Multinomial(GivenTotal):
    """Counts over ``logits.shape[-event_dim:]`` categories, given their total.

    Args:
        logits: (..., *event_shape), normalised over the whole event.
        total_count: total of a sample and of the ``mean``; a number or a tensor that broadcasts to the batch shape.
        event_dim: number of trailing dimensions that index the categories.

    Example:
        >>> p = Multinomial(torch.zeros(5, 4), total_count=torch.arange(5))
        >>> p.sample().sum(-1).tolist(), p.log_prob(torch.tensor([0.0, 0.0, 1.0, 0.0])).exp()[0]
        ([0.0, 1.0, 2.0, 3.0, 4.0], tensor(0.2500))
    """

    def at_total(self, total_count: float | Tensor) -> Multinomial:  # noqa: D102
        whole = total_count.long() if isinstance(total_count, Tensor) else int(total_count)
        return Multinomial(self.logits, whole, self.event_dim, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Multinomial:  # noqa: D102
        logits = self.logits.expand(*batch_shape, *self.event_shape)
        return Multinomial(logits, self.total_count, self.event_dim, validate_args=False)

    @property
    def probs(self) -> Tensor:
        """Probabilities (..., *event_shape)."""
        return self._log_shares().exp().reshape(self.logits.shape)

    @property
    def mean(self) -> Tensor:
        """Expected counts of ``total_count`` draws."""
        return self.probs * self._totals().reshape(*self.batch_shape, *[1] * self.event_dim)

    def mean_for(self, x: Tensor) -> Tensor:
        """Expected counts given the totals of x (..., *event_shape)."""
        return self.probs * self.totals_of(x).reshape(*x.shape[: -self.event_dim], *[1] * self.event_dim)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-mass of the counts x (..., *event_shape) given their total."""
        if self._validate_args:
            self._validate_sample(x)
        x = x.flatten(x.dim() - self.event_dim)
        orders = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        return orders + (x * self._log_shares()).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sampled counts that sum to ``total_count``, in the logits' dtype."""
        with torch.no_grad():
            lead = (*torch.Size(sample_shape), *self.batch_shape)
            totals = self._totals().expand(lead)
            most = int(totals.max()) if totals.numel() else 0
            flat = self._log_shares().expand(*lead, -1)
            counts = torch.zeros_like(flat, memory_format=torch.contiguous_format)
            if most:
                draws = torch.distributions.Categorical(logits=flat, validate_args=False).sample((most,))
                draws = draws.movedim(0, -1)
                kept = torch.arange(most, device=draws.device) < totals.unsqueeze(-1)
                counts.scatter_add_(-1, draws, kept.to(counts.dtype))
            return counts.reshape(*lead, *self.event_shape)
