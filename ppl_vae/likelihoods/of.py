"""Any Pyro distribution class as a likelihood: a linear head returns its unconstrained parameters for every entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions import Family
from ..networks import Head, event_shape
from .base import Likelihood


class FamilyLikelihood(Likelihood):
    """A ``Family`` over data whose parameters are linear in the network's features.

    Args:
        distribution: class of ``pyro.distributions``.
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        start: starting values of parameters by name; the others start with the unconstrained parameter at 0.
        fixed: parameters with a fixed value.
    """

    _offset: Tensor

    def __init__(
        self,
        distribution: type[Any],
        network: nn.Module,
        shape: int | Sequence[int],
        start: dict[str, float] | None = None,
        **fixed: Any,
    ) -> None:
        event = event_shape("shape", shape)
        family = Family(distribution, event, fixed)
        per_entry = family.event_dim == 0
        super().__init__(network, event, parameters=len(family.parameters) if per_entry else 1)
        if not per_entry:
            self.head = Head(network, (family.size,))
        self.family, self.per_entry, self.entrywise = family, per_entry, per_entry
        self.support = distribution.support
        self.mass = bool(self.support.is_discrete)
        self.register_buffer("_offset", family.unconstrain(**(start or {})), persistent=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        raw = torch.cat([part.flatten(-len(self.head.shape)) for part in parts], -1)
        return self.family(raw + self._offset)

    def unconstrain(self, mean: Tensor) -> Tensor | None:
        """The mean itself if the head's first parameter is a location on the reals; else None."""
        located = self.per_entry and self.family.parameters[:1] == ("loc",) and self.support is constraints.real
        return mean if located else None


class Of(FamilyLikelihood):
    """The general rule: a likelihood of any Pyro distribution class whose parameters are continuous.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        distribution: class of ``pyro.distributions``, univariate (independent over entries) or over vectors.
        fixed: parameters with a fixed value, such as ``total_count``.

    Raises:
        TypeError: not a distribution class.
        ValueError: a class that the rule does not cover, or an unknown parameter.

    Example:
        >>> import pyro.distributions as dist
        >>> from ppl_vae import networks
        >>> Of(networks.MLP(4, [8]), (3,), dist.Weibull)(torch.zeros(5, 4)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: nn.Module, shape: int | Sequence[int], distribution: type[Any], **fixed: Any) -> None:
        super().__init__(distribution, network, shape, **fixed)
