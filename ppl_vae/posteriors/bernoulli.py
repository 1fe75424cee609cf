"""Bernoulli posterior over binary codes: q(z | x) = prod_j r_j^z_j (1 - r_j)^(1 - z_j), logits linear in the features.

Not reparameterised: estimators use the score function.
"""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from .of import FamilyPosterior


class Bernoulli(FamilyPosterior):
    """Independent binary entries. A probability mass.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Mnih and Gregor 2014, "Neural variational inference and learning in belief networks".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Bernoulli(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(dist.Bernoulli, network, dim)
