"""Low-rank Normal posterior: z = m + s (V e1 + e2) with e1 and e2 Normal.

With S = diag s and V of ``rank`` columns,

    q(z | x) = N(m, S (I + V V') S).

V is relative to s and bounded, |V_ij| < 30, so that I + V' V always has a Cholesky factor in float32.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..networks import Head
from .base import Posterior
from .normal import SCALE_FLOOR

BOUND = 30.0  # of V: correlations up to 1 - 1/900


class LowRankNormal(Posterior):
    """Normal with a low-rank covariance: dim (rank + 2) outputs instead of dim (dim + 3) / 2 for a full one.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.
        rank: number of columns of V.

    Raises:
        ValueError: a rank below 1.

    Source: Rezende et al. 2014, section 4.3; Ong, Nott and Smith 2018.

    Example:
        >>> from ppl_vae import networks
        >>> LowRankNormal(networks.MLP(6, [8]), 4, rank=1)(torch.zeros(5, 6)).covariance_matrix.shape
        torch.Size([5, 4, 4])
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, network: nn.Module, dim: int, rank: int = 2) -> None:
        super().__init__(network, dim)
        self.rank = check_size("rank", rank)
        self.head = Head(network, (dim * (rank + 2),))

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """N(m, S (I + V V') S), all of x, batch shape (B,), event shape (dim,)."""
        (out,) = self.head(self.features(x, y))
        mean, raw_scale, factor = out.split((self.dim, self.dim, self.dim * self.rank), -1)
        scale = F.softplus(raw_scale) + SCALE_FLOOR
        factor = BOUND * torch.tanh(factor / BOUND).unflatten(-1, (self.dim, self.rank))
        return dist.LowRankMultivariateNormal(mean, scale.unsqueeze(-1) * factor, scale.square())
