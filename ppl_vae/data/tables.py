"""Tables in .csv files: rows of numbers, or of words where the columns' kinds say so; and filling in their empty cells.

The first line is a header if it holds a word. An empty cell or ``nan`` is missing: NaN. In a binary, categorical or
ordinal column the words are numbered: 0 and 1, ... in the order declared, else sorted, which the kind then records, so
that the same words get the same numbers in another file; whole numbers may stand for words, such as 1 ... 5.
"""

from __future__ import annotations

import array
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import nearest
from .kinds import Column, complete, mapping_of, parse_kinds


@dataclass
class CSV:
    """The contents of a .csv file.

    Attributes:
        names: of the columns of ``x``.
        x: (N, D) float64, NaN where missing.
        marks: the cells of the label column, or None.
        kinds: every column's kind, by name, or None if none were asked for.
    """

    names: list[str]
    x: np.ndarray
    marks: list[str] | None = None
    kinds: dict[str, Any] | None = None


def read_csv(path: Path, labels: str | None = None, kinds: Any = None, only: bool = False) -> CSV:
    """Read a table.

    Args:
        path: the file.
        labels: the column of labels; ``label`` or ``y`` if None and ``kinds`` does not name it.
        kinds: see ``data.load``; None for columns of numbers.
        only: whether columns that kinds does not name are left out, and the others put in its order.

    Raises:
        ValueError: rows of different lengths, cells that are not numbers, words that the kinds do not have.
    """
    reader = _Reader(path, labels, kinds, only)
    lines = _lines(path)
    for number, row in lines:
        reader.take(row, number)
    return reader.finish()


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is not a readable .csv file: {error}") from None


class _Reader:
    """Takes the rows of a file one by one."""

    def __init__(self, path: Path, labels: str | None, kinds: Any, only: bool) -> None:
        self.path, self.labels, self.only = path, labels, only
        self.kinds = kinds if kinds in (None, "auto") else mapping_of(kinds)
        self.width: int | None = None
        self.cells, self.marks = array.array("d"), []

    def take(self, row: list[str], line: int) -> None:
        if self.width is None and self._first(row):
            return
        if len(row) != self.width:
            raise ValueError(f"{self.path} has {len(row)} cells in line {line}, and {self.width} in its first")
        for at, name, number in self.columns:
            try:
                self.cells.append(number(row[at]))
            except ValueError:
                raise ValueError(
                    f"{self.path}, line {line}, column {name!r} holds {row[at]!r}, which is not a number{self._advice}"
                ) from None
        if self.mark is not None:
            self.marks.append(row[self.mark].strip())

    def _first(self, row: list[str]) -> bool:
        """Learn the columns from the first line; whether it is a header."""
        self.width = len(row)
        header = is_header(row)
        names = [cell.strip() for cell in row] if header else [str(i) for i in range(len(row))]
        auto = self.kinds == "auto"
        declared = parse_kinds(None if auto else self.kinds, names) if self.kinds is not None else ()
        named = [] if auto else [str(key) for key in self.kinds or ()]
        self.mark = _label_column(names, self.labels, named, self.path)
        kept = [i for i in range(len(names)) if i != self.mark]
        if self.only:
            kept = [names.index(name) for name in named]
        self.names = [names[i] for i in kept]
        self.declared = [declared[i] for i in kept] if declared else None
        self.coders = [Coder() if auto or (declared and declared[i].levelled) else None for i in kept]
        self.columns = [(at, names[at], coder or _as_number) for at, coder in zip(kept, self.coders, strict=True)]
        self._advice = "" if self.kinds is None else "; leave it empty if it is missing, or declare categorical"
        return header

    def finish(self) -> CSV:
        if not self.cells:
            raise ValueError(f"{self.path} is empty: no rows of numbers")
        x = np.frombuffer(self.cells, dtype=np.float64).reshape(-1, len(self.names))
        marks = self.marks if self.mark is not None else None
        if self.declared is None:
            return CSV(self.names, x, marks)
        x, columns = x.copy(), list(self.declared)
        for i, coder in enumerate(self.coders):
            if coder is not None:
                columns[i], values = _number_words(columns[i], coder.words, self.kinds == "auto", self.path)
                seen = ~np.isnan(x[:, i])
                x[seen, i] = np.array(values)[x[seen, i].astype(int)]
        return CSV(self.names, x, marks, complete(columns, torch.from_numpy(x), self.kinds == "auto"))


class Coder:
    """The words of a column as numbers in the order in which they are met.

    Example:
        >>> coder = Coder()
        >>> [coder(cell) for cell in ("b", " a", "", "b")], coder.words
        ([0.0, 1.0, nan, 0.0], ['b', 'a'])
    """

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def __call__(self, cell: str) -> float:
        """The number of a cell, NaN if it is empty."""
        word = cell.strip()
        return np.nan if is_missing(word) else self.seen.setdefault(word, float(len(self.seen)))

    @property
    def words(self) -> list[str]:
        """What was met, in order."""
        return list(self.seen)


def _number_words(column: Column, words: Sequence[str], auto: bool, path: Path) -> tuple[Column, list[float]]:
    """The column with what its levels are called, and the number of each of the words met."""
    where = f"{path}, column {column.name!r}"
    numbers = all(is_number(word) for word in words)
    names = [plain(word) for word in words]
    if column.words is not None:
        odd = [word for word in words if word not in column.words and plain(word) not in column.words]
        if odd:
            raise ValueError(f"{where} holds {odd[0]!r}, which is none of its levels; {nearest(odd[0], column.words)}")
        return column, [float(column.words.index(w if w in column.words else plain(w))) for w in words]
    values = [float(word) for word in words] if numbers else []
    if column.kind != "binary" and column.levels in values and set(values) <= {*range(1, column.levels + 1)}:
        return replace(column, words=tuple(str(k + 1) for k in range(column.levels))), [v - 1 for v in values]
    if numbers and (auto or column.kind == "binary" or column.levels):
        return column, values
    if numbers:
        odd = [word for word in words if float(word) != np.floor(float(word))]
        if odd:
            raise ValueError(f"{where} holds {odd[0]}, but {column.kind} takes whole numbers or words; real would fit")
        levels = sorted(set(names), key=float)
        if levels == [str(i) for i in range(len(levels))]:
            return replace(column, levels=max(2, len(levels))), values
    elif column.kind == "ordinal":
        raise ValueError(f"{where} holds words, whose order is not known: declare it, as in ordinal(low<middle<high)")
    else:
        levels = sorted(set(names))
    if column.levels is not None and len(levels) > column.levels:
        some = ", ".join(levels[:3])
        more = "; categorical would fit" if column.kind == "binary" else ""
        raise ValueError(
            f"{where} holds {len(levels)} words ({some}, ...), but {column.spelled} has {column.levels}{more}"
        )
    if len(levels) < 2:
        raise ValueError(f"{where} holds one word only, {levels[0]!r}; leave the column out, or declare the others")
    kind = "categorical" if auto else column.kind
    return Column(column.name, kind, len(levels), tuple(levels)), [float(levels.index(name)) for name in names]


def _label_column(names: Sequence[str], labels: str | None, named: Sequence[str], path: Path) -> int | None:
    if labels is not None:
        if labels not in names:
            raise ValueError(f"{path} has no column {labels!r}: {nearest(labels, names)}")
        return list(names).index(labels)
    return next((list(names).index(name) for name in ("label", "y") if name in names and name not in named), None)


def is_header(row: Sequence[str]) -> bool:
    """Whether a first line holds names rather than numbers."""
    return any(cell.strip() and not is_number(cell) for cell in row)


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number; ``nan`` does."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_whole(cell: str) -> bool:
    """Whether a cell is written as a whole number: without a point or an exponent.

    Example:
        >>> is_whole("3"), is_whole("-03"), is_whole("3.0"), is_whole("3e2"), is_whole("")
        (True, True, False, False, False)
    """
    try:
        int(cell)
    except ValueError:
        return False
    return True


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing entry."""
    return not cell.strip() or (is_number(cell) and float(cell) != float(cell))


def plain(word: str) -> str:
    """A word as it is; a whole number without signs, zeros or spaces that say nothing.

    Example:
        >>> plain("2.0"), plain("02"), plain("2b")
        ('2', '2', '2b')
    """
    return f"{float(word):.0f}" if is_number(word) and float(word).is_integer() else word


def _as_number(cell: str) -> float:
    return float(cell) if cell.strip() else np.nan
