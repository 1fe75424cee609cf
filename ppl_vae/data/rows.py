"""Rows that are read when indexed: slices of a memory-mapped array, pictures on disk, items of a torch Dataset.

A reader reads rows of one source, ``read(index, key) -> (x, y or None)``; ``Rows`` is a part of a source (an index into
it) as float tensors: ``rows[i]`` reads, converts, scales, and applies the part's fixed noise.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .checks import check_unit
from .noise import Noise

BLOCK = 2**24  # elements per block when everything is read: 64 MiB as float32


class Reader(Protocol):
    """Reader of the rows of one source: ``len`` rows of shape ``shape`` and type ``dtype``."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def read(self, index: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, Tensor | None]:
        """Rows ``index`` (B, *shape), and their labels if the source has them."""
        ...


class Array:
    """Reader of a numpy array (N, ...) of numbers; uint8 (N, H, W) or (N, H, W, C) are pictures, channels first.

    ``path`` is the .npy file of a memory map: a worker process maps it again instead of receiving a copy, and after
    ``stream`` rows are read from the file.
    """

    dtype = torch.float32

    def __init__(self, array: np.ndarray, path: Path | None = None) -> None:
        self.array, self.path = array, path
        self._file: int | None = None
        shape = tuple(array.shape[1:])
        picture = shape if array.dtype == np.uint8 else ()
        self._grey = len(picture) == 2
        self._last = len(picture) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
        self.shape = (1, *shape) if self._grey else (shape[2], *shape[:2]) if self._last else shape

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({"array": None, "_file": None} if self.path else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path:
            self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            self.stream()

    def stream(self) -> None:
        """From now on read rows from the file, if there is one, since pages of a map count as this process's memory."""
        if self.path and hasattr(os, "preadv") and self.array.flags.c_contiguous:
            self._file = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self.array)

    def read(self, index: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, None]:
        """Rows ``index`` as float32 of shape (B, *shape)."""
        rows = self.array[index] if self._file is None else self._from_file(self._file, index)
        x = torch.from_numpy(np.asarray(rows).astype(np.float32))
        return (x.unsqueeze(1) if self._grey else x.movedim(-1, 1).contiguous() if self._last else x), None

    def _from_file(self, file: int, index: np.ndarray) -> np.ndarray:
        """Rows ``index``; consecutive rows are read together."""
        out = np.empty((len(index), *self.array.shape[1:]), self.array.dtype)
        if not len(index):
            return out
        into, size, first = out.data.cast("B"), out[0].nbytes, getattr(self.array, "offset", 0)
        ends = [*(np.flatnonzero(np.diff(index) != 1) + 1).tolist(), len(index)]
        for begin, end in zip([0, *ends], ends, strict=False):
            wanted = into[begin * size : end * size]
            if os.preadv(file, [wanted], first + int(index[begin]) * size) != len(wanted):
                raise ValueError(f"{self.path} ends before row {index[end - 1]}: it changed while it was read")
        return out


@dataclass
class Pictures:
    """Reader of pictures that are decoded when read: ``open_picture`` gives the PIL image of a row.

    With ``resize`` pictures are resized to ``size``: a square is cropped from the centre, other shapes are stretched.
    Without it another size is an error.
    """

    open_picture: Callable[[int], Any]
    count: int
    mode: str  # "L" (one channel) or "RGB"
    size: tuple[int, int]  # (H, W)
    resize: bool
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        self.shape: tuple[int, ...] = (1 if self.mode == "L" else 3, *self.size)

    def __len__(self) -> int:
        return self.count

    def _one(self, row: int) -> Tensor:
        from PIL import Image

        picture = self.open_picture(row).convert(self.mode)
        height, width = self.size
        if self.resize and picture.size != (width, height):
            if height == width:
                side = min(picture.size)
                left, top = ((length - side) // 2 for length in picture.size)
                picture = picture.crop((left, top, left + side, top + side))
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        if picture.size != (width, height):
            here = f"picture {row} is {picture.height} x {picture.width} pixels and the first {height} x {width}"
            raise ValueError(f"{here}; use size= to resize all")
        return torch.from_numpy(np.array(picture)).view(height, width, -1).movedim(-1, 0)

    def read(self, index: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, None]:
        """Rows ``index`` as float32 of shape (B, C, H, W) in 0..255."""
        return torch.stack([self._one(int(row)) for row in index]).float(), None


class Rows:
    """The rows ``index`` of a reader as float tensors, read when indexed.

    Args:
        reader: reader of the source.
        index: (N,) int64 row numbers in the source; None is all of them.
        scale: (shift, divisor, clip): x becomes (x - shift) / divisor, where not None, clipped to [0, 1] if ``clip``.
        noise: noise fixed for each row of this part; None leaves x as it is.
        where: name of this part in errors.
    """

    def __init__(
        self,
        reader: Reader,
        index: np.ndarray | None = None,
        scale: tuple[Any, Any, bool] = (None, None, False),
        noise: Noise | None = None,
        where: str = "x",
    ) -> None:
        self.reader, self.scale, self.noise, self.where = reader, scale, noise, where
        self.index = np.arange(len(reader), dtype=np.int64) if index is None else index

    @property
    def shape(self) -> torch.Size:
        """(N, *event shape)."""
        return torch.Size((len(self), *self.reader.shape))

    @property
    def dtype(self) -> torch.dtype:
        """float32, unless a torch Dataset has another floating type."""
        return self.reader.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Rows({type(self.reader).__name__.lower()}, shape={tuple(self.shape)})"

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray | Tensor) -> Tensor:
        x = self.read(positions(which, len(self)))[0]
        return x[0] if isinstance(which, int | np.integer) else x

    def read(self, rows: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, Tensor | None]:
        """x of shape (B, *event shape) at positions ``rows`` of this part, and labels if the source gives them."""
        x, y = self.reader.read(self.index[rows], key)
        shift, divisor, clip = self.scale
        x = x if shift is None else x - shift
        x = x if divisor is None else x / divisor
        x = x.clamp(0, 1) if clip else x
        if self.noise is not None:
            check_unit(x, self.where)
            x = self.noise.fixed(x, rows)
        return x, y

    def load(self) -> Tensor:
        """All rows as one float32 tensor."""
        return filled(torch.empty(self.shape, dtype=torch.float32), blocks(self))


def blocks(x: Tensor | Rows, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, Tensor]]:
    """(positions, x there) block by block, 64 MiB at a time: of the given rows, or of all."""
    count, step = len(x) if rows is None else len(rows), max(1, BLOCK // max(1, x.shape[1:].numel()))
    for start in range(0, count, step):
        stop = min(start + step, count)
        at = np.arange(start, stop) if rows is None else rows[start:stop]
        yield at, x[start:stop] if rows is None else x[at]


def filled(out: Tensor, found: Iterable[tuple[np.ndarray, Tensor]]) -> Tensor:
    """``out`` with blocks of rows that follow each other put in their places."""
    for rows, block in found:
        out[int(rows[0]) : int(rows[0]) + len(rows)] = block
    return out


def moments(found: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and count of the entries of blocks (B, ...) that are not NaN: float64 (...)."""
    total = squares = count = torch.zeros((), dtype=torch.float64)
    for block in found:
        block = block.cpu().double()
        total, squares = total + block.nansum(0), squares + block.square().nansum(0)
        count = count + (~block.isnan()).sum(0)
    mean, square = total / count.clamp(min=1), squares / count.clamp(min=1)
    return mean, (square - mean.square()).clamp(min=0).sqrt(), count


def ends(found: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of the entries of blocks (B, ...) that are not NaN: (...); 0 where all are."""
    low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
    for block in found:
        x, missing = block.cpu(), block.cpu().isnan()
        low = torch.minimum(low, x.masked_fill(missing, torch.inf).amin(0))
        high = torch.maximum(high, x.masked_fill(missing, -torch.inf).amax(0))
    never = low > high
    return low.masked_fill(never, 0.0), high.masked_fill(never, 0.0)


def positions(which: int | slice | Sequence[int] | np.ndarray | Tensor, count: int) -> np.ndarray:
    """Row numbers in 0..count-1 as (B,) int64, from any index."""
    if isinstance(which, slice):
        return np.arange(*which.indices(count), dtype=np.int64)
    index = which.detach().cpu().numpy() if isinstance(which, Tensor) else np.asarray(which)
    if index.dtype == bool:
        index = np.flatnonzero(index)
    index = np.atleast_1d(index).astype(np.int64, casting="same_kind" if index.size else "unsafe")
    if index.size and not -count <= index.min() <= index.max() < count:
        raise IndexError(f"row {index.min() if index.min() < -count else index.max()} of {count} rows")
    return np.where(index < 0, index + count, index)


def to_float(value: Any, where: str) -> Tensor:
    """Numbers as a float tensor, values unchanged: torch floats keep their dtype, all else becomes float32."""
    if not isinstance(value, Tensor | np.ndarray | np.generic | float | int):
        hint = "; give it transform=torchvision.transforms.ToTensor()" if hasattr(value, "convert") else ""
        raise TypeError(f"{where} must be a tensor or an array of numbers, not {type(value).__name__}{hint}")
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach()
    array = as_numbers(value, where)
    if array.dtype == np.uint8 and array.size and array.max() > 1:
        raise ValueError(
            f"{where} holds uint8 values up to {array.max()}; scale pictures to [0, 1] with x / 255, "
            "or use x.float() if they are counts"
        )
    return torch.from_numpy(array.astype(np.float32))


def as_numbers(value: Any, where: str) -> np.ndarray:
    """An array of integers, booleans or floats; a TypeError for anything else."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{where} must be numbers, not {array.dtype}")
    return array
