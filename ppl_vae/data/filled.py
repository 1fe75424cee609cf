"""Fill in the empty cells of a .csv table; every other byte of the file stays the same."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .kinds import Column
from .tables import column_names, is_missing

_CELL = re.compile(r'(?:^|,)((?:[^",]|"[^"]*(?:"|$))*)')  # up to the next comma outside quotes


def filled_csv(path: Path, columns: Sequence[Column], values: Any) -> bytes:
    """The contents of a .csv file with the missing cells of the named columns filled in.

    Args:
        path: the file.
        columns: the columns by name; others in the file do not change.
        values: (rows, D) numbers in the order of ``columns``.
    """
    content = path.read_bytes()
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    out: list[str] = []
    at: list[int] = []
    rows = iter(values)
    for text, row in _records(content[len(mark) :].decode("utf-8")):
        if row and not at:
            header, names = column_names(row)
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
    """A value as a cell: a word, a whole number, or six digits.

    Example:
        >>> _cell(Column("size", "ordinal", 2, ("S", "M, L")), 1.0), _cell(Column("age"), 30.123456789)
        ('"M, L"', '30.1235')
    """
    if column.words is not None:
        return _quoted(column.words[int(value)])
    return f"{float(value):.0f}" if column.levels or column.kind == "count" else f"{float(value):.6g}"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(letter in cell for letter in ',"\r\n') else cell
