"""Continuous Bernoulli likelihood: log p(x | z) = sum_i l_i x_i - log((e^l_i - 1) / l_i), a density on [0, 1].

The cross-entropy of a grey image plus the normalising constant that makes it a log-density.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions.continuous_bernoulli import ContinuousBernoulli as Distribution
from ..distributions.continuous_bernoulli import logits_of_mean
from .base import Likelihood


class ContinuousBernoulli(Likelihood):
    """Independent grey entries with logits l linear in the network's features; numerically stable for every l.

    Defined on the closed interval: 0 and 1 have a finite density. It is a density, so de-quantize images to compare it
    with masses.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.

    Source: Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli: fixing a pervasive error in VAEs".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> p = ContinuousBernoulli(networks.MLP(4, [32]), (1, 8, 8))(torch.zeros(5, 4))
        >>> p.log_prob(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    support = constraints.unit_interval

    def __init__(self, network: nn.Module, shape: int | Sequence[int]) -> None:
        super().__init__(network, shape, parameters=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Continuous Bernoulli of batch shape (...) and event shape ``shape``."""
        (logits,) = self.parameters_of(z, y)
        return Distribution(logits).to_event(len(self.shape))

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Logits at which this is the mean, clamped to [0.01, 0.99]."""
        return logits_of_mean(mean.clamp(0.01, 0.99))
