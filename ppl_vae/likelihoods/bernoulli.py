"""Bernoulli likelihood: log p(x | z) = sum_i x_i log s(l_i) + (1 - x_i) log s(-l_i), logits l(z), x_i in {0, 1}."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .base import Likelihood


class Bernoulli(Likelihood):
    """Independent binary entries with logits linear in the network's features. A probability mass on {0, 1}.

    Grey values are refused: the cross-entropy of a grey image is not a log-probability. Binarize them.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.

    Source: Kingma and Welling 2014.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> p = Bernoulli(networks.MLP(4, [32]), (1, 8, 8))(torch.zeros(5, 4))
        >>> p.batch_shape, p.event_shape
        (torch.Size([5]), torch.Size([1, 8, 8]))
    """

    support = constraints.boolean
    mass = True

    def __init__(self, network: nn.Module, shape: int | Sequence[int]) -> None:
        super().__init__(network, shape, parameters=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Bernoulli of batch shape (...) and event shape ``shape``."""
        (logits,) = self.parameters_of(z, y)
        return dist.Bernoulli(logits=logits).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Logits of the mean, clamped to [0.001, 0.999]."""
        return mean.clamp(0.001, 0.999).logit()
