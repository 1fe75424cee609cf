"""Kumaraswamy posterior: q(z | x) = prod_j a b z_j^(a-1) (1 - z_j^a)^(b-1), a_j(x), b_j(x), z_j in (0, 1).

Reparameterised in closed form: z = (1 - u^(1/b))^(1/a), u uniform.
"""

from __future__ import annotations

from torch import nn

from .. import distributions
from ..distributions.family import SPARSE
from .of import FamilyPosterior


class Kumaraswamy(FamilyPosterior):
    """Independent Kumaraswamy entries whose concentrations are softplus(.) + 0.01 of a linear head, and start near 1.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Nalisnick and Smyth 2017, "Stick-breaking variational autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Kumaraswamy(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        start = {"concentration1": 1.0, "concentration0": 1.0}
        super().__init__(distributions.Kumaraswamy, network, dim, start, SPARSE)
