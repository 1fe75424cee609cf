"""Gamma posterior: q(z | x) = prod_j Gamma(z_j; a_j(x), rate b_j(x)), z_j > 0, with implicit gradients."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from ..distributions.family import SPARSE
from .of import FamilyPosterior


class Gamma(FamilyPosterior):
    """Independent Gamma entries; concentration and rate are softplus(.) + 0.01 of a linear head, and start near 1.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Figurnov et al. 2018, "Implicit reparameterization gradients".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Gamma(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(dist.Gamma, network, dim, {"concentration": 1.0, "rate": 1.0}, SPARSE)
