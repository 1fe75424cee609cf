"""Full-covariance Normal posterior: q(z | x) = N(m, L L'), z = m + L eps with L lower triangular."""

from __future__ import annotations

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..networks import Head
from .base import Posterior
from .normal import SCALE_FLOOR


class MultivariateNormal(Posterior):
    """Normal with a Cholesky factor L(x), positive on its diagonal through a softplus, zero above it.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code; the head has dim + dim (dim + 1) / 2 outputs.

    Source: Kingma and Welling 2019, "An introduction to variational autoencoders", section 2.5.1.

    Example:
        >>> from ppl_vae import networks
        >>> q = MultivariateNormal(networks.MLP(3, [8]), 4)(torch.zeros(5, 3))
        >>> q.covariance_matrix.shape
        torch.Size([5, 4, 4])
    """

    support = constraints.independent(constraints.real, 1)
    _rows: Tensor
    _columns: Tensor

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(network, dim)
        self.head = Head(network, (dim + dim * (dim + 1) // 2,))
        rows, columns = torch.tril_indices(dim, dim)
        self.register_buffer("_rows", rows, persistent=False)
        self.register_buffer("_columns", columns, persistent=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """N(m(x), L(x) L(x)'), batch shape (B,), event shape (dim,)."""
        (out,) = self.head(self.features(x, y))
        mean, entries = out[..., : self.dim], out[..., self.dim :]
        entries = torch.where(self._rows == self._columns, F.softplus(entries) + SCALE_FLOOR, entries)
        tril = entries.new_zeros(*entries.shape[:-1], self.dim, self.dim)
        tril[..., self._rows, self._columns] = entries
        return dist.MultivariateNormal(mean, scale_tril=tril)
