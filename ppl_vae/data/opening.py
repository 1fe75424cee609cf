"""Opening a source: a named data set, a file, a folder, or what holds rows in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size, nearest
from ..randomness import seed_of
from .coding import ArrayCoding, Coding
from .files import Source, from_array, open_arrays, open_folder
from .frames import LABELS, FrameTable, labelled
from .held import held
from .items import Items
from .named import NAMES, SIZES, open_named
from .noise import PARTS
from .origin import fingerprint_of, fingerprint_of_file
from .table_coding import find_table
from .tables import CSVTable, Table

Part = tuple[Any, Tensor | None, np.ndarray]
"""Reader, labels and row numbers of a part, which are in the drawn order."""


def open_source(
    name: Any, root: Path, download: bool, labels: Any, size: Any, kinds: Any, index: str | None, drop: list[str]
) -> tuple[Source, Coding | None, dict[str, Any]]:
    """The source, its coding and its fingerprint; arguments as of ``data.load``."""
    name = name if isinstance(name, str | os.PathLike) else held(name)
    named = isinstance(name, str) and name in NAMES
    path = None if named or not isinstance(name, str | os.PathLike) else Path(name).expanduser()
    if path is not None and not path.exists():
        if path.name == str(name) and not path.suffix:
            raise ValueError(
                f"unknown data {name!r}: {nearest(str(name), NAMES)}, or give the path of a file or folder"
            )
        raise ValueError(f"no such file or folder: {path}")
    pictures = name in SIZES if named else path is not None and path.is_dir()
    takes = {"size"} if pictures else set() if named else {"labels", "kinds", "index", "drop"}
    tables = "tables in files and data frames"
    owners = {"labels": "files", "size": f"folders of images, {' and '.join(SIZES)}", "kinds": tables}
    for argument, value in (("labels", labels), ("size", size), ("kinds", kinds), ("index", index), ("drop", drop)):
        if value and argument not in takes:
            raise ValueError(f"{argument}={value!r} is for {owners.get(argument, tables)}, not for {_said(name)}")
    table = _table(name, path, labels, kinds, index, drop)
    if table is not None:
        column = LABELS if LABELS in table.aside else labels
        coding, source = find_table(table, column, kinds, index, drop)
    else:
        if not isinstance(labels, str | None):
            raise ValueError(f"labels={[*labels]!r} names several columns of a table, which {_said(name)} is not")
        source = open_named(name, root, download, size) if named else _open_array(name, path, labels, size)
        coding = ArrayCoding(tuple(source.train[0].shape), source.top, source.classes)
    rows = len(source.train[0])
    if path is not None:
        return source, coding, fingerprint_of_file(path, rows)
    return source, coding, fingerprint_of(part for part in (source.train, source.valid, source.test) if part)


def _table(
    name: Any, path: Path | None, labels: str | None, kinds: Any, index: str | None, drop: list[str]
) -> Table | None:
    """The table that a source is; None for arrays and pictures."""
    if path is not None and path.suffix == ".csv":
        return CSVTable(path)
    if isinstance(name, FrameTable):
        return name
    if kinds is None and index is None and not drop:
        return None
    if path is not None:
        source = open_arrays(path, labels)
        array, y = source.train[0].array, source.train[1]
    else:
        array, y = name if isinstance(name, tuple) and len(name) == 2 else (name, None)
        array = np.asarray(array.detach().cpu() if isinstance(array, Tensor) else array)
    if array.ndim != 2:
        raise ValueError(f"kinds are for tables, whose rows have one dimension, not for x of shape {array.shape}")
    return labelled(array, y, "x" if path is None else str(path))


def _said(name: Any) -> str:
    return name if isinstance(name, str) else "these rows"


def _open_array(name: Any, path: Path | None, labels: str | None, size: Any) -> Source:
    if path is not None:
        return open_folder(path, size) if path.is_dir() else open_arrays(path, labels)
    if not isinstance(name, tuple | Tensor | np.ndarray) and isinstance(name, Sized):
        items = Items(name)
        y = None if items.labels is None else items.read(np.arange(len(items)))[1]
        return Source((items, y), classes=items.labels.classes if items.labels else None, held_bytes=0)
    x, *y = name if isinstance(name, tuple) else (name,)
    x, *y = (part.detach().cpu().numpy() if isinstance(part, Tensor) else part for part in (x, *y))
    if not isinstance(x, np.ndarray) or len(y) > 1:
        raise TypeError(
            "data must be a name, a path, a data frame, an array or tensor x, or a pair (x, y), "
            f"not {type(name).__name__}"
        )
    return from_array(x, np.asarray(y[0]) if y and y[0] is not None else None, "x")


def cut(source: Source, seed: int, valid: int | None, name: str) -> dict[str, Part]:
    """The parts: an official one is kept, the others are drawn."""
    own = _own(source)
    if valid is not None:
        check_size("valid", valid)
    if "valid" in own:
        if valid is not None:
            raise ValueError(f"valid={valid} is not possible: {name} has its own validation split")
        return own
    reader, y, rows = own["train"]
    tests = 0 if "test" in own else max(1, len(rows) // 10)
    valids = valid or max(1, len(rows) // (12 if "test" in own else 10))
    if len(rows) - tests - valids < 1:
        wanted = f"{valids} of validation, {tests} of test and at least 1 of training"
        raise ValueError(f"{name} has {len(rows)} rows, too few for {wanted}")
    order = np.random.default_rng(seed_of(seed)).permutation(len(rows))
    cuts = np.split(order, [len(rows) - valids - tests, len(rows) - tests])
    drawn = {part: (reader, y, index) for part, index in zip(PARTS, cuts, strict=True)}
    return drawn | {part: found for part, found in own.items() if part != "train"}


def cut_at(source: Source, index: dict[str, np.ndarray]) -> dict[str, Part]:
    """The parts with these row numbers, as a run kept them."""
    own = _own(source)
    return {part: (*(own.get(part) or own["train"])[:2], rows) for part, rows in index.items()}


def _own(source: Source) -> dict[str, Part]:
    given = dict(zip(PARTS, (source.train, source.valid, source.test), strict=True))
    return {part: (*found, np.arange(len(found[0]), dtype=np.int64)) for part, found in given.items() if found}


def leave_out(parts: dict[str, Part], without: Sequence[int] | None, name: str) -> dict[str, Part]:
    """The parts, with all examples with a label in ``without`` removed from training and validation."""
    if not without:
        return parts
    y, found = parts["train"][1], {}
    if y is None or y.dim() != 1:
        what = "has none" if y is None else f"has {y.shape[1]} for each"
        raise ValueError(f"without={without} needs a label for each example, and {name} {what}")
    absent = [label for label in without if not (y == label).any()]
    if absent:
        known = y.unique().tolist()
        some = ", ".join(f"{label:g}" for label in known[:10]) + (", ..." if len(known) > 10 else "")
        raise ValueError(f"without={absent[0]!r} is no label of {name}, which has {some}")
    for part in ("train", "valid"):
        reader, y, index = parts[part]
        assert y is not None
        kept = index[~torch.isin(y[torch.from_numpy(index)], torch.tensor(without)).numpy()]
        if not len(kept):
            raise ValueError(f"without={without} leaves no example in the {part} split of {name}")
        found[part] = reader, y, kept
    return {**parts, **found}
