"""What jobs write: files, checked before any work is done and written whole or not at all, and JSON to be read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..files import plain, write_atomically
from ..reporting import save
from .arguments import UsageError


def target(out: str | None, kinds: tuple[str, ...] = (".png", ".npy")) -> Path:
    """The file to write; a UsageError where there is none, one of another kind, or one in no folder."""
    if out is None:
        raise UsageError(f"--out is needed: the file to write, {' or '.join(kinds)}")
    path = Path(out)
    if path.suffix.lower() not in kinds:
        raise UsageError(f"--out {out} must end in {' or '.join(kinds)}")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out} lies in {path.parent}, which is not a folder")
    return path


def write_array(path: Path, array: Tensor, plot: Callable[[Tensor], Any] | None = None) -> None:
    """Write an array to a .npy, or what ``plot`` makes of it to a .png, and say where."""
    if plot is not None and path.suffix.lower() == ".png":
        save(plot(array), path)
    else:
        content = io.BytesIO()
        np.save(content, array.numpy())
        write_atomically(path, content.getvalue())
    print(path)


def write_rows(path: Path, array: Tensor, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write an array to a .npy, or rows under a header to a .csv, and say where."""
    if path.suffix.lower() == ".npy":
        return write_array(path, array)
    lines = [header, *([f"{v:.9g}" if isinstance(v, float) else str(v) for v in row] for row in rows)]
    write_atomically(path, "".join(",".join(line) + "\n" for line in lines).encode())
    print(path)


def print_json(value: Any) -> None:
    """Print JSON, with null for NaN and a word for an infinite number."""
    print(json.dumps(plain(value, words=True), allow_nan=False))
