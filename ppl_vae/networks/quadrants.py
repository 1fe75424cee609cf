"""Some quadrants of a picture as the condition: y is what is seen of x, and the rest of x is to be completed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .base import fold, stated
from .head import Head
from .numbers import Picture

Count = Literal[1, 2, 3]


class Quadrants(Picture):
    """y is x itself where it is observed, and ``fill`` elsewhere, so that no y is needed beside x.

    1 observed quadrant is the lower left, 2 are the left half, and 3 are all but the lower right. Half of an odd side
    is rounded down for the upper and the left part. A model with this condition has ``likelihoods.Completed``.

    Args:
        shape: (channels, height, width) of x.
        observed: how many quadrants y shows, 1 to 3.
        fill: what y holds elsewhere.

    Attributes:
        mask: which entries are observed, (*shape) bool.

    Raises:
        ValueError: another number of quadrants, or data that are no pictures of at least 2 by 2.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models",
    in the order of Pyro's tutorial on it.

    Example:
        >>> Quadrants((1, 2, 2), observed=3).of(torch.ones(1, 2, 2))
        tensor([[[ 1.,  1.],
                 [ 1., -1.]]])
    """

    observes = True
    mask: Tensor

    def __init__(self, shape: int | Sequence[int], observed: Count = 1, fill: float = -1.0) -> None:
        super().__init__(shape)
        if observed not in get_args(Count):
            raise ValueError(f"observed must be 1, 2 or 3 quadrants, not {observed!r}")
        if len(self.event) != 3 or min(self.event[1:]) < 2:
            raise ValueError(
                f"shape must be (channels, height, width), with height and width of at least 2, not {self.event}"
            )
        self.observed, self.fill = observed, float(fill)
        (height, width), mask = self.event[1:], torch.zeros(self.event, dtype=torch.bool)
        mask[..., height // 2 :, : width // 2] = True
        if observed > 1:
            mask[..., : height // 2, : width // 2] = True
        if observed > 2:
            mask[..., : height // 2, :] = True
        self.register_buffer("mask", mask, persistent=False)

    def of(self, x: Tensor) -> Tensor:
        """What is seen of x (..., *shape): x where it is observed, and ``fill`` elsewhere."""
        return torch.where(self.mask.to(x.device), x, x.new_full((), self.fill))

    def forward(self, y: Tensor) -> Tensor:
        """Features (..., *shape) of y (..., *shape): what is seen of it, whatever it holds elsewhere."""
        return self.of(y)

    def _kind(self) -> tuple[object, ...]:
        return "Quadrants", self.event, self.observed, self.fill

    def _refusal(self, value: Tensor, row: int) -> str:
        return f"the observed quadrants of row {row} hold NaN or infinity; {self!r} needs them whole"

    def __repr__(self) -> str:
        return f"Quadrants({self.event}, observed={self.observed})"


class Guessed(Quadrants):
    """Quadrants whose features are a whole picture: y where it is observed, and a network's guess elsewhere.

    The guess helps what sees the features, such as a prior p(z | y) with a network of its own (``priors.Given``). Train
    it first, by its ``logits``: no gradient passes through the features.

    Args:
        condition: which quadrants of x, in [0, 1], are observed.
        network: module from y (*shape), or from its entries as one vector, to features.

    Raises:
        TypeError: not Quadrants, or not a module.

    Source: Sohn et al. 2015, where the prior sees the guess of a network without codes; Pyro's tutorial.

    Example:
        >>> from ppl_vae import networks
        >>> guessed = Guessed(Quadrants((1, 4, 4)), networks.MLP(16, [8]))
        >>> guessed(torch.zeros(5, 1, 4, 4)).shape
        torch.Size([5, 1, 4, 4])
    """

    def __init__(self, condition: Quadrants, network: nn.Module) -> None:
        if not isinstance(condition, Quadrants):
            raise TypeError(f"condition must be networks.Quadrants, not {condition!r}")
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"network must be a torch.nn.Module, such as networks.MLP({condition.size}), not {network!r}"
            )
        super().__init__(condition.event, condition.observed, condition.fill)
        self.network = network
        self.takes = stated(network, "in_shape") or self.event
        self.head = Head(network, self.event, 1)

    def logits(self, y: Tensor) -> Tensor:
        """Logits of the guess (..., *shape) from y (..., *shape)."""
        y = self.of(y)
        lead = y.shape[: y.dim() - len(self.event)]
        return self.head(fold(self.network, y.reshape(*lead, *self.takes), len(self.takes)))[0]

    def forward(self, y: Tensor) -> Tensor:
        """Features (..., *shape) of y (..., *shape): y where it is observed, the guess elsewhere."""
        with torch.no_grad():
            return torch.where(self.mask, y, self.logits(y).sigmoid().to(y.dtype))
