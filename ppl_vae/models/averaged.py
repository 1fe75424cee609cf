"""A posterior of z averaged over an auxiliary variable, and the vectors of x and what is beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ..posteriors import Posterior

Inner = Callable[[Tensor, Tensor | None], TorchDistribution]


class Averaged(nn.Module):
    """q(z | x, y) = E_q(a | x) q(z | x, a, y), from which draws are taken; its density has no formula.

    Args:
        auxiliary: q(a | x).
        posterior: q(z | x, a, y), of x and a as one vector.
        events: event dimensions of x.
    """

    def __init__(self, auxiliary: Posterior, posterior: Posterior, events: int) -> None:
        super().__init__()
        self.auxiliary, self.posterior = auxiliary, posterior
        self.dim, self.support, self.events = posterior.dim, posterior.support, events

    def forward(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape (B,), or that of y (..., B), and event shape (dim,) from x (B, *shape)."""

        def inner(a: Tensor, y: Tensor | None) -> TorchDistribution:
            return self.posterior(beside(x, a, self.events), y)

        return AveragedPosterior(self.auxiliary(x), inner, y, (self.dim,), self.support)


class AveragedPosterior(TorchDistribution):
    """E_q(a | x) q(z | a, y), from which draws are taken; its density has no formula.

    Args:
        first: q(a | x), batch shape (B,).
        inner: q(z | a, y) of a (..., B, A) and y (..., B).
        y: labels (..., B), or None.
        event: shape of z.
        support: constraint on z.
    """

    arg_constraints: Any = {}  # noqa: RUF012
    support: Any = None
    has_rsample = False

    def __init__(self, first: TorchDistribution, inner: Inner, y: Tensor | None, event: Any, support: Any) -> None:
        self.first, self.inner, self.y, self.support = first, inner, y, support
        batch = torch.broadcast_shapes(first.batch_shape, () if y is None else y.shape)
        super().__init__(batch, torch.Size(event), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, dim), each at a draw of q(a | x) of its own."""
        with torch.no_grad():
            a = self.first.expand(self.batch_shape).sample(torch.Size(sample_shape))
            return self.inner(a, None if self.y is None else self.y.expand(a.shape[:-1])).sample()


def beside(x: Tensor, other: Tensor, events: int) -> Tensor:
    """Vectors (..., D + A) of x (..., *shape), flattened, and other (..., A), whose leading dimensions broadcast.

    Args:
        x: tensor of so many event dimensions, D entries in all.
        other: what comes behind.
        events: event dimensions of x.

    Example:
        >>> beside(torch.ones(5, 1, 8, 8), torch.zeros(3, 5, 2), 3).shape
        torch.Size([3, 5, 66])
    """
    flat = x.flatten(-events)
    lead = torch.broadcast_shapes(flat.shape[:-1], other.shape[:-1])
    return torch.cat([flat.expand(*lead, -1), other.expand(*lead, -1)], -1)
