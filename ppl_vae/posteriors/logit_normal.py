"""Logit-Normal posterior on the unit interval: z = s(m(x) + s(x) eps), eps ~ N(0, I), s(.) the logistic function."""

from __future__ import annotations

from torch import nn

from .. import distributions
from .of import FamilyPosterior


class LogitNormal(FamilyPosterior):
    """Independent entries in (0, 1) whose logits are Normal.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Atchison and Shen 1980.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> LogitNormal(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(distributions.LogitNormal, network, dim, {"scale": 1.0})
