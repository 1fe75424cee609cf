"""Several independent vectors side by side in one: p(z) = prod_g p_g(z_g), z_g the g-th part of z.

A code of G categorical variables with C classes is one vector of G C entries, so that networks, plots and metrics take
it like any other.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Transform, biject_to, constraints, kl_divergence, transform_to
from torch.distributions.kl import register_kl

from ..checks import check_size
from ..supports import grouped

_ONE = torch.Size()
MOST = 4096  # values that ``enumerate_support`` lists


class Grouped(TorchDistribution):
    """The vectors of a distribution's last batch dimension joined into one event.

    Args:
        base_dist: distribution of batch shape (..., groups) and event shape (classes,).

    Raises:
        ValueError: a distribution without a batch dimension, or not over vectors.

    Example:
        >>> import pyro.distributions as dist
        >>> p = Grouped(dist.OneHotCategorical(logits=torch.zeros(5, 8, 16)))  # 8 variables of 16 classes
        >>> p.batch_shape, p.event_shape, p.log_prob(p.sample()).shape
        (torch.Size([5]), torch.Size([128]), torch.Size([5]))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base_dist: Any, validate_args: bool | None = None) -> None:
        if len(base_dist.event_shape) != 1 or not base_dist.batch_shape:
            raise ValueError(
                f"base_dist must have batch shape (..., groups) and event shape (classes,), not "
                f"{tuple(base_dist.batch_shape)} and {tuple(base_dist.event_shape)}"
            )
        self.base_dist = base_dist
        *batch, self.groups = base_dist.batch_shape
        event = torch.Size([self.groups * base_dist.event_shape[0]])
        super().__init__(torch.Size(batch), event, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:  # noqa: D102
        return grouped(self.base_dist.support, self.groups)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples are reparameterised, as those of the groups are."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether a group's values can be listed."""
        return self.base_dist.has_enumerate_support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Grouped:  # noqa: D102
        return Grouped(self.base_dist.expand((*batch_shape, self.groups)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of value (..., dim), the sum over the groups, (...)."""
        if self._validate_args:
            self._validate_sample(value)
        return self.base_dist.log_prob(value.unflatten(-1, (self.groups, -1))).sum(-1)

    def rsample(self, sample_shape: Any = _ONE) -> Tensor:
        """Reparameterised samples (..., dim)."""
        return self.base_dist.rsample(sample_shape).flatten(-2)

    def sample(self, sample_shape: Any = _ONE) -> Tensor:  # noqa: D102
        with torch.no_grad():
            return self.base_dist.sample(sample_shape).flatten(-2)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self.base_dist.mean.flatten(-2)

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self.base_dist.variance.flatten(-2)

    @property
    def mode(self) -> Tensor:  # noqa: D102
        return self.base_dist.mode.flatten(-2)

    def entropy(self) -> Tensor:
        """Entropy in nats, the sum over the groups, of the batch shape."""
        return self.base_dist.entropy().sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every combination of the groups' values, (N, *batch_shape, dim), the last group varying fastest.

        Raises:
            ValueError: more than 4096 of them.
        """
        one = self.base_dist.enumerate_support(expand=False).reshape(-1, *self.base_dist.event_shape)
        if len(one) ** self.groups > MOST:
            raise ValueError(f"{self.groups} groups of {len(one)} values have more than {MOST} joint values")
        values = torch.stack([torch.cat(parts) for parts in itertools.product(one, repeat=self.groups)])
        values = values.reshape(-1, *(1 for _ in self.batch_shape), *self.event_shape)
        return values.expand(-1, *self.batch_shape, -1) if expand else values


@register_kl(Grouped, Grouped)
def _kl(q: Any, p: Any) -> Tensor:
    if q.base_dist.event_shape != p.base_dist.event_shape:
        raise NotImplementedError
    return kl_divergence(q.base_dist, p.base_dist).sum(-1)


class _EachGroup(Transform):
    """A transform of vectors, applied to every group of a longer vector."""

    domain, bijective = constraints.real_vector, True

    def __init__(self, support: grouped, one: Transform) -> None:
        super().__init__()
        self.codomain, self.groups, self.one = support, support.groups, one

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.groups, -1))

    def _call(self, x: Tensor) -> Tensor:
        return self.one(self._split(x)).flatten(-2)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.one.inv(self._split(y)).flatten(-2)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy/dx|, the sum over the groups."""
        return self.one.log_abs_det_jacobian(self._split(x), self._split(y)).sum(-1)


biject_to.register(grouped, lambda support: _EachGroup(support, biject_to(support.base)))
transform_to.register(grouped, lambda support: _EachGroup(support, transform_to(support.base)))


def check_groups(dim: int, groups: int) -> int:
    """Number of classes of each of ``groups`` categorical variables in a code of ``dim`` entries.

    Raises:
        ValueError: fewer than two classes, or groups that do not divide the code.

    Example:
        >>> check_groups(64, 8)
        8
    """
    check_size("dim", dim, least=2)
    check_size("groups", groups)
    if dim % groups or dim < 2 * groups:
        fit = max(n for n in range(1, dim // 2 + 1) if dim % n == 0 and n <= groups)
        raise ValueError(
            f"groups is {groups}, but the {dim} entries of the code must fall into groups of equal size of at least "
            f"2 classes; use groups={fit}, or a code of {2 * groups}, {3 * groups}, ... entries"
        )
    return dim // groups
