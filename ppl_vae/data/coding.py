"""Coding: how the rows of a source become x and y, and x becomes rows again.

A coding is found when a data set is loaded and kept with the run, so that new rows are read as the training rows were:
the same columns in the same order, the same number for a word, the same grey levels. It is one-to-one, or refuses; it
changes no density (scaling does, and belongs to the model).
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..checks import shortlist
from ..parts import Abstract
from .files import RowNames, Source, from_array, open_arrays, open_folder
from .frames import FrameTable
from .held import held
from .items import Items
from .rows import Rows


class Coded:
    """Rows of a source as a model takes them.

    Args:
        x: (N, *shape) float32.
        y: labels (N, ...), int64 or float32, or None.
        names: what the rows are called.

    Example:
        >>> len(Coded(torch.zeros(3, 2)))
        3
    """

    def __init__(self, x: Tensor | Rows, y: Tensor | None = None, names: RowNames | None = None) -> None:
        self.x, self.y, self.names = x, y, names or RowNames()

    def __len__(self) -> int:
        return len(self.x)


class Coding(Abstract):
    """Base of the codings; each is a frozen dataclass of values that JSON holds.

    Attributes:
        shape: event shape of x.
    """

    shape: tuple[int, ...]
    kind: ClassVar[str]

    @abstractmethod
    def code(self, rows: Any, where: str = "rows") -> Coded:
        """x and y of rows: a file or folder, or what holds such rows in memory; ValueError if they cannot be coded."""

    @abstractmethod
    def uncode(self, x: Tensor) -> Any:
        """Rows of x (N, *shape): columns by name for a table, else an array."""

    def own(self, rows: Any, where: str = "rows") -> dict[str, list[str]]:
        """The columns that rows have themselves, as text; none but for tables."""
        return {}

    @property
    @abstractmethod
    def json(self) -> dict[str, Any]:
        """The coding as JSON holds it; ``coding_of`` reads it."""


@dataclass(frozen=True)
class ArrayCoding(Coding):
    """Rows that are arrays of numbers or pictures: .npy, .npz and folders of images, tensors and arrays.

    Whole numbers are grey levels where the training data had some, and are divided by the largest; real numbers are
    taken as they are. Pictures of a folder are brought to the size of the training pictures.

    Attributes:
        shape: event shape of x; (channels, height, width) of pictures.
        divisor: largest grey level; None if the data have none.
        classes: names of the labels 0, 1, ...
    """

    kind: ClassVar[str] = "array"
    shape: tuple[int, ...]
    divisor: float | None = None
    classes: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def json(self) -> dict[str, Any]:  # noqa: D102
        classes = None if self.classes is None else [*self.classes]
        return {"kind": self.kind, "shape": [*self.shape], "divisor": self.divisor, "classes": classes}

    def code(self, rows: Any, where: str = "rows") -> Coded:
        """x and y of a .npy or .npz file, a folder of images, a tensor, an array, or a pair (x, y) of them.

        Example:
            >>> ArrayCoding((2,), 255.0).code(np.array([[0, 255], [51, 102]], np.uint8)).x.tolist()
            [[0.0, 1.0], [0.20000000298023224, 0.4000000059604645]]
        """
        source, divisor, where = self._open(rows, where)
        reader, y = source.train
        if tuple(reader.shape) != self.shape:
            raise ValueError(f"{where} has rows of shape {tuple(reader.shape)}, but the run's have {self.shape}")
        found = Rows(reader, scale=(None, divisor, False), where=where)
        return Coded(found.load(), self._labels(y, source.classes, where), source.names)

    def _open(self, rows: Any, where: str) -> tuple[Source, float | None, str]:
        """The source, what its numbers are divided by, and what it is called."""
        if not isinstance(rows, str | os.PathLike):
            rows = held(rows, where)
            if isinstance(rows, FrameTable):
                raise TypeError(
                    f"{where} is a table, but the run was trained on arrays, whose columns have no names; give an "
                    "array, as frame.to_numpy() makes"
                )
            if isinstance(rows, Sized) and not isinstance(rows, tuple | list | Tensor | np.ndarray):
                items = Items(rows)
                y = None if items.labels is None else items.read(np.arange(len(items)))[1]
                return Source((items, y)), None, where
            x, *y = rows if isinstance(rows, tuple | list) and len(rows) == 2 and not np.isscalar(rows[0]) else (rows,)
            x = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
            return from_array(x, None if not y or y[0] is None else np.asarray(y[0]), where), self._top(x, where), where
        path = Path(rows).expanduser()
        if not path.exists():
            raise ValueError(f"no such file or folder: {path}")
        if path.suffix == ".csv":
            raise ValueError(
                f"{path} is a table, but the run knows no columns (it is of arrays, or of an earlier ppl_vae); "
                f"give rows of shape {self.shape} as .npy"
            )
        if not path.is_dir():
            source = open_arrays(path, None)
            return source, self._top(source.train[0].array, str(path)), str(path)
        if len(self.shape) != 3:
            raise ValueError(f"{path} is a folder of pictures, but the run's rows have shape {self.shape}")
        size = (self.shape[1], self.shape[2])
        return open_folder(path, size, "L" if self.shape[0] == 1 else "RGB"), 255.0, str(path)

    def _top(self, x: np.ndarray, where: str) -> float | None:
        """The largest grey level of the run's data, if x are whole numbers."""
        if self.divisor is None or x.dtype.kind not in "ui" or not x.size:
            return None
        if x.max() > self.divisor:
            raise ValueError(
                f"{where} holds {x.max()}, but the grey levels of the run's data go to {self.divisor:g}; "
                "divide them by their own largest, which gives real numbers in [0, 1]"
            )
        return self.divisor

    def _labels(self, y: Tensor | None, found: Sequence[str] | None, where: str) -> Tensor | None:
        if y is None or not found or not self.classes or tuple(found) == self.classes:
            return y
        odd = [name for name in found if name not in self.classes]
        if odd:
            raise ValueError(f"{where} has the class {odd[0]!r}, but the run's are {', '.join(self.classes)}")
        return torch.tensor([self.classes.index(name) for name in found])[y]

    def uncode(self, x: Tensor) -> np.ndarray:
        """The array itself."""
        return x.detach().cpu().numpy()


def coding_of(record: Mapping[str, Any]) -> Coding:
    """The coding that ``json`` recorded.

    Example:
        >>> coding_of(ArrayCoding((1, 8, 8), 16.0).json).shape
        (1, 8, 8)
    """
    from .table_coding import TableCoding

    kinds: dict[str, Any] = {"array": ArrayCoding, "table": TableCoding}
    if record.get("kind") not in kinds:
        raise ValueError(f"the run's data have a coding of kind {record.get('kind')!r}, which this version lacks")
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items() if name != "kind"}
    return kinds[record["kind"]](**given)


def difference_of_codings(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str | None:
    """How a coding's JSON differs from another, in words; None if rows are coded alike, or if it is not known.

    Origins are left out: they follow from the rows.

    Example:
        >>> old = {"kind": "table", "names": ["a", "b"], "kinds": {"a": "real", "b": "count"}}
        >>> difference_of_codings(old, old | {"kinds": {"a": "real", "b": "real"}})
        "column 'b' was 'count' and is now 'real'"
        >>> difference_of_codings(old, old | {"names": ["b"]})
        "column 'a' was there and is not now"
    """
    if not old or not new:
        return None
    before, after = old.get("names") or [], new.get("names") or []
    for one, other, words in ((before, after, "was there and is not now"), (after, before, "is new")):
        odd = next((name for name in one if name not in other), None)
        if odd is not None:
            return f"column {odd!r} {words}"
    for key in [key for key in (*old, *new) if key != "origins" and old.get(key) != new.get(key)]:
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            name = next(name for name in (*was, *now) if was.get(name) != now.get(name))
            return f"column {name!r} was {_kind(was.get(name))} and is now {_kind(now.get(name))}"
        return f"{key} was {_kind(was)} and is now {_kind(now)}"
    return None


def _kind(value: Any) -> str:
    """A value of a coding in a sentence."""
    if value is None:
        return "not given"
    return f"({shortlist([str(item) for item in value])})" if isinstance(value, list) else repr(value)
