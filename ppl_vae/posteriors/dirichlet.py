"""Dirichlet posterior on the simplex: q(z | x) = Dirichlet(a(x)), with implicit gradients."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from ..checks import check_size
from ..distributions.family import SPARSE
from .of import FamilyPosterior


class Dirichlet(FamilyPosterior):
    """Dirichlet whose concentrations are softplus(.) + 0.01 of a linear head, and start near 1.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code, at least 2.

    Raises:
        ValueError: dim below 2.

    Source: Figurnov et al. 2018, "Implicit reparameterization gradients".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Dirichlet(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        check_size("dim", dim, least=2)
        super().__init__(dist.Dirichlet, network, dim, {"concentration": 1.0}, SPARSE)
