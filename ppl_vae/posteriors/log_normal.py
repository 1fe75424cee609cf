"""Log-Normal posterior: log z = m(x) + s(x) eps, eps ~ N(0, I), z > 0."""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from .of import FamilyPosterior


class LogNormal(FamilyPosterior):
    """Independent positive entries whose logarithms are Normal.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> LogNormal(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(dist.LogNormal, network, dim, {"scale": 1.0})
