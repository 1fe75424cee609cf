"""A distribution in other units: x = shift + unit * u, with u from any distribution of continuous entries.

log p(x) = log p_u((x - shift) / unit) - sum_i log unit_i

so that the density, the mean and the variance are in the units of x.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .. import supports
from .missing import MissingEntries, entry_log_prob


class Scaled(TorchDistribution):
    """The distribution of x = shift + unit * u. It has mean and variance, unlike ``TransformedDistribution``.

    Args:
        base: distribution of u, a density.
        shift: number, or tensor that broadcasts to the event shape.
        unit: the same, positive.

    Raises:
        ValueError: a base of discrete values, whose multiples would have no mass, or one that takes missing entries.

    Example:
        >>> import pyro.distributions as dist
        >>> shift, unit = torch.tensor([5.0, 0.0]), torch.tensor([10.0, 1.0])
        >>> p = Scaled(dist.Normal(torch.zeros(2), 1.0).to_event(1), shift, unit)
        >>> q = dist.Normal(shift, unit).to_event(1)
        >>> x = torch.tensor([[7.0, 1.0]])
        >>> torch.allclose(p.log_prob(x), q.log_prob(x)), p.mean, p.stddev
        (True, tensor([5., 0.]), tensor([10.,  1.]))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, base: Any, shift: float | Tensor, unit: float | Tensor, validate_args: bool | None = None
    ) -> None:
        if isinstance(base, MissingEntries):
            raise ValueError("base takes missing entries; put MissingEntries around Scaled")
        if base.support.is_discrete:
            space = supports.name(base.support)
            raise ValueError(f"base is on {space}, whose multiples have no mass; leave it unscaled")
        self.base, self.shift, self.unit = base, torch.as_tensor(shift), torch.as_tensor(unit)
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # noqa: D102
        return self.base.has_rsample

    @constraints.dependent_property
    def support(self) -> Any:  # noqa: D102
        return supports.scale(self.base.support, self.shift, self.unit)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self.shift + self.unit * self.base.mean

    @property
    def mode(self) -> Tensor:  # noqa: D102
        return self.shift + self.unit * self.base.mode

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self.unit.square() * self.base.variance

    @property
    def stddev(self) -> Tensor:  # noqa: D102
        return self.unit * self.base.stddev

    def expand(self, batch_shape: Any, _instance: Any = None) -> Scaled:  # noqa: D102
        return Scaled(self.base.expand(torch.Size(batch_shape)), self.shift, self.unit, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return self.shift + self.unit * self.base.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        return self.shift + self.unit * self.base.rsample(torch.Size(sample_shape))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of x (..., *event_shape) in nats, shape (...)."""
        if self._validate_args:
            self._validate_sample(x)
        return self.base.log_prob(self._inside(x)) - self._log_unit()

    def entry_log_prob(self, x: Tensor, seen: Tensor) -> Tensor:
        """Log-density of every entry of x (..., *event_shape); ``seen`` marks the observed ones."""
        u = torch.where(seen, self._inside(x), supports.inside(supports.entry(self.base.support)))
        return entry_log_prob(self.base, u, seen) - self.unit.log()

    def entropy(self) -> Tensor:
        """Entropy in nats, shape (...)."""
        return self.base.entropy() + self._log_unit()

    def _inside(self, x: Tensor) -> Tensor:
        """U of x; rounding does not take it out of an interval."""
        return supports.unscaled(self.base.support, x, self.shift, self.unit)

    def _log_unit(self) -> Tensor:
        """Log of the volume that one of u has in x."""
        value = self.unit.log()
        return value.expand(self.event_shape).sum() if self.event_shape else value
