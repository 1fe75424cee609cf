"""y is numbers: a vector, one number, or a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..checks import check_size
from .base import event_shape
from .condition import Condition
from .units import Units

if TYPE_CHECKING:
    from ..data import Split


class Vector(Condition):
    """y is a vector of numbers, or one number; its features are these numbers.

    Args:
        size: number of entries, for y (B, size); None for y (B,), one number each.
        scale: "standard": networks see y in standard deviations from its mean in the training rows, which ``fit`` sets,
            for covariates in units of their own, such as ages in years; None: as it is.

    Raises:
        ValueError: a size below 1, or another scale.

    Example:
        >>> Vector()(torch.tensor([0.5, 2.0])).shape, Vector(3)(torch.zeros(5, 3)).shape
        (torch.Size([2, 1]), torch.Size([5, 3]))
    """

    def __init__(self, size: int | None = None, scale: Literal["standard"] | None = None) -> None:
        super().__init__()
        self.event = () if size is None else (check_size("size", size),)
        self.shape = self.event or (1,)
        if scale not in (None, "standard"):
            raise ValueError(f"scale must be None or 'standard', not {scale!r}")
        self.units = None if scale is None else Units(self.shape)

    def forward(self, y: Tensor) -> Tensor:
        """Features (..., size) of y (..., size) or (...)."""
        y = y if self.event else y.unsqueeze(-1)
        return y if self.units is None else self.units(y)

    def start(self, train: Split) -> None:
        """Set the units of y from the training rows, unless they were set or loaded."""
        if self.units is not None and not self.units.known and train.labelled:
            y = torch.cat([rows[1] for rows in train.batches(10_000)]).double()
            y = y[self.known(y)].reshape(-1, *self.shape)
            self.units.start_at(y.mean(0), y.std(0, correction=0))

    def __repr__(self) -> str:
        return f"Vector({', '.join(map(str, self.event))})"


class Picture(Condition):
    """y is a picture; its features are its entries, which become further channels of x.

    Args:
        shape: (channels, height, width), or any event shape.

    Raises:
        ValueError: a shape that is not whole numbers.

    Source: Isola et al. 2017, "Image-to-image translation with conditional adversarial networks".

    Example:
        >>> Picture((3, 8, 8)).joined((1, 8, 8))
        (4, 8, 8)
    """

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        self.event = self.shape = event_shape("shape", shape)

    def forward(self, y: Tensor) -> Tensor:
        """Features (..., *shape): y itself."""
        return y

    def __repr__(self) -> str:
        return f"Picture({self.event})"
