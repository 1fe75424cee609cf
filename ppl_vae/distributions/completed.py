"""Any distribution of independent entries of which some are known: the known ones are a point mass.

log p(x) = sum_i [x_i is not known] log p_i(x_i)
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from .missing import entry_log_prob


class CompletedEntries(TorchDistribution):
    """A distribution of independent entries, of which the known ones are what they are in every draw.

    Args:
        base: distribution for which ``entry_log_prob`` is defined.
        known: values (..., *event_shape), used where ``mask`` is True.
        mask: which entries are known, (*event_shape) bool.

    Example:
        >>> import pyro.distributions as dist
        >>> base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
        >>> p = CompletedEntries(base, torch.tensor([7.0, 0.0, 0.0]), torch.tensor([True, False, False]))
        >>> p.mean, p.log_prob(torch.tensor([7.0, 1.0, 1.0])) == dist.Normal(0.0, 1.0).log_prob(torch.ones(2)).sum()
        (tensor([7., 0., 0.]), tensor(True))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base: Any, known: Tensor, mask: Tensor, validate_args: bool | None = None) -> None:
        self.base, self.known, self.mask_known = base, known, mask
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # noqa: D102
        return self.base.has_rsample

    @property
    def support(self) -> Any:  # noqa: D102
        return self.base.support

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self._with_known(self.base.mean)

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return torch.where(self.mask_known, 0.0, self.base.variance)

    def expand(self, batch_shape: Any, _instance: Any = None) -> CompletedEntries:  # noqa: D102
        return CompletedEntries(self.base.expand(batch_shape), self.known, self.mask_known, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return self._with_known(self.base.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return self._with_known(self.base.rsample(torch.Size(sample_shape)))

    def entry_log_prob(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Log-probability of every entry (..., *event_shape), 0 where it is known."""
        value = entry_log_prob(self.base, x, seen)
        return torch.where(self.mask_known, value.new_zeros(()), value)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the entries that are not known, shape (...); the known ones are not looked at."""
        value = self.entry_log_prob(x)
        return value.flatten(value.dim() - self.event_dim).sum(-1) if self.event_dim else value

    def _with_known(self, x: Tensor) -> Tensor:
        return torch.where(self.mask_known, self.known.to(x.dtype), x)
