"""Labels y: their description, and labels of a torch Dataset, which are read when indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import nearest
from .rows import Rows, as_numbers, positions


@dataclass(frozen=True)
class Labels:
    """Description of the labels y of a data set, for building a condition: ``networks.Label(labels.count)``.

    Attributes:
        classes: names of the classes 0, 1, ... if the source has names, else a range of their numbers; None for real
            targets, for several numbers a row, and for a torch Dataset without ``classes``.
        shape: shape of one row's label, () for a number.
        dtype: int64 or float32.

    Example:
        >>> labels = Labels.of(torch.tensor([2, 0, 1, 2]))
        >>> labels.count, labels.classes, labels.shape
        (3, range(0, 3), ())
    """

    classes: tuple[str, ...] | range | None
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def count(self) -> int | None:
        """Number of classes, or None."""
        return None if self.classes is None else len(self.classes)

    @staticmethod
    def of(y: Tensor, names: Sequence[str] | None = None) -> Labels:
        """Description of the labels y (N, ...); ``names`` of the classes are used if y has none."""
        shape, found = tuple(y.shape[1:]), None
        if not shape and y.dtype == torch.int64 and len(y) and y.min() >= 0:
            top = int(y.max()) + 1
            found = tuple(map(str, names)) if names and top <= len(names) else range(top)
        return Labels(found, shape, y.dtype)


class ReadLabels:
    """The labels of the torch Dataset of ``rows``, read when indexed: int64 or float32 tensors."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray | Tensor) -> Tensor:
        y = self.rows.read(positions(which, len(self)))[1]
        assert y is not None  # created only if items have labels
        return y[0] if isinstance(which, int | np.integer) else y


def to_labels(value: Any) -> Tensor:
    """Labels as a tensor; the dtype decides, not the values: floats become float32, integers and bools int64."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().cpu().float()
    array = as_numbers(value, "labels y")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def labels_of(y: Any, n: int, classes: Sequence[str] | None = None) -> Tensor:
    """Labels (n, ...) of numbers or of names of classes: one for all rows, or one a row.

    Example:
        >>> labels_of("b", 3, ["a", "b"]), labels_of(["b", "a"], 2, ["a", "b"])
        (tensor([1, 1, 1]), tensor([1, 0]))
    """
    if isinstance(y, str | int | float):
        y = [y] * n
    y = y.tolist() if isinstance(y, np.ndarray) and y.dtype.kind in "OU" else y
    if not isinstance(y, Tensor | np.ndarray) and any(isinstance(label, str) for label in y):
        unknown = next((label for label in y if label not in (classes or ())), None)
        if classes is None or unknown is not None:
            said = nearest(str(unknown), classes) if classes else "the run's classes have no names; give numbers"
            raise ValueError(f"y={unknown!r} is unknown; {said}")
        y = [classes.index(label) for label in y]
    return y if isinstance(y, Tensor) else to_labels(y)
