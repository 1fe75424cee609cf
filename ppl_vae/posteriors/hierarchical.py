"""Hierarchical posterior over stochastic layers, from the bottom up.

q(z | x) = N(z1; m_1(x), diag s_1(x)^2) prod_l N(z_{l+1}; m_{l+1}(z_l), diag s_{l+1}(z_l)^2).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions.layered import Layered, NormalGiven, layer_sizes
from ..networks import Head
from .base import Posterior
from .normal import SCALE_FLOOR


class Hierarchical(Posterior):
    """Layers of codes, z1 first: the lowest is a Normal given x, each higher one a Normal given the layer below.

    Use the same ``layers`` as in ``priors.Hierarchical``.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code, all layers together.
        layers: number of layers, of sizes as equal as possible; or the sizes of z1 ... zL.
        hidden: sizes of the hidden layers of the network between two stochastic layers.

    Attributes:
        sizes: sizes of z1 ... zL.

    Raises:
        ValueError: fewer than two layers, or sizes that do not add up to dim.

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Hierarchical(networks.MLP(6, [8]), 5)(torch.zeros(3, 6)).sample().shape
        torch.Size([3, 5])
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(
        self, network: nn.Module, dim: int, layers: int | Sequence[int] = 2, hidden: Sequence[int] = (64,)
    ) -> None:
        super().__init__(network, dim)
        self.sizes = layer_sizes(dim, layers)
        self.head = Head(network, self.sizes[:1], parameters=2)
        self.conditionals = nn.ModuleList(
            NormalGiven(below, above, hidden) for below, above in zip(self.sizes, self.sizes[1:], strict=False)
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> Layered:
        """The chain from the bottom up, batch shape (B,), event shape (dim,)."""
        mean, raw_scale = self.head(self.features(x, y))
        first = dist.Normal(mean, F.softplus(raw_scale) + SCALE_FLOOR).to_event(1)
        return Layered(first, list(self.conditionals), self.sizes, top_down=False)
