"""Laplace posterior: q(z | x) = prod_j exp(-|z_j - m_j(x)| / s_j(x)) / (2 s_j(x)), reparameterised by its quantiles."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from .of import FamilyPosterior


class Laplace(FamilyPosterior):
    """Independent Laplace distributions; the natural posterior for a Laplace prior, with a closed-form KL.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Park et al. 2019, "Variational Laplace autoencoders" (for the family; their method differs).

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Laplace(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).event_shape
        torch.Size([4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(dist.Laplace, network, dim)
