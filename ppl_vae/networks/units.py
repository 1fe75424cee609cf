"""Units of data: u = (x - shift) / unit, with a shift and a unit for every column, or for every channel of pictures.

standard    shift and unit are the training rows' mean and standard deviation
unit        shift and unit are the training rows' minimum and range, so that their u lie in [0, 1]

The training rows are those that ``fit`` gets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import nearest
from ..parts import Part
from .base import event_shape

if TYPE_CHECKING:
    from ..data import Split

WAYS = ("standard", "unit")
CONSTANT = 1e-7  # a standard deviation below this share of the mean is rounding of float32


class Units(Part):
    """Buffers ``shift`` and ``unit``, which ``fit`` sets from the training rows; weights keep them.

    Rows (D,) have one of each for every column, pictures (C, H, W) for every channel, other data one for all entries.
    Further columns or channels, which a condition or a mask adds behind those of the data, are left as they are.

    Args:
        shape: event shape of what is scaled.
        by: "standard" or "unit".

    Raises:
        ValueError: another word.

    Example:
        >>> units = Units(2).start_at(torch.tensor([5.0, 0.0]), torch.tensor([10.0, 1.0]))
        >>> units(torch.tensor([15.0, 0.5])), units.back(torch.tensor([1.0, 0.5]))
        (tensor([1.0000, 0.5000]), tensor([15.0000,  0.5000]))
    """

    shift: Tensor
    unit: Tensor
    known: Tensor

    def __init__(self, shape: int | Sequence[int], by: Literal["standard", "unit"] = "standard") -> None:
        super().__init__()
        if by not in WAYS:
            raise ValueError(f"by {by!r} is unknown; {nearest(str(by), WAYS)}")
        self.shape, self.by = event_shape("shape", shape), by
        size = _kept(self.shape)
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("unit", torch.ones(size))
        self.register_buffer("known", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """U (..., *shape) of x (..., *shape); NaN stays NaN."""
        return (x - self.shift) / self.unit

    def back(self, u: Tensor) -> Tensor:
        """X (..., *shape) of u (..., *shape)."""
        return self.shift + self.unit * u

    def of(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Shift and unit of the first entries or channels, those of data of this event shape."""
        if len(shape) == len(self.shape):
            first = slice(0, _kept(shape)[0])
            return self.shift[first], self.unit[first]
        first = slice(0, math.prod(shape))
        return self.shift[first].reshape(*shape), self.unit[first].reshape(*shape)

    def start(self, train: Split) -> None:
        """Set the units from the training rows, unless they were set or loaded."""
        if self.known:
            return
        if self.by == "unit":
            low, high = train.range()
            rest = tuple(i for i, size in enumerate(_kept(low.shape)) if size == 1 < low.shape[i])
            low, high = (low.amin(rest, True), high.amax(rest, True)) if rest else (low, high)
            self.start_at(low, high - low, train.shape)
        else:
            mean, std = train.mean().double(), train.std().double()
            rest = tuple(i for i, size in enumerate(_kept(mean.shape)) if size == 1 < mean.shape[i])
            if rest:
                middle = mean.mean(rest, True)
                std = (std.square() + (mean - middle).square()).mean(rest, True).sqrt()
                mean = middle
            self.start_at(mean, std, train.shape)

    @torch.no_grad()
    def start_at(self, shift: Tensor, unit: Tensor, shape: Sequence[int] | None = None) -> Units:
        """Set shift and unit; a unit of 0, that of a constant column, becomes 1.

        Args:
            shift: for every column of rows, or every channel of pictures, (C, 1, 1).
            unit: the same.
            shape: event shape of the data; that of the units by default.

        Returns:
            the units themselves.

        Raises:
            ValueError: sizes that do not fit.
        """
        shape = self.shape if shape is None else tuple(shape)
        unit = torch.where(unit > CONSTANT * (shift.abs() if self.by == "standard" else 0), unit, 1.0)
        for buffer, value, other in ((self.shift, shift, 0.0), (self.unit, unit, 1.0)):
            if len(shape) > len(self.shape) == 1:  # pictures as rows
                value = value.expand(shape).flatten()
            more = len(buffer) - len(value)
            if value.dim() != buffer.dim() or more < 0:
                raise ValueError(f"units were built for data of shape {self.shape}, not {tuple(shape)}")
            buffer.copy_(F.pad(value, (*[0] * (2 * (value.dim() - 1)), 0, more), value=other))
        self.known.fill_(True)
        return self

    def extra_repr(self) -> str:  # noqa: D102
        return f"shape={self.shape}, by={self.by!r}"


def _kept(shape: Sequence[int]) -> tuple[int, ...]:
    """Sizes of shift and unit of data of an event shape."""
    first = shape[0] if len(shape) in (1, 3) else 1
    return (first, *[1] * (len(shape) - 1))
