"""Cells: the training runs of a comparison, one setting under one seed each, and the folders that keep them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import flat, read_json

if TYPE_CHECKING:
    from torch import nn

    from ..data import Split

FREE = frozenset(("checkpoint-every", "data-root", "device", "download", "tensorboard", "workers"))
"""Entries of a record that do not change what a cell trains."""


@dataclass(frozen=True)
class Parts:
    """A data set: training data, and validation and test data where there are any."""

    train: Split
    valid: Split | None = None
    test: Split | None = None
    name: str | None = None

    @classmethod
    def of(cls, data: Any) -> Parts:
        """The parts of a ``Data``, of a tuple (train, valid, test), or of training data alone."""
        from ..data import Data, as_split

        name, given = None, data if isinstance(data, tuple) and len(data) == 3 else (data, None, None)
        if isinstance(data, Data):
            name, given = data.name, [split if len(split) else None for split in (data.train, data.valid, data.test)]
        if given[0] is None:
            raise ValueError("data has no training part; give a Data, (train, valid, test) or training data alone")
        train = as_split(given[0])
        valid = None if given[1] is None else as_split(given[1], part="valid")
        test = None if given[2] is None else as_split(given[2], part="test")
        for split in (valid, test):
            if split is not None and split.shape != train.shape:
                raise ValueError(f"{split.where} has shape {tuple(split.shape)}, that of train {tuple(train.shape)}")
        return cls(train, valid, test, name)

    @property
    def measured(self) -> Split:
        """The test data, or without any the validation or training data."""
        return next(split for split in (self.test, self.valid, self.train) if split is not None)


@dataclass(frozen=True)
class Cell:
    """One training run of a comparison.

    Attributes:
        name: of its folder, where there is none with its record.
        label: its setting in words, the seed left out: what the table and the plots call it.
        axes: value of every axis, the seed among them; None where an axis does not apply to the cell.
        make: gives a fresh objective and its data; called in the process that trains them.
        fit: further arguments of ``fit``.
        section: name of the section of config.json that keeps the record.
        record: the cell's configuration, JSON-able; None where it cannot be found out.
        folder: where it is kept.
        files: text of the user's own files that the objective is made from, by name, for the folder to keep.
    """

    name: str
    label: str
    axes: dict[str, Any]
    make: Callable[[], tuple[nn.Module, Parts]]
    fit: dict[str, Any]
    section: str
    record: Mapping[str, Any] | None
    folder: Path = Path()
    files: Mapping[str, str] = field(default_factory=dict)


def placed(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """The cells, each with the folder below this one that was made with its record, else one of its name."""
    section, files = cells[0].section, sorted(folder.glob("*/config.json"))
    records = {file.parent: (read_json(file) or {}).get(section) for file in files}
    made, found = {identity(record): place for place, record in records.items() if record}, []
    for cell in cells:
        place = made.get(identity(cell.record or {}), folder / cell.name)
        odd = cell.record and records.get(place) and difference(records[place] or {}, cell.record)
        if odd:
            raise ValueError(f"{odd} in the cell {place}; give the same to go on, or name a new --out (out=)")
        found.append(replace(cell, folder=place))
    return found


def identity(record: Mapping[str, Any]) -> str:
    """What makes two cells the same: every entry of their records that shapes the training."""
    kept = {name: value for name, value in record.items() if name.replace("_", "-") not in FREE}
    return json.dumps(kept, sort_keys=True)


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first entry in which two records differ, as "prior.dim was 2 and is now 3"; None if they are the same."""
    old, new = (flat(json.loads(identity(record)), ".") for record in (before, now))
    name = next((name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)), None)
    return name and f"{name} was {shown(old.get(name))} and is now {shown(new.get(name))}"


def shown(value: Any) -> str:
    """A value in words: "none", "true", "200,0.1"."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown, value)) if isinstance(value, list | tuple) else str(value)


def folder_name(pieces: Sequence[str], text: str, taken: Container[str]) -> str:
    """A folder's name made of pieces, as "k-5_seed-0"; if it is long or taken, with a digest of a text."""
    name = "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", piece).strip("-.") for piece in pieces)
    digests = [hashlib.sha256(words.encode()).hexdigest()[:8] for words in (name, text)]
    name = name if len(name) <= 120 else f"{name[:100]}_{digests[0]}"
    return f"{name}_{digests[1]}" if name in taken else name
