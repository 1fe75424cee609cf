"""Hyperspherical posterior: power spherical, q(z | x) ~ (1 + m(x)'z)^k(x) on the unit sphere of R^dim.

Reparameterised without rejection; densities are with respect to the sphere's surface.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .. import distributions
from ..checks import check_size
from ..networks import Head
from .base import Posterior
from .normal import SCALE_FLOOR

START = 50.0  # concentration per dimension at the start


class Hyperspherical(Posterior):
    """Power spherical distribution with direction and concentration from a linear head.

    The concentration is ``dim`` times a softplus that starts at 50, so codes start with little noise. From a smaller
    concentration, training with many dimensions ends in posterior collapse (the code is not used).

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code, at least 2; the sphere has dim - 1 dimensions.

    Raises:
        ValueError: dim below 2.

    Source: De Cao and Aziz 2020, "The power spherical distribution"; Davidson et al. 2018.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Hyperspherical(networks.MLP(6, [8]), 4)(torch.ones(5, 6)).mean.shape
        torch.Size([5, 4])
    """

    support = distributions.PowerSpherical.support

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(network, check_size("dim", dim, least=2))
        self.head = Head(network, (dim + 1,))

    def forward(self, x: Tensor, y: Tensor | None = None) -> distributions.PowerSpherical:
        """Power spherical distribution of batch shape (B,) and event shape (dim,)."""
        (raw,) = self.head(self.features(x, y))
        direction = F.normalize(raw[..., :-1], dim=-1)
        return distributions.PowerSpherical(direction, self.dim * F.softplus(raw[..., -1] + START) + SCALE_FLOOR)
