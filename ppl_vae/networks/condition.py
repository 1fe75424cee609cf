"""What a condition is: the kind of y, its checks, and the features of y that networks and priors use."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..parts import Part
from .base import event_shape


class Condition(Part):
    """Base of the conditions: one kind of y and its features.

    Attributes:
        event: shape of one y: () for a label.
        shape: shape of one y's features: (size,) or (channels, height, width).
        observes: whether y is a part of x itself, which ``of`` takes, so that no y need be given beside x.
    """

    event: tuple[int, ...]
    shape: tuple[int, ...]
    observes: bool = False

    @property
    def size(self) -> int:
        """Number of features."""
        return math.prod(self.shape)

    @abstractmethod
    def forward(self, y: Tensor) -> Tensor:
        """Features (..., *shape) of y (..., *event)."""

    def of(self, x: Tensor) -> Tensor:
        """y (..., *event) of x (..., *shape of x), where it is a part of x.

        Raises:
            TypeError: a condition that is not.
        """
        raise TypeError(f"{self!r} is no part of x: give y")

    def known(self, y: Tensor) -> Tensor:
        """Which of y (B, *event) are known, (B,) bool: where a model takes them partly given, NaN says unknown.

        Example:
            >>> from ppl_vae.networks import Label, Vector
            >>> Label(10).known(torch.tensor([3, -1, 0])), Vector().known(torch.tensor([0.5, torch.nan]))
            (tensor([ True, False,  True]), tensor([ True, False]))
        """
        return y.isfinite().reshape(len(y), -1).all(1)

    def unknown(self, n: int, like: Tensor) -> Tensor:
        """A y (n, *event) of which nothing is known."""
        return self.example(n, like) + torch.nan

    def needed(self, y: Tensor | None) -> Tensor:
        """y, refused if it is missing or has the wrong dtype.

        Raises:
            ValueError: no y, or a y of another dtype.
        """
        if y is None:
            raise ValueError(f"y is missing: the model is conditional on {self!r}; give y, {self._words('B')}")
        self._check_dtype(y)
        return y

    def check_shape(self, y: Any, n: int) -> Tensor:
        """y for n examples; checks shape and dtype without reading values.

        Raises:
            TypeError: not a tensor.
            ValueError: no y, or a y of another shape or dtype.
        """
        if y is not None and not isinstance(y, Tensor):
            raise TypeError(f"y must be a tensor, {self._words(n)}, not {y!r}")
        y = self.needed(y)
        if tuple(y.shape) != (n, *self.event):
            raise ValueError(f"y must be {self._words(n)}, not of shape {tuple(y.shape)}")
        return y

    def check(self, y: Any, n: int, partly: bool = False) -> None:
        """Refuse y unless it holds n valid examples; ``partly`` lets those pass that are unknown (see ``known``).

        Raises:
            TypeError: not a tensor.
            ValueError: no y, another shape or dtype, or values out of range, NaN or infinite.

        Example:
            >>> from ppl_vae.networks import Label
            >>> Label(10).check(torch.tensor([3, 10]), 2)
            Traceback (most recent call last):
            ...
            ValueError: y holds the label 10 in row 1, but Label(10) takes 0 to 9
        """
        bad = self._bad(y := self.check_shape(y, n)).reshape(n, math.prod(self.event)).any(1)
        bad = (bad & self.known(y) if partly else bad).nonzero()
        if len(bad):
            row = int(bad[0])
            raise ValueError(self._refusal(y[row], row))

    def check_seen(self, y: Tensor) -> None:
        """Refuse y to generate from if it holds a class that no training example had.

        Raises:
            ValueError: such a class.
        """

    def example(self, n: int, like: Tensor) -> Tensor:
        """A y for n examples on the device of ``like``, for trial runs."""
        return torch.zeros(n, *self.event, dtype=like.dtype, device=like.device)

    def joined(self, shape: int | Sequence[int], flat: bool = False) -> tuple[int, ...]:
        """Shape of x (*shape) joined with the features, the input shape of a network.

        Args:
            shape: event shape of x.
            flat: whether x and features become one vector; else features join x along its first dimension, a vector
                of features as one constant plane per entry.

        Raises:
            ValueError: a picture whose height or width differs from that of x.

        Example:
            >>> from ppl_vae.networks import Label
            >>> Label(10).joined(16), Label(10).joined((1, 28, 28)), Label(10).joined((1, 28, 28), flat=True)
            ((26,), (11, 28, 28), (794,))
        """
        shape = event_shape("shape", shape)
        if flat or len(shape) == 1:
            return (math.prod(shape) + self.size,)
        if len(self.shape) > 1 and self.shape[1:] != shape[1:]:
            raise ValueError(f"{self!r} cannot be a channel of x of shape {shape}: use a Picture of {shape[1:]}")
        return (shape[0] + self.shape[0], *shape[1:])

    def same_as(self, other: Condition) -> bool:
        """Whether both conditions are on the same kind of y."""
        return self._kind() == other._kind()

    def _kind(self) -> tuple[Any, ...]:
        return type(self).__name__, self.event

    def _check_dtype(self, y: Tensor) -> None:
        """ValueError for a y of the wrong dtype."""

    def _words(self, n: int | str) -> str:
        sizes = [str(size) for size in (n, *self.event)]
        return f"numbers of shape ({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"

    def _bad(self, y: Tensor) -> Tensor:
        return ~y.isfinite()

    def _refusal(self, value: Tensor, row: int) -> str:
        return f"y holds NaN or infinity in row {row}; leave such rows out"


def condition_of(module: nn.Module) -> Condition | None:
    """The condition found among a module's parts; None if there is none.

    Raises:
        ValueError: parts with conditions of different kinds.

    Example:
        >>> from ppl_vae.networks import Label
        >>> condition_of(nn.ModuleList([Label(3), Label(3, embedding=8)])), condition_of(nn.Linear(2, 2))
        (Label(3), None)
    """
    found = [part for part in module.modules() if isinstance(part, Condition)]
    other = next((part for part in found if not part.same_as(found[0])), None)
    if other is not None:
        raise ValueError(f"parts of the model are conditional on {found[0]!r} and on {other!r}; y can be only one")
    return found[0] if found else None
