"""What a file of codes costs, beside the prior's entropy and beside PNG and zlib of the same data."""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..models import Discrete
from .coded_files import pack_codes
from .coding import codes, error_at
from .discrete import check_discrete, rate_of
from .doors import PIECE, batches, check_data, evaluating
from .entropy_coding import Progress


@dataclass(frozen=True)
class FileSizes:
    """Sizes of the same examples, in bytes for all of them together unless said otherwise.

    The file of codes loses what ``squared_error`` says; PNG and zlib keep what they are given, which is the data in
    ``depth`` bits an entry.

    Attributes:
        n: examples.
        size: entries of an example.
        bytes: the file of codes, all that its reader needs beside the model.
        entropy: -log2 p(codes | y) of all codes, in bytes: the least that a file can have.
        squared_error: of what is decoded, summed over the entries of an example, mean over examples.
        depth: 1 for data of zeros and ones, 8 for other pictures in [0, 1], as grey levels, else 32, as floats.
        zlib: all examples behind one another.
        png: one file of all pictures below one another; None for what are no pictures.
        png_each: files of one picture each.
        content: the file of codes.
    """

    n: int
    size: int
    bytes: int
    entropy: float
    squared_error: float
    depth: int
    zlib: int
    png: int | None
    png_each: int | None
    content: bytes = field(repr=False, compare=False)

    @property
    def bits_per_example(self) -> float:
        """Bits of the file of codes for an example."""
        return 8 * self.bytes / self.n

    @property
    def bits_per_dim(self) -> float:
        """Bits of the file of codes for an entry of the data."""
        return self.bits_per_example / self.size

    def __repr__(self) -> str:
        png = "" if self.png is None else f", PNG {self.png}"
        said = f"{self.bytes} bytes of codes (entropy {self.entropy:.0f}, zlib {self.zlib}{png})"
        lost = f"squared error {self.squared_error:.4g}"
        return f"FileSizes({said}, {self.bits_per_dim:.4f} bits per dimension, {lost}, n={self.n})"


def file_sizes(model: Discrete, x: Tensor, y: Tensor | None = None, *, progress: Progress | None = None) -> FileSizes:
    """Sizes of x as a file of codes, and as PNG and zlib.

    Args:
        model: a model whose codes are whole numbers, such as a VQVAE.
        x: data (B, *shape); pictures are (1, height, width) or (3, height, width) in [0, 1].
        y: labels (B, ...), which the file keeps, or None.
        progress: called after every step with the number of codes that are done, and with that of all.

    Raises:
        TypeError: a model whose codes are real numbers.
        ValueError: data of another shape, or constriction is not installed.
    """
    x, y = check_data(model, x, y, values=False, third=None)
    check_discrete(model, "file_sizes")
    known = codes(model, x, y)
    content = pack_codes(model, known, y, progress=progress)
    with evaluating(model, 0) as device:
        nats = sum(rate_of(model, *batch).double().sum().item() for batch in batches(device, PIECE, known, y))
    values, depth = _stored(x.cpu())
    return FileSizes(
        n=len(x),
        size=x[0].numel(),
        bytes=len(content),
        entropy=nats / math.log(256),
        squared_error=error_at(model, x, y, known).mean().item(),
        depth=depth,
        zlib=len(zlib.compress((np.packbits(values) if depth == 1 else values).tobytes(), 9)),
        png=_png(values, depth),
        png_each=_png_each(values, depth),
        content=content,
    )


def _stored(x: Tensor) -> tuple[np.ndarray, int]:
    """The data as other formats hold them, and the bits of an entry."""
    picture = x.dim() == 4 and x.shape[1] in (1, 3) and bool(((x >= 0) & (x <= 1)).all())
    if ((x == 0) | (x == 1)).all():
        return x.numpy().astype(np.uint8), 1
    return ((255 * x).round().to(torch.uint8).numpy(), 8) if picture else (x.numpy().astype("<f4"), 32)


def _png(values: np.ndarray, depth: int) -> int | None:
    """Bytes of a PNG file of pictures (N, channels, height, width) below one another; None for other data."""
    if depth == 32 or values.ndim != 4 or values.shape[1] not in (1, 3):
        return None
    from PIL import Image

    grey = values.shape[1] == 1
    rows = (255 * values if depth == 1 else values).transpose(0, 2, 3, 1).reshape(-1, values.shape[3], values.shape[1])
    image = Image.fromarray(rows[..., 0] if grey else rows)
    image = image.convert("1") if depth == 1 and grey else image
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.tell()


def _png_each(values: np.ndarray, depth: int) -> int | None:
    sizes = [_png(values[i : i + 1], depth) for i in range(len(values))]
    return None if None in sizes else sum(size for size in sizes if size is not None)
