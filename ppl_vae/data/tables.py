"""Tables in .csv files: rows of numbers, or of words if the columns' kinds allow them.

The first line is a header if it holds a word. An empty cell or ``nan`` is missing: NaN. In a binary, categorical or
ordinal column words are numbered 0, 1, ... in the declared order, else sorted; the kind stores this order, so that the
same words get the same numbers in another file. Whole numbers, such as 1 ... 5, may be used as words.
"""

from __future__ import annotations

import array
import csv
import itertools
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
    """Columns ``names`` of x (N, D), NaN where missing; ``marks``, the cells of the label column; kinds by name."""

    names: list[str]
    x: np.ndarray
    marks: list[str] | None = None
    kinds: dict[str, Any] | None = None


def read_csv(path: Path, labels: str | None = None, kinds: Any = None, only: bool = False) -> CSV:
    """Read a table.

    Args:
        path: the file.
        labels: the column of labels; ``label`` or ``y`` if None and ``kinds`` does not name it.
        kinds: see ``data.load``; None: all columns are numbers.
        only: whether to drop columns that ``kinds`` does not name, and put the others in its order.

    Raises:
        ValueError: rows of different lengths, cells that are not numbers, words that are not among the levels.
    """
    auto, lines = kinds == "auto", _lines(path)
    declared = mapping_of(None if auto else kinds)
    first = next(lines, (0, []))
    header, names = column_names(first[1])
    mark = _label_column(names, labels, [str(key) for key in declared], path)
    at = [names.index(str(key)) for key in declared] if only else [i for i in range(len(names)) if i != mark]
    every = parse_kinds(declared, names)
    columns = [every[i] for i in at]
    # The words of each column that has any, numbered in order of appearance.
    words: list[dict[str, float] | None] = [{} if auto or column.levelled else None for column in columns]
    cells, marks = array.array("d"), []
    for number, row in lines if header else itertools.chain([first], lines):
        if len(row) != len(names):
            raise ValueError(f"{path} has {len(row)} cells in line {number}, and {len(names)} in its first")
        for i, seen in zip(at, words, strict=True):
            try:
                cells.append(_number(row[i], seen))
            except ValueError:
                use = "" if kinds is None else "; leave it empty if it is missing, or declare categorical"
                raise ValueError(
                    f"{path}, line {number}, column {names[i]!r} holds {row[i]!r}, which is not a number{use}"
                ) from None
        if mark is not None:
            marks.append(row[mark].strip())
    if not cells:
        raise ValueError(f"{path} is empty: no rows of numbers")
    x = np.frombuffer(cells, dtype=np.float64).reshape(-1, len(at))
    table = CSV([names[i] for i in at], x, marks if mark is not None else None)
    if kinds is not None:
        for i, seen in enumerate(words):
            if seen is not None:
                columns[i], values = _number_words(columns[i], [*seen], auto, path)
                known = ~np.isnan(x[:, i])
                x[known, i] = np.array(values)[x[known, i].astype(int)]
        table.kinds = complete(columns, torch.from_numpy(x), auto)
    return table


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their line numbers."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            yield from ((reader.line_num, row) for row in reader if row)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is not a readable .csv file: {error}") from None


def _number(cell: str, seen: dict[str, float] | None) -> float:
    """A cell's number, or the number of its word in ``seen``; NaN if it is empty."""
    if seen is None:
        return float(cell) if cell.strip() else np.nan
    return np.nan if is_missing(cell) else seen.setdefault(cell.strip(), float(len(seen)))


def _number_words(column: Column, words: Sequence[str], auto: bool, path: Path) -> tuple[Column, list[float]]:
    """The column with the words of its levels, and the number of each word in the file."""
    where = f"{path}, column {column.name!r}"
    if column.words is not None:
        odd = [word for word in words if word not in column.words and plain(word) not in column.words]
        if odd:
            raise ValueError(f"{where} holds {odd[0]!r}, which is none of its levels; {nearest(odd[0], column.words)}")
        return column, [float(column.words.index(w if w in column.words else plain(w))) for w in words]
    names, numbers = [plain(word) for word in words], all(map(is_number, words))
    values = [float(word) for word in words] if numbers else []
    if column.kind != "binary" and column.levels in values and set(values) <= {*range(1, column.levels + 1)}:
        return replace(column, words=tuple(str(k + 1) for k in range(column.levels))), [v - 1 for v in values]
    if numbers and (auto or column.kind == "binary" or column.levels):
        return column, values
    if not numbers and column.kind == "ordinal":
        raise ValueError(f"{where} holds words in unknown order: declare it, as in ordinal(low<middle<high)")
    levels = sorted(set(names), key=float if numbers else None)
    if numbers:
        odd = [word for word in words if not float(word).is_integer()]
        if odd:
            raise ValueError(f"{where} holds {odd[0]}, but {column.kind} takes whole numbers or words; use real")
        if levels == [str(i) for i in range(len(levels))]:
            return replace(column, levels=max(2, len(levels))), values
    if column.levels is not None and len(levels) > column.levels:
        some, more = ", ".join(levels[:3]), "; use categorical" if column.kind == "binary" else ""
        raise ValueError(
            f"{where} holds {len(levels)} words ({some}, ...), but {column.spelled} has {column.levels}{more}"
        )
    if len(levels) < 2:
        raise ValueError(f"{where} holds only one word, {levels[0]!r}; remove the column, or declare the other words")
    kind = "categorical" if auto else column.kind
    return Column(column.name, kind, len(levels), tuple(levels)), [float(levels.index(name)) for name in names]


def _label_column(names: Sequence[str], labels: str | None, named: Sequence[str], path: Path) -> int | None:
    if labels is not None and labels not in names:
        raise ValueError(f"{path} has no column {labels!r}: {nearest(labels, names)}")
    found = labels or next((name for name in ("label", "y") if name in names and name not in named), None)
    return None if found is None else list(names).index(found)


def column_names(first: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether a first line holds names rather than numbers, and the columns' names: those, or numbers from 0."""
    header = any(cell.strip() and not is_number(cell) for cell in first)
    return header, [cell.strip() if header else str(i) for i, cell in enumerate(first)]


def is_number(cell: str, kind: type[float] | type[int] = float) -> bool:
    """Whether a cell is a number, ``nan`` included; with ``kind=int``, one without a point or an exponent.

    Example:
        >>> is_number("3e2"), [is_number(cell, int) for cell in ("3", "-03", "3.0", "3e2", "")]
        (True, [True, True, False, False, False])
    """
    try:
        kind(cell)
    except ValueError:
        return False
    return True


def is_missing(cell: str) -> bool:
    """Whether a cell is a missing entry."""
    return not cell.strip() or (is_number(cell) and float(cell) != float(cell))


def plain(word: str) -> str:
    """A word unchanged; a whole number without redundant signs, zeros and spaces.

    Example:
        >>> plain("2.0"), plain("02"), plain("2b")
        ('2', '2', '2b')
    """
    return f"{float(word):.0f}" if is_number(word) and float(word).is_integer() else word
