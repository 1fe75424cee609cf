"""The coding of tables: order and names of the columns, numbers of words, dates, and what is subtracted.

With kinds "auto" a column of ISO dates is a real column of days. From a
real column with numbers too large for float32 an origin is subtracted in float64, which changes no density.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import kinds as kinds_module
from ..checks import did_you_mean, nearest, shortlist
from ..kinds import Column, complete, mapping_of, parse_kinds
from .coding import Coded, Coding
from .files import RowNames, Source, open_arrays
from .frames import FrameTable, as_table, labelled, open_parquet
from .held import held
from .rows import Array
from .table_labels import Names, check_label_columns, coded_labels, found_labels, label_names
from .tables import Cells, CSVTable, Table
from .words import are_dates, date_of, days_of, number_words, numbers_of, renumbered

TABLES = (".csv", ".parquet")
"""Files that hold tables."""

_COUNTING = 20  # rows from which on a column 0, 1, 2, ... is thought to number them


@dataclass(frozen=True, repr=False)
class TableCoding(Coding):
    """The coding of a table: a .csv file, a data frame, or an array of as many columns.

    Attributes:
        names: the columns of x in order.
        kinds: every column's kind by name, as ``data.load`` found them; None if all are numbers of no stated kind.
        labels: column of the labels y, or the columns of y (N, k).
        classes: names of the labels 0, 1, ...; None where they are numbers.
        index: column that names the rows.
        drop: columns that are left out.
        dates: columns of dates, of which x holds days; "day" or "second" says how they are written.
        origins: what is subtracted from columns before they become float32.

    Example:
        >>> coding = TableCoding(("age", "sex"), {"age": "positive", "sex": ["binary", "f", "m"]})
        >>> coding.code({"sex": ["m", "f"], "age": [30, 41.5]}).x.tolist()
        [[30.0, 1.0], [41.5, 0.0]]
        >>> coding.uncode(torch.tensor([[30.0, 1.0]]))["sex"]
        ['m']
    """

    kind: ClassVar[str] = "table"
    names: tuple[str, ...]
    kinds: Mapping[str, Any] | None = None
    labels: Names = None
    classes: tuple[str, ...] | None = field(default=None, repr=False)
    index: str | None = None
    drop: tuple[str, ...] = ()
    dates: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        aside = {"labels": self.labels, "index": self.index, "drop": shortlist(self.drop)}
        said = "".join(f", {name}={value!r}" for name, value in aside.items() if value)
        return f"TableCoding({len(self.names)} column{'s'[: len(self.names) != 1]}: {shortlist(self.names)}{said})"

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Event shape of x, (D,)."""
        return (len(self.names),)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of x with their kinds."""
        return parse_kinds(self.kinds, self.names)

    @property
    def json(self) -> dict[str, Any]:  # noqa: D102
        lists = {name: None if value is None else [*value] for name, value in self._lists().items()}
        labels = [*self.labels] if isinstance(self.labels, tuple) else self.labels
        kept = {"labels": labels, "index": self.index, "dates": {**self.dates}, "origins": {**self.origins}}
        return {"kind": self.kind, **lists, "kinds": None if self.kinds is None else {**self.kinds}, **kept}

    def _lists(self) -> dict[str, Sequence[str] | None]:
        return {"names": self.names, "classes": self.classes, "drop": self.drop}

    def code(self, rows: Any, where: str = "rows") -> Coded:
        """x and y of a .csv file, a data frame, a mapping from column to values, or an array (N, D) in this order."""
        table = _table(rows, where, self.names)
        absent = [name for name in self.names if name not in table.names]
        if absent:
            close = did_you_mean(absent[0], table.names)
            raise ValueError(f"{table.where} has no column {absent[0]!r}{close}; the run takes {shortlist(self.names)}")
        texts = [name for name in (*label_names(self.labels), self.index) if name in (*table.names, *table.aside)]
        worded = [column.levelled or column.name in self.dates for column in self.columns]
        cells = table.cells(self.names, worded, texts)
        x = np.array(cells.values)
        for i, (column, words) in enumerate(zip(self.columns, cells.words, strict=True)):
            x[:, i] = self._values(column, x[:, i], words, table.where)
        wrong = None if self.kinds is None else kinds_module.Table(self.columns).complaint(torch.from_numpy(x))
        if wrong is not None:
            raise ValueError(f"{table.where} has, in row {wrong[0]}, {wrong[1]}")
        y = coded_labels(cells.texts, self.labels, self.classes, table.where)
        return Coded(self._float32(x), y, _names(self.index, cells.texts, table))

    def _values(self, column: Column, x: np.ndarray, words: list[str] | None, table: str) -> np.ndarray:
        """Numbers of a column whose words are numbered by their appearance."""
        if words is None or not words:
            return x
        if column.name in self.dates:
            numbers = [days_of(word, f"{table}, column {column.name!r}") for word in words]
        else:
            numbers = numbers_of(column, words, table)
        return renumbered(x, numbers)

    def _float32(self, x: np.ndarray) -> Tensor:
        origin = np.array([self.origins.get(name, 0.0) for name in self.names])
        return torch.from_numpy((x - origin).astype(np.float32))

    def uncode(self, x: Tensor) -> dict[str, Any]:
        """The columns of x (N, D) by name: words where the source has words, whole numbers, dates, else float64."""
        values = x.detach().cpu().double().numpy()
        return {c.name: self._written(c, values[:, i]) for i, c in enumerate(self.columns)}

    def own(self, rows: Any, where: str = "rows") -> dict[str, list[str]]:
        """All columns of the table as text, by name."""
        table = _table(rows, where, self.names)
        return table.cells([], [], table.names).texts

    def numbers(self, rows: Any, where: str = "rows") -> dict[str, np.ndarray]:
        """The columns of real numbers by name, in float64 as the table holds them; x is their nearest float32."""
        names = [c.name for c in self.columns if c.kind in ("real", "positive") and c.name not in self.dates]
        values = _table(rows, where, self.names).cells(names, [False] * len(names)).values
        return dict(zip(names, values.T, strict=True))

    def _written(self, column: Column, values: np.ndarray) -> Any:
        values = values + self.origins.get(column.name, 0.0)
        if column.name in self.dates:
            return [None if v != v else date_of(v, self.dates[column.name]) for v in values.tolist()]
        if column.words is not None:
            return [None if v != v else column.words[round(v)] for v in values.tolist()]  # a mean is rounded
        whole = (column.levelled or column.kind == "count") and bool((values == np.floor(values)).all())
        return values.astype(np.int64) if whole else values


def find_table(
    table: Table, labels: Any, kinds: Any, index: str | None = None, drop: Sequence[str] = ()
) -> tuple[TableCoding, Source]:
    """The coding that fits a table, and its source; arguments as of ``data.load``."""
    labels = check_label_columns(labels)
    for argument, names in (("labels", label_names(labels)), ("index", [index]), ("drop", drop)):
        for name in names:
            if name is not None and name not in (*table.names, *table.aside):
                raise ValueError(f"{table.where} has no column {name!r}, which {argument} names; {_near(name, table)}")
    auto = kinds == "auto"
    declared = mapping_of(None if auto else kinds)
    index = index or ("" if table.names[:1] == [""] else None)  # as pandas writes its index
    aside = {index, *drop} - {None}
    named = {str(key) for key in declared}
    labels = labels or next((n for n in ("label", "y") if n in table.names and n not in named | aside), None)
    names = tuple(name for name in table.names if name not in aside | {*label_names(labels)})
    if not names:
        raise ValueError(f"{table.where} is empty: no columns are left for x")
    every = {column.name: column for column in parse_kinds(declared, table.names)}
    columns = [every[name] for name in names]
    said = {name for name in names if declared.get(name) == kinds_module.DATE}
    texts = [name for name in (*label_names(labels), index) if name is not None]
    cells = table.cells(names, [auto or c.levelled or c.name in said for c in columns], texts)
    if not cells.values.size:
        raise ValueError(f"{table.where} is empty: no rows of numbers")
    x, columns, dates = _numbered(columns, cells, auto, said, table.where)
    found = None if kinds is None else complete(columns, torch.from_numpy(x), auto)
    rows = _names(index, cells.texts, table)
    index = index or (None if rows is None or rows.title == "row" else rows.title)
    coding = TableCoding(
        names, found, labels, index=index, drop=tuple(drop), dates=dates, origins=_origins(x, columns, names)
    )
    y, classes = found_labels(cells.texts, labels, table.where)
    coding = replace(coding, classes=classes)
    _point_out(coding, x, table.where)
    reader = Array(coding._float32(x).numpy())
    kept = None if found is None else found | dict.fromkeys(dates, kinds_module.DATE)
    return coding, Source((reader, y), classes=classes, columns=names, kinds=kept, names=rows)


def open_table(path: Path) -> CSVTable | FrameTable:
    """The table in a file whose name ends as one of ``TABLES``."""
    return CSVTable(path) if path.suffix.lower() == ".csv" else open_parquet(path)


def _table(rows: Any, where: str, names: Sequence[str]) -> Table:
    if isinstance(rows, str | os.PathLike):
        path = Path(rows).expanduser()
        if not path.is_file():
            raise ValueError(f"no such file: {path}")
        if path.suffix.lower() in TABLES:
            table = open_table(path)
            if isinstance(table, CSVTable) and not table.header and len(table.names) == len(names):
                table.names = [*names]
            return table
        reader, y = open_arrays(path, None).train
        return labelled(reader.array, y, str(path), names)
    rows = held(rows, where)
    if isinstance(rows, tuple) and len(rows) == 2 and np.ndim(rows[0]) == 2:
        x = rows[0].detach().cpu() if isinstance(rows[0], Tensor) else rows[0]
        return labelled(np.asarray(x), rows[1], where, names)
    return as_table(rows, where, names)


def _numbered(
    columns: Sequence[Column], cells: Cells, auto: bool, said: Set[str], where: str
) -> tuple[Any, list[Column], dict]:
    """x with words numbered in order, the columns with their words, and the columns of dates: ``said`` or found."""
    x, columns, dates = np.array(cells.values), list(columns), {}
    for i, words in enumerate(cells.words):
        if words is None:
            continue
        name = columns[i].name
        if name in said or (auto and are_dates(words)):
            dates[name] = "day" if all(len(word) == 10 for word in words) else "second"
            numbers = [days_of(word, f"{where}, column {name!r}") for word in words]
        else:
            columns[i], numbers = number_words(columns[i], words, auto, where, len(x))
        x[:, i] = renumbered(x[:, i], numbers)
    return x, columns, dates


def _origins(x: np.ndarray, columns: Sequence[Column], names: Sequence[str]) -> dict[str, float]:
    """Origins of the real columns whose numbers float32 would round to more than 1/10,000 of their spread."""
    found = {}
    for i, column in enumerate(columns):
        seen = x[np.isfinite(x[:, i]), i]
        if column.kind == "real" and len(seen) and 0 < seen.std() < 1e4 * np.spacing(np.float32(np.abs(seen).max())):
            found[names[i]] = float(np.round(np.median(seen)))
    return found


def _point_out(coding: TableCoding, x: np.ndarray, where: str) -> None:
    """Warn of columns that look like row numbers and of constant ones."""
    seen = [x[~np.isnan(x[:, i]), i] for i in range(x.shape[1])]
    for name, values in zip(coding.names, seen, strict=True):
        if len(values) == len(x) >= _COUNTING and (np.diff(values) == 1).all():
            said = f"counts the rows from {values[0]:g} to {values[-1]:g}"
            warnings.warn(
                f"{where}, column {name!r} {said}; if it is not data, use index={name!r} or drop={name!r} "
                "(in the shell --data.index, --data.drop)",
                stacklevel=4,
            )
    constant = [n for n, values in zip(coding.names, seen, strict=True) if len(values) > 1 and np.ptp(values) == 0]
    if constant:
        some = ", ".join(map(repr, constant[:3])) + (", ..." if len(constant) > 3 else "")
        what = "column holds" if len(constant) == 1 else "columns hold"
        warnings.warn(
            f"{where}: {len(constant)} {what} only one value ({some}); use drop to leave what tells nothing out",
            stacklevel=4,
        )


def _names(index: str | None, texts: Mapping[str, list[str]], table: Table) -> RowNames | None:
    if index is None or index not in texts:
        return table.rows
    return RowNames(index or "row", texts[index])


def _near(name: str, table: Table) -> str:
    return nearest(name, [*table.names, *table.aside])
