"""Where rows come from: their coding, the split's indices, and a fingerprint that tells changed data."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .coding import ArrayCoding, Coding
from .files import RowNames
from .rows import Array, Rows

_WHOLE = 2**28  # bytes of a file up to which all of it is hashed
_PIECES, _PIECE = 64, 2**20  # of a larger one: so many pieces of this size


@dataclass(frozen=True)
class Origin:
    """What a run keeps of its data besides the arguments of ``data.load``.

    Attributes:
        coding: how rows of the source become x; None for a torch Dataset, whose items are x.
        fingerprint: "rows", and where they can be read "bytes" and "hash".
        index: row numbers in the source of each part, "train", "valid" and "test".
        names: what the rows are called.
    """

    coding: Coding | None
    fingerprint: Mapping[str, Any]
    index: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    names: RowNames = RowNames()


def fingerprint_of_file(path: Path, rows: int) -> dict[str, Any]:
    """Fingerprint of a file, or of all files of a folder and their names."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    state = hashlib.blake2b(digest_size=16)
    for file in files:
        state.update(b"" if path.is_file() else str(file.relative_to(path)).encode() + b"\0")
        _add_file(state, file)
    return {"rows": rows, "bytes": sum(file.stat().st_size for file in files), "hash": state.hexdigest()}


def _add_file(state: Any, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as opened:
        starts = [0] if size <= _WHOLE else [i * (size - _PIECE) // (_PIECES - 1) for i in range(_PIECES)]
        for start in starts:
            opened.seek(start)
            left = size if size <= _WHOLE else _PIECE
            while left and (block := opened.read(min(left, _PIECE))):
                state.update(block)
                left -= len(block)
    state.update(size.to_bytes(8, "little"))


def fingerprint_of(parts: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Fingerprint of (x or a reader, y) in memory; of what is read item by item only the number of rows and y."""
    state, rows, size = hashlib.blake2b(digest_size=16), 0, 0
    for x, y in parts:
        rows += len(x)
        arrays = [x.array] if isinstance(x, Array) else [x] if isinstance(x, Tensor) else []
        for array in [*arrays, *([y] if isinstance(y, Tensor) else [])]:
            for start in range(0, len(array), step := max(1, _PIECE // max(1, math.prod(array.shape[1:])))):
                block = array[start : start + step]
                content = np.ascontiguousarray(block.cpu().numpy() if isinstance(block, Tensor) else block)
                size += content.nbytes
                state.update(content.tobytes())
    return {"rows": rows, "bytes": size, "hash": state.hexdigest()}


def difference(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str | None:
    """How data differ from those of a fingerprint, in words; None if they do not, or if it is not known.

    Example:
        >>> difference({"rows": 3, "bytes": 9, "hash": "a"}, {"rows": 4, "bytes": 12, "hash": "b"})
        'they had 3 rows and now have 4'
    """
    if not old or not new or dict(old) == dict(new):
        return None
    if old.get("rows") != new.get("rows"):
        return f"they had {old.get('rows')} rows and now have {new.get('rows')}"
    return f"the {new.get('rows')} rows are as many, but their content or order has changed"


def origin_of(x: Tensor | Rows, y: Any, part: str) -> Origin:
    """The origin of rows that were handed over and not loaded."""
    streamed = isinstance(x, Rows)
    coding = ArrayCoding(tuple(x.shape[1:])) if not streamed else None
    index = x.index if streamed else np.arange(len(x))
    return Origin(coding, fingerprint_of([(x.reader if streamed else x, y)]), {part: index})
