"""Data in files: .npy and .npz arrays and folders of images; ``table_coding`` has the tables. Nothing is unpickled.

A .npy file is memory-mapped. A .npz file holds ``x`` and optionally ``y``. In a folder of images each subfolder is a
class. Integer labels are classes (int64), floats are real targets (float32).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import nearest
from .labels import to_labels
from .rows import Array, Pictures

FORMATS = (".csv", ".parquet", ".npy", ".npz")
_IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class RowNames:
    """What the rows of a source are called.

    Attributes:
        title: "row", "file", or the name of an index column.
        values: a name for each row of the source; None for their numbers 0, 1, ...
    """

    title: str = "row"
    values: Sequence[Any] | None = None

    def at(self, index: np.ndarray) -> list[Any]:
        """The names of rows by their numbers in the source."""
        return index.tolist() if self.values is None else [self.values[i] for i in index.tolist()]


@dataclass
class Source:
    """The source that ``load`` splits: readers and labels of the training part and of any other parts."""

    train: tuple[Any, Tensor | None]
    valid: tuple[Any, Tensor | None] | None = None
    test: tuple[Any, Tensor | None] | None = None
    divisor: float = 1.0  # brings integers to [0, 1]
    levels: int | None = None  # grey levels of these
    classes: tuple[str, ...] | None = None
    held_bytes: float = 2.0**29  # size as float32 up to which the set is held in memory
    columns: tuple[str, ...] | None = None  # names of a table's columns
    top: float | None = None  # largest grey level of whole numbers
    kinds: dict[str, Any] | None = None  # of all columns by name, if asked for
    names: RowNames | None = None  # what the rows of the training part, and of parts cut from it, are called


def open_arrays(path: Path, labels: str | None) -> Source:
    """Source of a .npy or .npz file."""
    if path.suffix.lower() not in (".npy", ".npz"):
        raise ValueError(f"{path} has no known format: {nearest(path.suffix, FORMATS)}, or give a folder of images")
    return _npy(path, labels) if path.suffix.lower() == ".npy" else _npz(path, labels)


def from_array(x: np.ndarray, y: Any, where: str, path: Path | None = None) -> Source:
    """Source of an array of rows; uint8 has 256 grey levels, other types have none."""
    for array, of in ((x, where), (y, f"y of {where}")):
        if array is not None and array.dtype.kind not in "fiub":
            raise ValueError(f"{of} has dtype {array.dtype}: wanted integers, booleans or real numbers")
    if x.ndim < 2:
        raise ValueError(f"{where} has shape {x.shape}: wanted (rows, ...), at least two dimensions")
    if x.size == 0:
        raise ValueError(f"{where} is empty: its shape is {x.shape}")
    if y is not None and (y.ndim == 0 or len(y) != len(x)):
        raise ValueError(f"x of {where} has {len(x)} rows and y has shape {y.shape}: they must be as many")
    grey: dict[str, Any] = {"divisor": 255.0, "levels": 256, "top": 255.0} if x.dtype == np.uint8 else {}
    return Source((Array(x, path), None if y is None else to_labels(y)), **grey)


def _load(path: Path, file: Any = None, **options: Any) -> Any:
    try:
        return np.load(file or path, allow_pickle=False, **options)
    except Exception as error:  # numpy, zipfile and the operating system raise different types
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable {path.suffix} file of numbers: {reason}") from None


def _npy(path: Path, labels: str | None) -> Source:
    small = path.stat().st_size < 2**20  # an empty array cannot be memory-mapped; small ones are read
    y = None if labels is None else _load(Path(labels))
    return from_array(_load(path, mmap_mode=None if small else "r"), y, str(path), None if small else path)


def _npz(path: Path, labels: str | None) -> Source:
    with path.open("rb") as file, _load(path, file) as arrays:
        for key in ["x"] if labels is None else ["x", labels]:
            if key not in arrays:
                raise ValueError(f"{path} has no array {key!r}, only {', '.join(arrays.files) or 'nothing'}")
        key = labels or "y"
        try:
            x, y = arrays["x"], arrays[key] if key in arrays else None
        except Exception as error:  # object arrays, damaged members
            raise ValueError(f"{path} is not a readable .npz file of numbers: {error}") from None
    return from_array(x, y, str(path))


def open_folder(path: Path, size: int | tuple[int, int] | None, mode: str | None = None) -> Source:
    """Source of a folder of images, which have one size or are brought to ``size``, and to ``mode``, "L" or "RGB"."""
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in _IMAGES and p.is_file())
    if not found:
        raise ValueError(f"{path} is empty: no images in the folder or its subfolders ({', '.join(sorted(_IMAGES))})")
    sound = _readable(path, found, size)
    paths = [*sound]
    tops = [p.relative_to(path).parts[0] if p.parent != path else "" for p in paths]
    classes = tuple(sorted(set(tops)))
    if "" in classes and len(classes) > 1:
        raise ValueError(f"{path} holds images both in subfolders, which are labels, and outside them: choose one way")
    y = None if classes == ("",) else to_labels([classes.index(top) for top in tops])
    shape = (size, size) if isinstance(size, int) else size or sound[paths[0]][0]
    mode = mode or ("L" if {mode for _, mode in sound.values()} <= {"1", "L", "LA"} else "RGB")
    names = RowNames("file", [str(p.relative_to(path)) for p in paths])
    pictures = Pictures(partial(_open_image, paths), len(paths), mode, shape, resize=size is not None)
    return Source(
        (pictures, y), divisor=255.0, levels=256, top=255.0, classes=None if y is None else classes, names=names
    )


def _readable(folder: Path, paths: list[Path], size: Any) -> dict[Path, tuple[tuple[int, int], str]]:
    """(H, W) and PIL mode of every image that can be decoded; a warning names the others."""
    with ThreadPoolExecutor() as pool:  # decoding runs in parallel
        looked = dict(zip(paths, pool.map(_look, paths), strict=True))
    sound = {path: seen for path, seen in looked.items() if not isinstance(seen, str)}
    if not sound:
        raise ValueError(f"{paths[0]} is not a readable image, nor is any other in {folder}: {looked[paths[0]]}")
    bad = [str(path.relative_to(folder)) for path in paths if path not in sound]
    if bad:
        some = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        warnings.warn(
            f"{len(bad)} of the {len(paths)} images in {folder} cannot be read and are skipped: {some}", stacklevel=5
        )
    first, ((height, width), _) = next(iter(sound.items()))
    for path, (shape, mode) in sound.items():
        if mode.startswith(("I", "F")):
            raise ValueError(f"{path} has {mode} pixels: wanted 8-bit images")
        if size is None and shape != (height, width):
            here = f"{path} is {shape[0]} x {shape[1]} pixels and {first.name} {height} x {width}"
            raise ValueError(f"{here}; use size= to resize all")
    return sound


def _look(path: Path) -> tuple[tuple[int, int], str] | str:
    """(H, W) and PIL mode of an image, or the reason why it cannot be decoded."""
    try:
        picture = _open_image([path], 0)
        return (picture.height, picture.width), picture.mode
    except Exception as error:  # PIL's decoders raise many types for damaged files
        return (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]


def _open_image(paths: list[Path], row: int) -> Any:
    from PIL import Image

    try:
        with Image.open(paths[row]) as picture:
            picture.load()
            return picture
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{paths[row]} is not a readable image: {error}") from error
