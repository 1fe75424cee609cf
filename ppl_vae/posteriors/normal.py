"""Normal posterior: q(z | x) = N(m(x), diag s(x)^2), reparameterised as z = m + s eps."""

from __future__ import annotations

import pyro.distributions as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..networks import Head
from .base import Posterior

SCALE_FLOOR = 1e-6  # keeps the density finite when the softplus underflows


class Normal(Posterior):
    """Diagonal Normal whose mean and scale are linear in the network's features, the scale through a softplus.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.

    Source: Kingma and Welling 2014.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> q = Normal(networks.MLP((1, 8, 8), [32]), 4)(torch.zeros(5, 1, 8, 8))
        >>> q.batch_shape, q.event_shape
        (torch.Size([5]), torch.Size([4]))
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__(network, dim)
        self.head = Head(network, (dim,), parameters=2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """N(m(x), s(x)^2), batch shape (B,), event shape (dim,)."""
        mean, raw_scale = self.head(self.features(x, y))
        return dist.Normal(mean, F.softplus(raw_scale) + SCALE_FLOOR).to_event(1)
