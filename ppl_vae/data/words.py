"""Words and dates in the cells of a table, as numbers.

In a binary, categorical or ordinal column words are numbered 0, 1, ... in the declared order, else sorted. Whole
numbers, such as 1 ... 5, may be used as words. A date is a number of days.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..checks import nearest
from ..kinds import Column
from .tables import is_number, plain

_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")
_MISSING = {"na", "n/a", "null", "none", "missing", "unknown", "?", "-", "--", "."}  # where all others are numbers
_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = datetime.timedelta(days=1)


def are_dates(words: Sequence[str]) -> bool:
    """Whether there are words and all are ISO dates.

    Example:
        >>> are_dates(["2026-11-21", "2026-11-21 08:30"]), are_dates(["2026"])
        (True, False)
    """
    return bool(words) and all(_DATE.fullmatch(word) for word in words)


def renumbered(x: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    """The numbers that x, which numbers words by their appearance, stands for."""
    known, out = ~np.isnan(x), np.array(x)
    out[known] = np.array(numbers)[x[known].astype(int)]
    return out


def days_of(word: str, where: str) -> float:
    """Days since 1970 of an ISO date."""
    try:
        return (datetime.datetime.fromisoformat(word) - _EPOCH) / _DAY
    except (ValueError, TypeError):
        raise ValueError(f"{where} holds {word!r}, which is not a date such as 2026-11-21") from None


def date_of(days: float, written: str) -> str:
    """The ISO date of days since 1970, ``written`` to the "day" or the "second"."""
    moment = _EPOCH + days * _DAY
    if written == "day":
        return (moment + _DAY / 2).date().isoformat()
    return moment.isoformat(sep=" ", timespec="seconds")


def numbers_of(column: Column, words: Sequence[str], table: str) -> list[float]:
    """The numbers of words in new rows, by the levels that the column has; True is also TRUE, true or 1.

    Example:
        >>> numbers_of(Column("smoker", "binary", 2, ("FALSE", "TRUE")), ["True", "False"], "rows")
        [1.0, 0.0]
    """
    if column.words is not None:
        truth = {word.lower(): word for word in column.words}
        truth = truth if {*truth} == {"true", "false"} and len(column.words) == 2 else {}
        return number_words(column, [truth.get(word.lower(), word) for word in words], False, table, len(words))[1]
    known = {"true": 1.0, "false": 0.0} if column.kind == "binary" else {}
    odd = next((word for word in words if word.lower() not in known and not is_number(word)), None)
    if odd is not None:
        said = f"{table}, column {column.name!r} holds {odd!r}"
        raise ValueError(f"{said}, but the column was trained on numbers without words: {column.takes}")
    return [known[word.lower()] if word.lower() in known else float(word) for word in words]


def number_words(column: Column, words: Sequence[str], auto: bool, table: str, rows: int) -> tuple[Column, list[float]]:
    """The column with the words of its levels, and the number of each word in the file."""
    where = f"{table}, column {column.name!r}"
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
    marks = [word for word in words if word.lower() in _MISSING]
    if auto and marks and len(marks) < len(words) and all(is_number(word) for word in words if word not in marks):
        raise ValueError(
            f"{where} holds numbers and {marks[0]!r}; leave the cell empty if that means missing, or declare the "
            "column categorical (kinds)"
        )
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
        some, more = ", ".join(levels[:3]), "; use categorical" * (column.kind == "binary")
        few = f"{column.spelled} has {column.levels}{more}"
        raise ValueError(f"{where} holds {len(levels)} words ({some}, ...), but {few}")
    if len(levels) < 2:
        raise ValueError(
            f"{where} holds only one word, {levels[0]!r}; use drop={column.name!r}, or declare the other words"
        )
    if auto and len(levels) > max(20, rows // 2):
        what = f"{where} holds {len(levels)} different words in {rows} rows"
        use = f"use index={column.name!r} or drop={column.name!r} (in the shell --data.index, --data.drop)"
        raise ValueError(f"{what}, an id rather than a category; {use}")
    kind = "categorical" if auto else column.kind
    return Column(column.name, kind, len(levels), tuple(levels)), [float(levels.index(name)) for name in names]
