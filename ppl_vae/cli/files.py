"""What jobs write: files, checked before any work is done and written whole or not at all, and JSON to be read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..files import plain, write_atomically
from ..reporting import save
from .arguments import UsageError


def target(out: str | None, kinds: tuple[str, ...] = (".png", ".npy")) -> Path:
    """The file to write; a UsageError where there is none, one of another kind, or one in no folder.

    Args:
        out: the word of ``--out``.
        kinds: endings that it may have; any if there are none.
    """
    if out is None:
        raise UsageError(f"--out is needed: the file to write, {' or '.join(kinds)}")
    path = Path(out)
    if kinds and path.suffix.lower() not in kinds:
        raise UsageError(f"--out {out} must end in {' or '.join(kinds)}")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out} lies in {path.parent}, which is not a folder")
    if path.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file in it")
    return path


def beside(own: Mapping[str, Sequence[Any]], found: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The rows' own columns and what was found of them; a UsageError where both have a column."""
    both = next((name for name in found if name in own), None)
    if both is not None:
        raise UsageError(f"the table has a column {both!r} of its own, as what is written here; leave out --keep")
    return {**own, **found}


def write_array(path: Path, array: Tensor, plot: Callable[[Tensor], Any] | None = None) -> None:
    """Write an array to a .npy, or what ``plot`` makes of it to a .png, and say where."""
    if plot is not None and path.suffix.lower() == ".png":
        save(plot(array), path)
    else:
        content = io.BytesIO()
        np.save(content, array.numpy())
        write_atomically(path, content.getvalue())
    print(path)


TABLES = (".csv", ".npy", ".parquet")
"""Files for columns; .npy holds the numbers alone."""


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], array: Tensor) -> None:
    """Write columns of equal length to a .csv or .parquet, or the array alone to a .npy, and say where."""
    if path.suffix.lower() == ".npy":
        return write_array(path, array)
    if path.suffix.lower() == ".parquet":
        write_atomically(path, _parquet(columns))
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*([_cell(value) for value in column] for column in columns.values()), strict=True))
        write_atomically(path, text.getvalue().encode())
    print(path)


def _cell(value: Any) -> str:
    """A value as text: nine digits of a number, and all before its point, as of seconds since 1970."""
    if value is None or value != value:
        return ""
    if not isinstance(value, float | np.floating):
        return str(value)
    return f"{value:.0f}" if 1e9 <= abs(value) < 1e15 else f"{value:.9g}"


def _parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    from ..data.frames import to_frame

    frame, content = to_frame(columns), io.BytesIO()
    try:
        frame.to_parquet(content) if hasattr(frame, "to_parquet") else frame.write_parquet(content)
    except ImportError as error:
        raise UsageError(f"a .parquet file needs pyarrow ({error}); write a .csv, or pip install pyarrow") from None
    return content.getvalue()


def print_json(value: Any) -> None:
    """Print JSON, with null for NaN and a word for an infinite number."""
    print(json.dumps(plain(value, words=True), allow_nan=False))
