"""Any Pyro distribution class as a posterior: a linear head returns its unconstrained parameters."""

from __future__ import annotations

from typing import Any

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ..distributions import Family
from ..distributions.family import FLOOR
from ..networks import Head
from .base import Posterior


class FamilyPosterior(Posterior):
    """A ``Family`` over codes of event shape (dim,) whose parameters are linear in the network's features.

    Args:
        distribution: class of ``pyro.distributions``.
        network: module from x (B, *shape) to features.
        dim: size of the code.
        start: starting values of parameters by name; the others start with the unconstrained parameter at 0.
        floor: lower bound of positive parameters.
        groups: number of independent vectors that a code is made of.
        fixed: parameters with a fixed value.
    """

    def __init__(
        self,
        distribution: type[Any],
        network: nn.Module,
        dim: int,
        start: dict[str, float] | None = None,
        floor: float = FLOOR,
        groups: int = 1,
        **fixed: Any,
    ) -> None:
        super().__init__(network, dim)
        self.family = Family(distribution, (dim,), fixed, floor=floor, groups=groups)
        self.support = self.family.support
        self.head = Head(network, (self.family.size,))
        self.register_buffer("_offset", self.family.unconstrain(**(start or {})), persistent=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape (B,) and event shape (dim,)."""
        (raw,) = self.head(self.features(x, y))
        return self.family(raw + self._offset)


class Of(FamilyPosterior):
    """The general rule: a posterior of any Pyro distribution class whose parameters are continuous.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.
        distribution: class of ``pyro.distributions``, univariate (independent over the code) or over vectors.
        fixed: parameters with a fixed value, such as ``temperature``.

    Raises:
        TypeError: not a distribution class.
        ValueError: a class that the rule does not cover, or an unknown parameter.

    Example:
        >>> import pyro.distributions as dist, torch
        >>> from ppl_vae import networks
        >>> Of(networks.MLP(6, [8]), 4, dist.Weibull)(torch.zeros(5, 6)).event_shape
        torch.Size([4])
    """

    def __init__(self, network: nn.Module, dim: int, distribution: type[Any], **fixed: Any) -> None:
        super().__init__(distribution, network, dim, **fixed)
