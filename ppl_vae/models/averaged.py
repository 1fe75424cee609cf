"""A posterior of z averaged over an auxiliary variable, and the vectors of x and what is beside it."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ..posteriors import Posterior


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
        return AveragedPosterior(self, x, y)


class AveragedPosterior(TorchDistribution):
    """What ``Averaged`` gives: a distribution that can be drawn from."""

    arg_constraints: Any = {}  # noqa: RUF012
    support: Any = None
    has_rsample = False

    def __init__(self, of: Averaged, x: Tensor, y: Tensor | None) -> None:
        self.of, self.x, self.y, self.support = of, x, y, of.support
        self.q = of.auxiliary(x)
        batch = torch.broadcast_shapes(self.q.batch_shape, () if y is None else y.shape)
        super().__init__(batch, torch.Size([of.dim]), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, dim), each with an a of its own."""
        with torch.no_grad():
            a = self.q.expand(self.batch_shape).sample(torch.Size(sample_shape))
            y = None if self.y is None else self.y.expand(a.shape[:-1])
            return self.of.posterior(beside(self.x, a, self.of.events), y).sample()


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
