"""p(z | y): a module that returns a distribution over codes of event shape (dim,)."""

from __future__ import annotations

from abc import abstractmethod

from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_size
from ..parts import Part


class Prior(Part):
    """Base of the priors. A subclass states its ``support`` and builds its distribution in ``forward``.

    Args:
        dim: size of the code.

    Attributes:
        support: constraint on a code of event shape (dim,).
    """

    support: constraints.Constraint

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_size("dim", dim)

    @abstractmethod
    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape () or (B,) and event shape (dim,)."""

    def extra_repr(self) -> str:  # noqa: D102
        return f"dim={self.dim}"
