"""p(x | z, y): a module that returns a distribution over data of event shape ``shape``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..networks import Conditioned, Head, event_shape, fold, stated
from ..parts import Part

if TYPE_CHECKING:
    from ..data import Split


class Likelihood(Part):
    """Base of the likelihoods. A subclass states its ``support`` and builds its distribution in ``forward``.

    Args:
        network: module that maps codes (B, dim) to features; one that states another ``in_shape``, as for a grid of
            codes (dim, height, width), gets codes of that shape.
        shape: event shape of the data.
        parameters: number of parameters that the head returns for every entry of x.

    Attributes:
        support: constraint on one entry of x.
        shape: event shape of the data.
        mass: whether ``log_prob`` is that of a probability mass (masses are comparable with one another) or a density.
        levels: number of grey levels in [0, 1] if the likelihood is a mass on these, else None.
        entrywise: whether entries are independent given z, so that missing ones can be skipped.
        missing: whether NaN entries of x mean missing ones, as with ``Missing``.
    """

    support: constraints.Constraint
    mass: bool = False
    levels: int | None = None
    entrywise: bool = True
    missing: bool = False

    def __init__(self, network: nn.Module, shape: int | Sequence[int], parameters: int) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, such as networks.MLP(dim, [200]), not {network!r}")
        self.network = network
        self.shape = event_shape("shape", shape)
        self.head = Head(network, self.shape, parameters)

    @abstractmethod
    def forward(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape (...) and event shape ``shape`` from codes z (..., dim) and y."""

    def features(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The network's features of z (..., dim), and of y where it is ``networks.Conditioned``."""
        if isinstance(self.network, Conditioned):
            return self.network(z, y)
        return fold(self.network, z, len(stated(self.network, "in_shape") or (1,)))

    def parameters_of(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """The head's tensors (..., *shape) at z (..., dim) and y."""
        return self.head(self.features(z, y))

    def stacked_parameters_of(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The head's tensors stacked, (..., *shape, parameters), for likelihoods with many."""
        return self.head.stacked(self.features(z, y)).movedim(-1 - len(self.shape), -1)

    def counted(self, x: Tensor) -> Tensor:
        """Which entries of x (..., *shape) ``log_prob`` counts: those that are not missing."""
        return ~x.isnan()

    def start(self, train: Split) -> None:
        """Start at the mean and standard deviation of the training rows, unless the head was already set or trained."""
        super().start(train)
        if self.head.fresh:
            self.start_at(train.mean(), train.std())

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Likelihood:
        """Start the decoder at the data's mean: the head's first bias becomes ``self.unconstrain(mean)``.

        ``fit`` does this with the training data. It gains about two nats after 20 epochs on binarized MNIST.

        Args:
            mean: mean of the training data, shape ``shape``.
            std: its standard deviation, shape ``shape``, to start a scale, if there is one; None: the scale stays.

        Returns:
            the likelihood itself.

        Raises:
            ValueError: a mean of another shape, or a head whose layer is created at first use.
        """
        self._check_start(mean)
        target = self.unconstrain(mean.to(self.head.bias()))
        if target is not None:
            self._start(0, target)
        return self

    def _check_start(self, mean: Tensor) -> None:
        if tuple(mean.shape) != self.shape:
            raise ValueError(f"mean must have the data's shape {self.shape}, not {tuple(mean.shape)}")
        if torch.nn.parameter.is_lazy(self.head.layer.bias):
            raise ValueError("network does not state its out_shape, so its head has no size yet; build the VAE first")

    def _start(self, index: int, target: Tensor) -> None:
        """Set the head's bias of parameter ``index``; a bias per channel gets the channel's mean."""
        self.head.bias(index).copy_(target.mean((-2, -1), keepdim=True) if self.head.spatial else target)

    def unconstrain(self, mean: Tensor) -> Tensor | None:
        """Value of the head's first parameter at which the distribution has this mean; None if unknown."""
        return None

    def extra_repr(self) -> str:  # noqa: D102
        return f"shape={self.shape}"
