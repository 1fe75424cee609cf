"""Any distribution of independent entries, with NaN for entries that are missing.

    log p(x_seen) = sum_i [x_i is seen] log p_i(x_i)

which is the exact marginal of the seen entries, since the others integrate (or sum) to 1.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent

from .. import supports


@runtime_checkable
class ByEntry(Protocol):
    """A distribution with a log-probability for every single entry."""

    def entry_log_prob(self, x: Tensor, seen: Tensor) -> Tensor:
        """Log-probability of every entry of x (..., *event_shape); ``seen`` marks the observed ones."""
        ...


def entry_log_prob(p: Any, x: Tensor, seen: Tensor | None = None) -> Tensor:
    """Log-probability of every entry of x (..., *event_shape), before they are summed over the event.

    Args:
        p: a distribution with a method ``entry_log_prob(x, seen)`` of its own, or ``Independent`` over all of its
            event dimensions.
        x: values inside the support, unseen entries included.
        seen: which entries of x were observed; None for all. Only some distributions use it.

    Raises:
        ValueError: a distribution whose entries depend on each other.

    Example:
        >>> import pyro.distributions as dist
        >>> entry_log_prob(dist.Normal(torch.zeros(5, 3), 1.0).to_event(1), torch.zeros(5, 3)).shape
        torch.Size([5, 3])
    """
    while isinstance(p, Independent) and not isinstance(p, ByEntry):
        p = p.base_dist
    if isinstance(p, ByEntry):
        return p.entry_log_prob(x, torch.ones_like(x, dtype=torch.bool) if seen is None else seen)
    if p.event_shape:
        raise ValueError(f"the entries of {type(p).__name__} depend on each other, so a single one has no density")
    return p.log_prob(x)


class MissingEntries(TorchDistribution):
    """A distribution of independent entries that takes NaN for a missing one; samples are complete.

    Args:
        base: distribution for which ``entry_log_prob`` is defined.
        fill: value inside the support of every entry, a number or a tensor that broadcasts to the event shape; it
            replaces NaN while log-probabilities are computed and never affects the result or a gradient.

    Example:
        >>> import pyro.distributions as dist
        >>> p = MissingEntries(dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> p.log_prob(torch.tensor([0.0, float("nan")])) == dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
        tensor(True)
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base: Any, fill: float | Tensor | None = None, validate_args: bool | None = None) -> None:
        self.base = base
        self.fill = supports.inside(supports.entry(base.support)) if fill is None else fill
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # noqa: D102
        return self.base.has_rsample

    @property
    def support(self) -> Any:  # noqa: D102
        return supports.or_missing(self.base.support)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self.base.mean

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self.base.variance

    def expand(self, batch_shape: Any, _instance: Any = None) -> MissingEntries:  # noqa: D102
        return MissingEntries(self.base.expand(batch_shape), self.fill, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return self.base.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return self.base.rsample(torch.Size(sample_shape))

    def entry_log_prob(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Log-probability of every entry (..., *event_shape), 0 where x is NaN."""
        seen = ~x.isnan() if seen is None else seen & ~x.isnan()
        filled = torch.where(seen, x, torch.as_tensor(self.fill, dtype=x.dtype, device=x.device))
        value = entry_log_prob(self.base, filled, seen)
        return torch.where(seen, value, value.new_zeros(()))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the entries that are not NaN, shape (...)."""
        value = self.entry_log_prob(x)
        return value.flatten(value.dim() - self.event_dim).sum(-1) if self.event_dim else value
