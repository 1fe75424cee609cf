"""Logistic-Normal posterior on the simplex: z = softmax(V (m(x) + s(x) eps)), eps ~ N(0, I) of dim - 1 entries.

V is the orthonormal basis of ``distributions.LogisticNormal``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..checks import check_size
from ..networks import Head
from .base import Posterior
from .normal import SCALE_FLOOR


class LogisticNormal(Posterior):
    """Softmax of a diagonal Normal over orthonormal log-ratios.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code, at least 2.

    Raises:
        ValueError: dim below 2.

    Source: Aitchison and Shen 1980; Srivastava and Sutton 2017, "Autoencoding variational inference for topic models".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> LogisticNormal(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).event_shape
        torch.Size([4])
    """

    support = constraints.simplex

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(network, check_size("dim", dim, least=2))
        self.head = Head(network, (dim - 1,), parameters=2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> distributions.LogisticNormal:
        """Logistic-Normal of batch shape (B,) and event shape (dim,)."""
        loc, raw_scale = self.head(self.features(x, y))
        return distributions.LogisticNormal(loc, F.softplus(raw_scale) + SCALE_FLOOR)
