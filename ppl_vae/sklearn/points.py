"""Draws that are the same for every row, so that a row's figures do not depend on the rows beside it.

    z_k = m(x) + s(x) e_k,    e_k = the Normal quantiles of the k-th of K scrambled Sobol points

Each e_k alone is a standard Normal draw, so what is estimated from the z_k is as unbiased as it is from independent
draws, with a smaller error; only the errors of different rows go together.

Source: Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points"; Buchholz et al. 2018, "Quasi-Monte Carlo
variational inference".
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ..models import VAE
from ..posteriors import Normal
from ..posteriors.base import Posterior


def at_points(model: VAE, count: int, seed: int) -> VAE:
    """The model with K = ``count`` points from ``seed`` in the place of draws from its Normal posterior."""
    uniform = torch.quasirandom.SobolEngine(model.dim, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    points = torch.special.ndtri(uniform.clamp(1e-10, 1 - 1e-10))
    return VAE(model.prior, NormalAtPoints(model.posterior, points), model.likelihood)


class NormalAtPoints(Posterior):
    """A Normal posterior whose draws (K, B, dim) are at the points (K, dim) of a standard Normal, for all B rows."""

    support = Normal.support

    def __init__(self, posterior: Normal, points: Tensor) -> None:
        super().__init__(posterior.network, posterior.dim)
        self.posterior = posterior
        self.register_buffer("points", points)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        """q(z | x), batch shape (B,), event shape (dim,)."""
        q: Any = self.posterior(x, y)
        return _Fixed(q.base_dist.loc, q.base_dist.scale, self.get_buffer("points")).to_event(1)


class _Fixed(dist.Normal):
    """A Normal of batch shape (..., B, dim) whose draws, particles first, are at the first of the points."""

    def __init__(self, loc: Tensor, scale: Tensor, points: Tensor) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.points = points

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Fixed:
        return _Fixed(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.points)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        count = shape[:-2].numel()
        if count > len(self.points):
            raise ValueError(f"{count} draws of a row are wanted, but there are {len(self.points)} points")
        points = self.points[:count].to(self.loc).reshape(*shape[:-2], 1, shape[-1])
        return self.loc + self.scale * points.expand(shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)
