"""Beta posterior: q(z | x) = prod_j Beta(z_j; a_j(x), b_j(x)), z_j in (0, 1), with implicit gradients."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from ..distributions.family import SPARSE
from .of import FamilyPosterior


class Beta(FamilyPosterior):
    """Independent Beta entries whose concentrations are softplus(.) + 0.01 of a linear head, and start near 1.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Figurnov et al. 2018, "Implicit reparameterization gradients".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Beta(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(dist.Beta, network, dim, {"concentration1": 1.0, "concentration0": 1.0}, SPARSE)
