"""q(z | x, y): a module that returns a distribution over codes of event shape (dim,), one for every example."""

from __future__ import annotations

from abc import abstractmethod

from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..networks import Conditioned
from ..parts import Part


class Posterior(Part):
    """Base of the posteriors. A subclass states its ``support`` and builds its distribution in ``forward``.

    Args:
        network: module that maps x (B, *shape) to features.
        dim: size of the code.

    Attributes:
        support: constraint on a code of event shape (dim,).
    """

    support: constraints.Constraint

    def __init__(self, network: nn.Module, dim: int) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, such as networks.MLP(shape, [200]), not {network!r}")
        self.network = network
        self.dim = check_size("dim", dim)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The network's features of x (B, *shape), and of y where it is ``networks.Conditioned``."""
        return self.network(x, y) if isinstance(self.network, Conditioned) else self.network(x)

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape (B,) and event shape (dim,) from x (B, *shape)."""
