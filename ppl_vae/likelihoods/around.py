"""Base of the likelihoods that are put around another."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks import Head
from .base import Likelihood


class Around(Likelihood):
    """A likelihood around another, whose network and head it uses.

    Attributes:
        likelihood: the inner likelihood.
    """

    likelihood: Likelihood

    @property
    def network(self) -> torch.nn.Module:
        """The decoder of the inner likelihood."""
        return self.likelihood.network

    @property
    def head(self) -> Head:
        """The head of the inner likelihood."""
        return self.likelihood.head

    def unconstrain(self, mean: Tensor) -> Tensor | None:
        """``unconstrain`` of the inner likelihood."""
        return self.likelihood.unconstrain(mean)
