"""Tables in memory: data frames of pandas or polars, mappings from column to values, and arrays (N, D)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from torch import Tensor

from .files import RowNames
from .labels import to_labels
from .tables import Cells, is_missing, not_a_number

LABELS = "y"  # column of the labels of an array


class FrameTable:
    """A table of columns in memory.

    Args:
        columns: each column's values by name: an array of numbers, or a list of words with None for missing ones.
        where: what it is called in errors.
        rows: what its rows are called.
        plain: whether numbers are never words, so that those of a categorical column are its levels.
        aside: further columns, which are read only as text: labels, an index.
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        where: str,
        rows: RowNames | None = None,
        plain: bool = False,
        aside: Mapping[str, Any] | None = None,
    ) -> None:
        self.columns, self.where, self.rows, self.plain, self.aside = columns, where, rows, plain, aside or {}
        self.names = [*columns]

    def cells(self, names: Sequence[str], worded: Sequence[bool], texts: Sequence[str] = ()) -> Cells:
        """Columns of the table; ValueError for a word in a column without words."""
        size = len(next(iter(self.columns.values()), ()))
        values, words = np.empty((size, len(names))), []
        for i, (name, may) in enumerate(zip(names, worded, strict=True)):
            column = self.columns[name]
            may = may and not (self.plain and isinstance(column, np.ndarray))
            values[:, i], found = _column(column, may, f"{self.where}, column {name!r}")
            words.append(found)
        return Cells(values, words, {name: text({**self.aside, **self.columns}[name]) for name in texts})


def _column(values: Any, worded: bool, where: str) -> tuple[np.ndarray, list[str] | None]:
    """Numbers of a column, or of its words, and those words."""
    if isinstance(values, np.ndarray):
        if not worded:
            return values.astype(np.float64), None
        distinct = np.unique(values[~np.isnan(values.astype(np.float64))])
        if len(distinct) > 1000:  # no words
            return values.astype(np.float64), None
    seen: dict[str, float] | None = {} if worded else None
    out = np.full(len(values), np.nan)
    for row, cell in enumerate(text(values)):
        if is_missing(cell):
            continue
        if seen is not None:
            out[row] = seen.setdefault(cell, float(len(seen)))
            continue
        try:
            out[row] = float(cell)
        except ValueError:
            raise ValueError(not_a_number(f"{where}, row {row}", cell)) from None
    return out, None if seen is None else [*seen]


def text(values: Any) -> list[str]:
    """A column as text, "" where missing."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    words = ("" if v is None else str(v).strip() for v in listed)
    return ["" if word in ("nan", "NaT", "<NA>") else word for word in words]


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame of pandas or polars, or a mapping from column to values."""
    return isinstance(value, Mapping) or nw.dependencies.is_into_dataframe(value)


def as_table(value: Any, where: str, names: Sequence[str] | None = None) -> FrameTable:
    """A data frame, a mapping or an array (N, D), whose columns are ``names`` or their numbers, as a table.

    Raises:
        TypeError: anything else.
        ValueError: an array of another shape, columns of several lengths.

    Example:
        >>> as_table({"a": [1, 2], "b": ["x", None]}, "rows").cells(["b"], [True]).words
        [['x']]
    """
    if isinstance(value, FrameTable):
        return value
    if isinstance(value, Mapping):
        columns = {str(name): _values(column) for name, column in value.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{where} has columns of {' and '.join(map(str, sorted(set(lengths.values()))))} values")
        return FrameTable(columns, where)
    if nw.dependencies.is_into_dataframe(value):
        try:
            listed = [*nw.from_native(value, eager_only=True).iter_columns()]  # names may be numbers
        except nw.exceptions.DuplicateError as error:
            said = " ".join(str(error).split())
            raise ValueError(f"{where} has two columns of one name: {said}; give them different names") from None
        columns = {str(series.name): _series(series) for series in listed}
        if len(columns) < len(listed):
            raise ValueError(f"{where} has two columns of one name as text, such as 1 and '1'; give them other names")
        return FrameTable(columns, where, _index(value))
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if not isinstance(array, np.ndarray | list | tuple):
        raise TypeError(f"{where} must be a table (a data frame, a .csv file, an array), not {type(value).__name__}")
    array = np.asarray(array)
    width = array.shape[1] if names is None and array.ndim == 2 else len(names or ())
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{where} has shape {array.shape}, but rows of {width} columns are wanted")
    if array.dtype.kind not in "fiub":
        array = array.astype(object)
        return FrameTable({n: array[:, i].tolist() for i, n in enumerate(names or map(str, range(width)))}, where)
    return FrameTable({n: array[:, i] for i, n in enumerate(names or map(str, range(width)))}, where, plain=True)


def labelled(x: Any, y: Any, where: str, names: Sequence[str] | None = None) -> FrameTable:
    """An array (N, D) as a table, with its labels (N,), if there are any, as a further column ``y`` beside it.

    Raises:
        ValueError: as of ``as_table``, and labels of another shape.
    """
    table = as_table(x, where, names)
    if y is not None:
        y = to_labels(y).numpy()
        if y.shape != x.shape[:1]:
            raise ValueError(f"{where} has {len(x)} rows and y of shape {y.shape}: a table takes one label a row")
        table.aside = {LABELS: y}
    return table


def _values(column: Any) -> Any:
    array = column.detach().cpu().numpy() if isinstance(column, Tensor) else np.asarray(column)
    return array if array.dtype.kind in "fiub" else list(column)


def _series(series: Any) -> Any:
    """A data frame's column: an array of numbers, or a list of words."""
    dtype = series.dtype
    if isinstance(dtype, nw.Boolean):
        return [None if v is None else str(v) for v in series.to_list()]
    if dtype.is_numeric():
        return series.cast(nw.Float64).to_numpy() if series.null_count() else series.to_numpy()
    return series.to_list()


def _index(frame: Any) -> RowNames | None:
    """The index of a pandas frame, unless it just counts."""
    index = nw.maybe_get_index(nw.from_native(frame, eager_only=True))
    values = None if index is None else index.tolist()
    if index is None or (index.name is None and values == [*range(len(index))]):
        return None
    return RowNames(str(index.name or "row"), values)


def open_parquet(path: Path) -> FrameTable:
    """The table in a .parquet file, read by pandas or else by polars; ValueError where it cannot be read."""
    library = next((name for name in ("pandas", "polars") if importlib.util.find_spec(name)), None)
    if library is None:
        raise ValueError(f"{path} needs pandas or polars to be read: pip install pandas pyarrow; or save it as .csv")
    try:
        frame = nw.read_parquet(str(path), backend=library)
    except Exception as error:  # each library has types of its own
        raise ValueError(f"{path} is not a readable .parquet file: {' '.join(str(error).split())[:200]}") from None
    return as_table(nw.to_native(frame), str(path))


def to_frame(columns: Mapping[str, Any], like: Any = None, names: tuple[str, list[Any]] | None = None) -> Any:
    """Columns by name as a data frame: of the library that ``like`` is of, else of pandas, else of polars.

    Args:
        columns: each column's values.
        like: a data frame, or None.
        names: what the rows are called, and their names: the index of a pandas frame; the first column of a polars
            frame, unless they just count.

    Raises:
        ValueError: neither pandas nor polars is installed.
    """
    library = next((name for name in ("pandas", "polars") if importlib.util.find_spec(name)), None)
    if like is not None and nw.dependencies.is_into_dataframe(like):
        library = nw.get_native_namespace(nw.from_native(like, eager_only=True)).__name__
    if library is None:
        raise ValueError("a data frame needs pandas or polars: pip install pandas")
    module, columns = importlib.import_module(library), {**columns}
    if library == "pandas":
        title, values = names or ("row", None)
        index = None if values is None else module.Index(values, name=None if title == "row" else title)
        return module.DataFrame(columns, index=index)
    if names is not None and names[1] != [*range(len(names[1]))]:
        columns = {names[0]: names[1], **columns}
    return module.DataFrame(columns)
