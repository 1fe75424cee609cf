"""Kinds of table columns: what the numbers of a column mean, as a mapping from column to kind.

    real           any number
    positive       a number above 0
    count          0, 1, 2, ...
    binary         0 or 1, or two words
    categorical    one of L levels without order: 0, ..., L-1, or words
    ordinal        one of L levels in order: 0, ..., L-1, or words

A kind is written ``"real"``, ``"categorical(4)"`` with the number of levels, ``"ordinal(small<medium<large)"`` or
``["ordinal", "small", "medium", "large"]`` with the words in the file; ``"date"``, in a table's file, is a real column
of days. A missing entry is NaN.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from .checks import check_size, nearest

_TAKES = {
    **{"real": "any finite number", "positive": "numbers above 0", "count": "the whole numbers 0, 1, 2, ..."},
    **{"binary": "0 and 1", "categorical": "the whole numbers 0 to {}", "ordinal": "the whole numbers 0 to {}"},
}
DATE = "date"
_LEVELLED = ("binary", "categorical", "ordinal")


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str  # or its number, counting from 0
    kind: str = "real"
    levels: int | None = None  # 2 of a binary column; None where they are not known, or there are none
    words: tuple[str, ...] | None = None  # what the levels are called in a file; None where it holds numbers

    @property
    def levelled(self) -> bool:
        """Whether the column has levels: binary, categorical or ordinal."""
        return self.kind in _LEVELLED

    @property
    def spelled(self) -> str | list[str]:
        """The kind as in a mapping, JSON-able."""
        if self.words is not None:
            return [self.kind, *self.words]
        return f"{self.kind}({self.levels})" if self.kind in _LEVELLED[1:] and self.levels else self.kind

    @property
    def takes(self) -> str:
        """The numbers that fit, in words."""
        return _TAKES[self.kind].format((self.levels or 1) - 1)


def parse_kinds(kinds: Any, names: Sequence[str] | int) -> tuple[Column, ...]:
    """Every column with its declared kind; columns not in the mapping are real.

    If ``names`` is only the number of columns, the mapping has numbers, or the names of all in order.
    """
    mapping = mapping_of(kinds)
    if isinstance(names, int):
        numbers = all(_number(key) is not None for key in mapping)
        if not numbers and len(mapping) != names:
            named = f"kinds names {len(mapping)} columns ({', '.join(map(str, mapping))}), but the table has {names}"
            raise ValueError(f"{named}; name all of them in order, or give numbers from 0 to {names - 1}")
        names = [str(i) for i in range(names)] if numbers else [str(key) for key in mapping]
    columns = [Column(name) for name in names]
    places: dict[Any, int] = {key: i for i in range(len(names)) for key in (i, str(i))}
    places |= {name: i for i, name in reversed([*enumerate(names)])}
    for key, kind in mapping.items():
        at = None if isinstance(key, bool) else places.get(key)
        if at is None:
            use = f"{nearest(str(key), names)}, or give a number from 0 to {len(names) - 1}"
            raise ValueError(f"kinds names {key!r}, not a column of the table; {use}")
        columns[at] = _column(names[at], kind)
    return tuple(columns)


def mapping_of(kinds: Any) -> Mapping[Any, Any]:
    """Kinds as a mapping: one, text such as "age=positive,sex=binary", the path of a .yaml or .json file, or None."""
    if isinstance(kinds, str) and Path(kinds).suffix in (".json", ".yaml", ".yml"):
        import yaml

        try:
            text = Path(kinds).read_text(encoding="utf-8")
            kinds = json.loads(text) if kinds.endswith(".json") else yaml.safe_load(text)
        except FileNotFoundError:
            raise ValueError(f"kinds={kinds!r} is a file that does not exist") from None
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"kinds={kinds!r} cannot be read: {' '.join(str(error).split())}") from None
    elif isinstance(kinds, str):
        pairs = [pair.partition("=") for pair in re.split(r",(?![^(]*\))", kinds) if pair.strip()]
        if not all(equals for _, equals, _ in pairs):
            wanted = "'age=positive,sex=binary' or a .yaml or .json file"
            raise ValueError(f"kinds={kinds!r} is not a mapping: wanted {wanted}")
        found = {name.strip(): kind.strip() for name, _, kind in pairs}
        if len(found) < len(pairs):
            raise ValueError(f"kinds={kinds!r} names a column twice")
        return found
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise ValueError(f"kinds must be a mapping from column to kind, such as {{'age': 'positive'}}, not {kinds!r}")
    return kinds


def _number(key: Any) -> int | None:
    whole = key.isdecimal() if isinstance(key, str) else isinstance(key, int) and not isinstance(key, bool)
    return int(key) if whole else None


def _column(name: str, spelled: Any) -> Column:
    spelled = "real" if spelled == DATE else spelled
    kind, *inside = spelled if isinstance(spelled, list | tuple) and spelled else [spelled]
    match = re.fullmatch(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", str(kind))
    if match is None or match[1] not in _TAKES:
        raise ValueError(
            f"kinds gives {name!r} the kind {kind!r}, which is unknown; {nearest(str(kind), [*_TAKES, DATE])}"
        )
    kind = match[1]
    if match[2] is not None:
        inside = [word.strip() for word in re.split(r"[<|,]", match[2])]
    if not inside:
        return Column(name, kind, 2 if kind == "binary" else None)
    if kind not in _LEVELLED:
        raise ValueError(f"kinds gives {name!r} levels, but {kind} has none: they are for {', '.join(_LEVELLED)}")
    where = f"kinds: the number of levels of {name!r}"
    words = tuple(map(str, inside))
    alone = _number(words[0]) if len(words) == 1 else None
    number = check_size(where, len(words) if alone is None else alone, 2)
    if alone is None and (len(set(words)) < number or "" in words):
        raise ValueError(f"kinds gives {name!r} the levels {', '.join(words)}, which must be different words")
    if kind == "binary" and number != 2:
        raise ValueError(f"kinds gives {name!r} {number} levels, but binary has 2; use categorical")
    return Column(name, kind, number, words if alone is None else None)


class Table(constraints.Constraint):
    """Rows whose entries fit their columns' kinds; ``check`` returns a bool for each entry, False for NaN."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        tiny = torch.finfo(torch.float32).tiny
        low = {"real": -torch.inf, "positive": tiny}
        self._low = torch.tensor([low.get(c.kind, 0.0) for c in columns], dtype=torch.float64)
        self._high = torch.tensor([c.levels - 1 if c.levels else torch.inf for c in columns], dtype=torch.float64)
        self._whole = torch.tensor([c.kind not in low for c in columns])
        self.is_discrete = all(c.kind not in low for c in columns)

    def check(self, value: Tensor) -> Tensor:
        """Whether each entry of value (..., D) fits."""
        low, high, whole = (limit.to(value.device) for limit in (self._low, self._high, self._whole))
        return (value >= low) & (value <= high) & value.isfinite() & (~whole | (value == value.floor()))

    def __repr__(self) -> str:
        return f"a table of {', '.join(f'{c.name}: {c.kind}' for c in self.columns)}"

    def complaint(self, x: Tensor) -> tuple[int, str] | None:
        """The first row of x (N, D) with an entry that does not fit, and what is wrong with it."""
        bad = ~(self.check(x) | x.isnan())
        if not bad.any():
            return None
        row, at = bad.nonzero()[0].tolist()
        column, value = self.columns[at], x[row, at].item()
        fits = next(kind for kind in ("count", "positive", "real") if _fits(x[:, at], kind))
        if fits == "count" and column.levelled:
            kind = "categorical" if column.kind == "binary" else column.kind
            fits = f"{kind}({int(x[:, at].nan_to_num(0.0).max()) + 1})"
        other = f"; use {fits}" if math.isfinite(value) else ""
        return row, f"{value:.6g} in column {column.name!r}, but {column.kind} takes {column.takes}{other}"


def _fits(values: Tensor, kind: str) -> bool:
    values = values[~values.isnan(), None]
    return kind == "real" or bool(Table([Column("", kind)]).check(values).all())


def find_kinds(x: Any, kinds: Any = None, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The complete mapping of a table: every column's kind, with levels found in x unless they are declared.

    Args:
        x: (N, D) numbers, NaN for missing entries.
        kinds: as for ``parse_kinds``; "auto" makes columns of 0 and 1 binary, of whole numbers from 0 on
            counts, and the others real.
        names: the columns' names; their numbers if None.

    Raises:
        ValueError: as ``parse_kinds``, and values that do not fit a declared kind.

    Example:
        >>> find_kinds(torch.tensor([[1.5, 0.0], [2.0, 3.0]]), {0: "positive", 1: "categorical"})
        {'0': 'positive', '1': 'categorical(4)'}
    """
    x = x.double() if isinstance(x, Tensor) else torch.from_numpy(np.array(x, dtype=np.float64))
    if x.dim() != 2:
        raise ValueError(f"kinds are for tables, whose rows have one dimension, not for x of shape {tuple(x.shape)}")
    columns = parse_kinds(None if kinds == "auto" else kinds, names or x.shape[1])
    return complete(columns, x, auto=kinds == "auto")


def complete(columns: Sequence[Column], x: Tensor, auto: bool) -> dict[str, Any]:
    """The mapping of declared columns with levels found in x (N, D).

    With ``auto`` real columns of 0 and 1 become binary, and those of whole numbers that start at 0 counts; where most
    columns of a table of whole numbers do, all are counts.
    """
    columns = list(columns)
    top = x.nan_to_num(0.0, 0.0, 0.0).amax(0).tolist()
    whole = _from_zero(x) if auto else torch.zeros(len(columns), 2, dtype=torch.bool)
    all_counts = bool(whole[:, 0].all()) and whole[:, 1].double().mean() >= 0.5
    for i, column in enumerate(columns):
        seen = x[:, i][~x[:, i].isnan()]
        if auto and column.kind == "real" and len(seen) and bool(((seen == 0) | (seen == 1)).all()):
            columns[i] = replace(column, kind="binary", levels=2)
        elif auto and column.kind == "real" and (all_counts or bool(whole[i].all())):
            columns[i] = replace(column, kind="count")
        elif column.levelled and column.levels is None:
            columns[i] = replace(column, levels=max(2, int(top[i]) + 1))
    wrong = Table(columns).complaint(x)
    if wrong is not None:
        raise ValueError(f"kinds do not fit the data: row {wrong[0]} has {wrong[1]}")
    return {c.name: c.spelled for c in columns}


def _from_zero(x: Tensor) -> Tensor:
    """Whether each column of x (N, D) has whole numbers from 0 on alone, and whether 0 is among them: (D, 2)."""
    counting = ((x >= 0) & (x == x.floor()) & x.isfinite()) | x.isnan()
    return torch.stack([counting.all(0) & ~x.isnan().all(0), (x == 0).any(0)], 1)
