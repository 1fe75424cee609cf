"""Settings of the cells: everything that shapes a training, defaults included, read off the cells' config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_json
from .cells import FREE, shown

SECTIONS = ("model", "objective", "training", "data")
APART = frozenset(("training.seed", "training.capture", "data.root"))
"""Entries that differ between seeds and machines."""
LONGEST = 60  # letters of a value

Settings = Mapping[str, str]
"""Values in words by name, such as "model.prior.dim"; the class of a part has the part's name."""


def settings_of(folder: Path) -> dict[str, str]:
    """The settings of the cell in this folder; none where there is no config.json yet."""
    config = read_json(folder / "config.json") or {}
    found: dict[str, str] = {}
    for section in SECTIONS:
        for name, value in _named(config.get(section) or {}, section):
            words = shown(value)
            if name not in APART and name.rpartition(".")[2].replace("_", "-") not in FREE:
                found[name] = words if len(words) <= LONGEST else f"{words[: LONGEST - 4]} ..."
    return found


def common(settings: Sequence[Settings]) -> dict[str, str]:
    """The entries that are the same in all.

    Example:
        >>> common([{"lr": "0.1", "beta": "1"}, {"lr": "0.1", "beta": "4"}])
        {'lr': '0.1'}
    """
    first = settings[0] if settings else {}
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in settings)}


def differing(settings: Sequence[Settings]) -> list[str]:
    """The names of all other entries, in order."""
    same = common(settings)
    return [name for name in dict.fromkeys(name for each in settings for name in each) if name not in same]


def _named(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Entries of a record with their full names, as ``parts.describe`` made it."""
    if not isinstance(value, dict):
        yield name, value
        return
    own = {key: item for key, item in value.items() if key not in ("class", "custom")}
    if own.keys() != value.keys():
        yield name, value.get("class") or value.get("custom")
    for key, item in own.items():
        yield from _named(item, f"{name}.{key}")
