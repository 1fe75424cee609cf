"""Stick-breaking distribution on the simplex, from dim - 1 independent sticks v_k in (0, 1).

    x_k = v_k prod_{j<k} (1 - v_j),    x_dim = what is left,    v_k = x_k / (x_k + ... + x_dim)

    log p(x) = sum_k log p(v_k) - sum_{k<dim} log(x_k + ... + x_dim)

over the first dim - 1 entries of x, like the Dirichlet's density. Sticks Beta(1, c) give the GEM distribution truncated
to dim entries; a Dirichlet(a) has sticks Beta(a_k, a_{k+1} + ... + a_dim). KLs are sums over the sticks.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Beta, TorchDistribution
from torch import Tensor
from torch.distributions import Dirichlet, constraints, kl_divergence
from torch.distributions.kl import register_kl


class StickBreaking(TorchDistribution):
    """Distribution of the pieces of a broken stick.

    Args:
        sticks: distribution on the unit interval of batch shape (..., dim - 1) and event shape ().

    Source: Sethuraman 1994; Nalisnick and Smyth 2017, "Stick-breaking variational autoencoders".

    Example:
        >>> StickBreaking(Beta(torch.ones(3), 2.0)).sample().shape
        torch.Size([4])
    """

    arg_constraints: dict[str, Any] = {}
    support: Any = constraints.simplex

    def __init__(self, sticks: Any, validate_args: bool | None = None) -> None:
        if sticks.event_shape or not sticks.batch_shape:
            raise ValueError(
                f"sticks must have batch shape (..., dim - 1) and event shape (), not {tuple(sticks.batch_shape)} "
                f"and {tuple(sticks.event_shape)}"
            )
        self.sticks = sticks
        *batch, size = sticks.batch_shape
        super().__init__(torch.Size(batch), torch.Size((size + 1,)), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # noqa: D102
        return self.sticks.has_rsample

    def expand(self, batch_shape: Any, _instance: Any = None) -> StickBreaking:  # noqa: D102
        new: Any = self._get_checked_instance(StickBreaking, _instance)
        new.sticks = self.sticks.expand((*batch_shape, self.event_shape[0] - 1))
        super(StickBreaking, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples, reparameterised if the sticks are; entries are at least the smallest normal float."""
        return _pieces(self.sticks.rsample(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: D102
        with torch.no_grad():
            return _pieces(self.sticks.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density over the first dim - 1 entries, (..., batch shape)."""
        if self._validate_args:
            self._validate_sample(value)
        info = torch.finfo(value.dtype)
        value = value.clamp(min=info.tiny)
        rest = value.flip(-1).cumsum(-1).flip(-1)[..., :-1]
        v = (value[..., :-1] / rest).clamp(info.tiny, 1 - info.eps / 2)
        return (self.sticks.log_prob(v) - rest.log()).sum(-1)

    @property
    def mean(self) -> Tensor:
        """E[x], (..., dim): products of the sticks' means."""
        v = self.sticks.mean
        return _products(v, 1 - v)

    @property
    def variance(self) -> Tensor:
        """Var[x], (..., dim)."""
        v, square = self.sticks.mean, self.sticks.variance + self.sticks.mean.square()
        return _products(square, 1 - 2 * v + square) - self.mean.square()


def _products(v: Tensor, rest: Tensor) -> Tensor:
    """v_k prod_{j<k} rest_j, and the product of all rest_j last."""
    one = torch.ones_like(v[..., :1])
    return torch.cat([v, one], -1) * torch.cat([one, rest.cumprod(-1)], -1)


def _pieces(v: Tensor) -> Tensor:
    x = _products(v, 1 - v).clamp(min=torch.finfo(v.dtype).tiny)
    return x / x.sum(-1, keepdim=True)


@register_kl(StickBreaking, StickBreaking)
def _kl_stick_breaking(q: StickBreaking, p: StickBreaking) -> Tensor:
    return kl_divergence(q.sticks, p.sticks).sum(-1)


@register_kl(Dirichlet, StickBreaking)
def _kl_dirichlet_stick_breaking(q: Any, p: StickBreaking) -> Tensor:
    a = q.concentration
    after = a.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    return kl_divergence(Beta(a[..., :-1], after, validate_args=False), p.sticks).sum(-1)
