"""Conditions: the kind of y, its checks, and the features of y that networks and priors use."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..checks import check_size
from ..parts import Part
from .base import event_shape
from .units import Units

if TYPE_CHECKING:
    from ..data import Split

UNKNOWN = -1
"""The label of an example whose class is not known, as in scikit-learn's semi-supervised estimators."""


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
            >>> Label(10).check(torch.tensor([3, 10]), 2)
            Traceback (most recent call last):
            ...
            ValueError: y holds the label 10 in row 1, but Label(10) takes 0 to 9
        """
        bad = self._bad(y := self.check_shape(y, n)).reshape(n, -1).any(1)
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


class Label(Condition):
    """y is a class, 0 to classes - 1; its features are one-hot, or an embedding.

    Args:
        classes: number of classes.
        embedding: size of a learned embedding; None for one-hot features.

    Raises:
        ValueError: fewer than 2 classes, or an embedding below 1.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models"; Sohn et al. 2015, "Learning
    structured output representation using deep conditional generative models".

    Example:
        >>> Label(3)(torch.tensor([0, 2]))
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
    """

    event = ()
    seen: Tensor

    def __init__(self, classes: int, embedding: int | None = None) -> None:
        super().__init__()
        self.classes = check_size("classes", classes, least=2)
        self.table = None
        if embedding is not None:
            self.table = nn.Linear(classes, check_size("embedding", embedding), bias=False)
        self.shape = (classes if embedding is None else embedding,)
        self.register_buffer("seen", torch.ones(classes, dtype=torch.bool))  # classes of the training rows

    def start(self, train: Split) -> None:
        """Keep which classes the training rows have, where their labels are at hand."""
        if isinstance(train.y, Tensor):
            values = torch.arange(self.classes, device=train.y.device)
            self.seen.copy_(torch.isin(values, train.y))

    def check_seen(self, y: Tensor) -> None:
        """Refuse labels y (B,) of classes that no training row has; unknown ones pass."""
        y = y.to(self.seen.device)
        new = (self.known(y) & ~self.seen[y.clamp(min=0)]).nonzero()
        if len(new):
            row = int(new[0])
            raise ValueError(
                f"y holds the label {int(y[row])} in row {row}, which no training example has, so the model knows "
                f"nothing of it; use one of {self.seen.nonzero().flatten().tolist()}"
            )

    def forward(self, y: Tensor) -> Tensor:
        """Features (..., size) of labels (...); 0 for a label out of range, which ``check`` refuses."""
        like = torch.get_default_dtype() if self.table is None else self.table.weight.dtype
        hot = (y.unsqueeze(-1) == torch.arange(self.classes, device=y.device)).to(like)
        return hot if self.table is None else self.table(hot)

    def known(self, y: Tensor) -> Tensor:
        """Which of the labels y (B,) are known, (B,) bool; -1 says unknown."""
        return y != UNKNOWN

    def unknown(self, n: int, like: Tensor) -> Tensor:
        """Labels -1."""
        return self.example(n, like) + UNKNOWN

    def example(self, n: int, like: Tensor) -> Tensor:
        """Labels 0."""
        return torch.zeros(n, dtype=torch.long, device=like.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}seen", self.seen)  # weights of a time before it was kept
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _kind(self) -> tuple[Any, ...]:
        return "Label", self.classes

    def _check_dtype(self, y: Tensor) -> None:
        if y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(
                f"y must hold whole numbers, such as torch.int64, for {self!r}, not {y.dtype}; networks.Vector takes "
                "numbers"
            )

    def _words(self, n: int | str) -> str:
        return f"labels 0 to {self.classes - 1} of shape ({n},)"

    def _bad(self, y: Tensor) -> Tensor:
        return (y < 0) | (y >= self.classes)

    def _refusal(self, value: Tensor, row: int) -> str:
        return f"y holds the label {int(value)} in row {row}, but {self!r} takes 0 to {self.classes - 1}"

    def __repr__(self) -> str:
        return f"Label({self.classes})" if self.table is None else f"Label({self.classes}, {self.shape[0]})"


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


def condition_of(module: nn.Module) -> Condition | None:
    """The condition found among a module's parts; None if there is none.

    Raises:
        ValueError: parts with conditions of different kinds.

    Example:
        >>> condition_of(nn.ModuleList([Label(3), Label(3, embedding=8)])), condition_of(nn.Linear(2, 2))
        (Label(3), None)
    """
    found = [part for part in module.modules() if isinstance(part, Condition)]
    other = next((part for part in found if not part.same_as(found[0])), None)
    if other is not None:
        raise ValueError(f"parts of the model are conditional on {found[0]!r} and on {other!r}; y can be only one")
    return found[0] if found else None
