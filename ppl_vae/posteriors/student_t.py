"""Student's t posterior: q(z | x) = prod_j t(z_j; df, m_j(x), s_j(x)), z = m + s n sqrt(df / c), n Normal, c chi^2."""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import nn

from .of import FamilyPosterior


class StudentT(FamilyPosterior):
    """Independent t distributions with fixed degrees of freedom; their heavy tails cover what a Normal misses.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.
        df: degrees of freedom, above 2 for a finite variance of the samples.

    Raises:
        ValueError: df of 2 or less, for which the variance of the ELBO is infinite.

    Source: Domke and Sheldon 2018, "Importance weighting and variational inference".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> StudentT(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).event_shape
        torch.Size([4])
    """

    def __init__(self, network: nn.Module, dim: int, df: float = 5.0) -> None:
        if not (isinstance(df, int | float) and 2 < df < math.inf):
            raise ValueError(f"df must be a number above 2, not {df!r}")
        super().__init__(dist.StudentT, network, dim, df=float(df))
