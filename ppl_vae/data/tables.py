"""Tables, in .csv files or data frames, as numbers and numbered words.

The first line of a .csv file is a header if it holds a word. An empty cell or ``nan`` is missing: NaN. A first column
without a name, as pandas writes its index, names the rows.

``filled_csv`` fills in the empty cells of a table and leaves every other byte of the file as it is.
"""

from __future__ import annotations

import array
import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..kinds import Column

_CELL = re.compile(r'(?:^|,)((?:[^",]|"[^"]*(?:"|$))*)')  # up to the next comma outside quotes


class Cells(NamedTuple):
    """Some columns of a table.

    values: (N, D) float64, NaN where missing; in a column with words, their numbers.
    words: for each of the D columns the words that its values number, in order of appearance; None where it has none.
    texts: further columns by name, as text, "" where missing.
    """

    values: np.ndarray
    words: list[list[str] | None]
    texts: dict[str, list[str]]


class Table(Protocol):
    """A table with named columns; ``where`` names it in errors."""

    where: str
    names: list[str]
    aside: Any  # names of further columns that are only read as text
    rows: Any  # what the rows are called, ``RowNames``; None for their numbers

    def cells(self, names: Sequence[str], worded: Sequence[bool], texts: Sequence[str] = ()) -> Cells:
        """The columns ``names``, of which those ``worded`` may hold words, and the columns ``texts`` as text."""
        ...


class CSVTable:
    """A .csv file; its header is read at once, its cells when asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self.where, self.rows, self.aside = path, str(path), None, ()
        first = next(self._lines(), (0, []))[1]
        mark = next((mark for mark in ";\t|" if len(first) == 1 and mark in first[0]), None)
        if mark is not None:
            raise ValueError(
                f"{path} has one column, {first[0]!r}, whose name holds {mark!r}; if that separates columns, save the "
                f"table with commas, or give the data frame of pandas.read_csv({str(path)!r}, sep={mark!r})"
            )
        self.header, self.names = column_names(first)
        double = next((name for name in self.names if self.names.count(name) > 1), None)
        if double is not None:
            raise ValueError(f"{path} has two columns named {double!r}; give them different names")

    def cells(self, names: Sequence[str], worded: Sequence[bool], texts: Sequence[str] = ()) -> Cells:
        """Columns of the file; ValueError for a cell that is not a number in a column without words."""
        at, kept = ([self.names.index(name) for name in group] for group in (names, texts))
        words: list[dict[str, float] | None] = [{} if may else None for may in worded]
        found, marks = array.array("d"), [[] for _ in kept]
        for number, row in itertools.islice(self._lines(), int(self.header), None):
            if len(row) != len(self.names):
                raise ValueError(
                    f"{self.path} has {len(row)} cells in line {number}, and {len(self.names)} in its first"
                )
            for i, seen in zip(at, words, strict=True):
                try:
                    found.append(_number(row[i], seen))
                except ValueError:
                    where = f"{self.path}, line {number}, column {self.names[i]!r}"
                    raise ValueError(not_a_number(where, row[i])) from None
            for i, mark in zip(kept, marks, strict=True):
                mark.append(row[i].strip())
        values = np.frombuffer(found, dtype=np.float64).reshape(-1, len(at)) if len(found) else np.empty((0, len(at)))
        listed = [None if seen is None else [*seen] for seen in words]
        return Cells(values, listed, dict(zip(texts, marks, strict=True)))

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """The rows that are not empty, with their line numbers."""
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            try:
                yield from ((reader.line_num, row) for row in reader if row)
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.path} is not text in UTF-8 ({error}); save it as UTF-8") from None
            except csv.Error as error:
                raise ValueError(f"{self.path} is not a readable .csv file: {error}") from None


def not_a_number(where: str, cell: object) -> str:
    """What to say of a cell that should be a number."""
    return (
        f"{where} holds {cell!r}, which is not a number; leave it empty if it is missing, declare the column "
        "categorical (kinds), or use kinds='auto', index or drop"
    )


def _number(cell: str, seen: dict[str, float] | None) -> float:
    """A cell's number, or the number of its word in ``seen``; NaN if it is empty."""
    if seen is None:
        return float(cell) if cell.strip() else np.nan
    return np.nan if is_missing(cell) else seen.setdefault(cell.strip(), float(len(seen)))


def column_names(first: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether a first line holds names rather than numbers, and the columns' names: those, or numbers from 0."""
    header = any(cell.strip() and not is_number(cell) for cell in first)
    return header, [cell.strip() if header else str(i) for i, cell in enumerate(first)]


def is_number(cell: str, kind: type[float] | type[int] = float) -> bool:
    """Whether a cell is a number, ``nan`` included; with ``kind=int``, one without a point or an exponent."""
    try:
        kind(cell)
    except ValueError:
        return False
    return True


def is_missing(cell: str) -> bool:
    """Whether a cell is a missing entry."""
    return not cell.strip() or (is_number(cell) and float(cell) != float(cell))


def plain(word: str) -> str:
    """A word unchanged; a whole number without redundant signs, zeros and spaces: "2" of "02" and of "2.0"."""
    return f"{float(word):.0f}" if is_number(word) and float(word).is_integer() else word


def filled_csv(path: Path, columns: Sequence[Column], values: Any) -> bytes:
    """The contents of a .csv file with the missing cells of D columns filled from values (rows, D), numbers or text.

    Columns are found by name; those of a file without a header are in order.
    """
    content = path.read_bytes()
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    out: list[str] = []
    at: list[int] = []
    rows = iter(values)
    for text, row in _records(content[len(mark) :].decode("utf-8")):
        if row and not at:
            header, names = column_names(row)
            if not header and len(names) == len(columns):
                names = [column.name for column in columns]
            at = [names.index(column.name) for column in columns]
            row = [] if header else row
        if row:
            cells = zip(at, columns, next(rows), strict=True)
            text = _filled(text, row, {i: _cell(column, v) for i, column, v in cells if is_missing(row[i])})
        out.append(text)
    return mark + "".join(out).encode("utf-8")


def _records(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every record of the file as text, end of line included, and its cells."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    for row in csv.reader(lines()):
        yield "".join(taken), row
        taken.clear()


def _filled(text: str, row: list[str], gaps: dict[int, str]) -> str:
    if not gaps:
        return text
    body = text.rstrip("\r\n")
    cells = _CELL.findall(body)
    if len(cells) != len(row):  # quotes inside unquoted cells
        cells = [_quoted(cell) for cell in row]
    return ",".join(gaps.get(at, cell) for at, cell in enumerate(cells)) + text[len(body) :]


def _cell(column: Column, value: Any) -> str:
    """A value as a cell: text such as a date, a word, a whole number, or six digits and all before the point."""
    if isinstance(value, str):
        return _quoted(value)
    if column.words is not None:
        return _quoted(column.words[int(value)])
    whole = column.levels or column.kind == "count" or 1e6 <= abs(value) < 1e15
    return f"{float(value):.0f}" if whole else f"{float(value):.6g}"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(letter in cell for letter in ',"\r\n') else cell
