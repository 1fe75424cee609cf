"""Stick-breaking posterior on the simplex: sticks v_k ~ Kumaraswamy(a_k(x), b_k(x)), z_k = v_k prod_{j<k} (1 - v_j).

The natural posterior for ``priors.StickBreaking``; the KL is a sum over sticks.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..checks import check_size
from ..distributions.family import SPARSE
from ..distributions.softplus import inverse_softplus
from ..networks import Head
from .base import Posterior

START = inverse_softplus(1 - SPARSE)  # unconstrained value of a concentration of 1


class StickBreaking(Posterior):
    """Stick-breaking with Kumaraswamy sticks, whose concentrations are softplus(.) + 0.01 of a linear head.

    At the start the entries have equal means: a_k = 1 and b_k = dim - k.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code, at least 2.

    Raises:
        ValueError: dim below 2.

    Source: Nalisnick and Smyth 2017, "Stick-breaking variational autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> StickBreaking(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    support = constraints.simplex

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(network, check_size("dim", dim, least=2))
        self.head = Head(network, (dim - 1,), parameters=2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> distributions.StickBreaking:
        """Stick-breaking distribution of batch shape (B,) and event shape (dim,)."""
        one, zero = (F.softplus(raw + START) + SPARSE for raw in self.head(self.features(x, y)))
        left = (zero.new_ones(self.dim - 1).cumsum(-1)).flip(-1)  # dim - k
        return distributions.StickBreaking(distributions.Kumaraswamy(one, zero * left))
