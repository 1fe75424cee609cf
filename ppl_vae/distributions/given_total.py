"""Counts given the total N of their own row: ``log_prob`` takes N = sum_i x_i from its argument.

    Multinomial     log N! - sum_i log x_i! + sum_i x_i log s_i          s = softmax(logits), the entries' shares of N
    CountsOfTotal   sum_i log p(x_i; mean N s_i), with p Poisson, negative binomial, ...

Given s and N, the Poisson counts are the multinomial times the mass of N: sum_i log Poisson(x_i; N s_i) =
log Multinomial(x; N, s) + log Poisson(N; N). Only samples and the mean need a total.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..parts import Abstract

LOWEST = -70.0  # log of the smallest mean: an entry whose share underflows, or an entry of an empty row


class GivenTotal(Abstract, TorchDistribution):
    """Base of the distributions of counts over ``logits.shape[-event_dim:]`` entries, given their total.

    Args:
        logits: (..., *event_shape); their softmax over the whole event are the shares.
        total_count: total at which samples are made, and that of ``mean``; a number or a tensor that broadcasts to the
            batch shape.
        event_dim: number of trailing dimensions that index the entries.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, logits: Tensor, total_count: float | Tensor = 1, event_dim: int = 1, validate_args: bool | None = None
    ) -> None:
        cut = logits.dim() - event_dim
        self.logits, self.total_count = logits, total_count
        super().__init__(logits.shape[:cut], logits.shape[cut:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:  # noqa: D102
        return constraints.independent(constraints.nonnegative_integer, self.event_dim)

    @abstractmethod
    def at_total(self, total_count: float | Tensor) -> Self:
        """The same distribution with samples and mean at another total."""

    @abstractmethod
    def mean_for(self, x: Tensor) -> Tensor:
        """Expected counts given the totals of x (..., *event_shape)."""

    def totals_of(self, x: Tensor) -> Tensor:
        """Totals (...) of counts x (..., *event_shape)."""
        return x.flatten(x.dim() - self.event_dim).sum(-1)

    def _log_shares(self) -> Tensor:
        return self.logits.flatten(self.logits.dim() - self.event_dim).log_softmax(-1)

    def _totals(self) -> Tensor:
        return torch.as_tensor(self.total_count, device=self.logits.device).expand(self.batch_shape)


class CountsOfTotal(GivenTotal):
    """Independent counts whose means are shares of the total of their row: m_i = N s_i.

    Args:
        logits: (..., *event_shape), of the shares.
        family: from means, and the parameters, to the distribution of single counts.
        parameters: further parameters of the family, tensors (..., *event_shape).
        total_count: total at which samples are made, and that of ``mean``.
        event_dim: number of trailing dimensions that index the entries.

    Example:
        >>> import pyro.distributions as dist
        >>> p = CountsOfTotal(torch.zeros(2), dist.Poisson, total_count=10)
        >>> p.mean, p.mean_for(torch.tensor([1.0, 5.0]))
        (tensor([5., 5.]), tensor([3., 3.]))
        >>> p.log_prob(torch.tensor([1.0, 5.0])) == dist.Poisson(3.0).log_prob(torch.tensor([1.0, 5.0])).sum()
        tensor(True)
    """

    def __init__(
        self,
        logits: Tensor,
        family: Callable[..., Any],
        parameters: Sequence[Tensor] = (),
        total_count: float | Tensor = 1,
        event_dim: int = 1,
        validate_args: bool | None = None,
    ) -> None:
        self.family, self.parameters = family, tuple(parameters)
        super().__init__(logits, total_count, event_dim, validate_args=validate_args)

    def at_total(self, total_count: float | Tensor) -> CountsOfTotal:  # noqa: D102
        return CountsOfTotal(
            self.logits, self.family, self.parameters, total_count, self.event_dim, validate_args=False
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> CountsOfTotal:  # noqa: D102
        shape = (*batch_shape, *self.event_shape)
        parameters = [parameter.expand(shape) for parameter in self.parameters]
        logits = self.logits.expand(shape)
        return CountsOfTotal(logits, self.family, parameters, self.total_count, self.event_dim, validate_args=False)

    def entries(self, totals: Tensor) -> Any:
        """The distribution of single counts of rows with these totals (...), of event dimension 0."""
        log_total = totals.to(self.logits).log()[..., None]  # -inf of an empty row, which is clamped
        flat = (log_total + self._log_shares()).clamp(min=LOWEST).exp()
        return self.family(flat.unflatten(-1, self.event_shape), *self.parameters)

    @property
    def mean(self) -> Tensor:
        """Expected counts at ``total_count``."""
        return self.entries(self._totals()).mean

    @property
    def variance(self) -> Tensor:
        """Variances of the counts at ``total_count``."""
        return self.entries(self._totals()).variance

    def mean_for(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.entries(self.totals_of(x)).mean

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-mass of the counts x (..., *event_shape), whose total is treated as known."""
        if self._validate_args:
            self._validate_sample(x)
        each = self.entries(self.totals_of(x)).log_prob(x)
        return each.flatten(each.dim() - self.event_dim).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Counts with the means at ``total_count``; their own totals vary about it."""
        with torch.no_grad():
            return self.entries(self._totals()).sample(torch.Size(sample_shape))
