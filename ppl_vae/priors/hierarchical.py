"""Hierarchical prior over stochastic layers z = (z1, ..., zL), from the top down.

p(z) = N(zL; 0, I) prod_l N(z_l; m_l(z_{l+1}), diag s_l(z_{l+1})^2).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions.layered import Layered, NormalGiven, layer_sizes
from .base import Prior


class Hierarchical(Prior):
    """Two or more layers of codes: the top layer is N(0, I), each lower layer a Normal given the layer above.

    The code concatenates the layers, z1 first, so the likelihood sees all of them (skip connections); a likelihood that
    uses only ``z[..., :d1]`` gives the model of Burda et al. Use ``posteriors.Hierarchical``, or any posterior on the
    reals.

    Args:
        dim: size of the code, all layers together.
        layers: number of layers, of sizes as equal as possible; or the sizes of z1 ... zL.
        hidden: sizes of the hidden layers of the network between two stochastic layers.

    Attributes:
        sizes: sizes of z1 ... zL.

    Raises:
        ValueError: fewer than two layers, or sizes that do not add up to dim.

    Source: Burda et al. 2016, "Importance weighted autoencoders"; Sonderby et al. 2016; Rezende et al. 2014.

    Example:
        >>> prior = Hierarchical(6, layers=[4, 2])
        >>> prior().sample((5,)).shape
        torch.Size([5, 6])
    """

    support = constraints.independent(constraints.real, 1)
    top: Tensor

    def __init__(self, dim: int, layers: int | Sequence[int] = 2, hidden: Sequence[int] = (64,)) -> None:
        super().__init__(dim)
        self.sizes = layer_sizes(dim, layers)
        downwards = self.sizes[::-1]
        self.conditionals = nn.ModuleList(
            NormalGiven(above, below, hidden) for above, below in zip(downwards, downwards[1:], strict=False)
        )
        self.register_buffer("top", torch.zeros(downwards[0]), persistent=False)

    def forward(self, y: Tensor | None = None) -> Layered:
        """The chain from the top down, event shape (dim,); ``y`` is not used."""
        top = dist.Normal(self.top, torch.ones_like(self.top)).to_event(1)
        return Layered(top, list(self.conditionals), self.sizes, top_down=True)
