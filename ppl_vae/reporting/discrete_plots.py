"""Plots of integer codes: how often each is used, where they lie in a picture, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from .drawing import GAP, INK, LEGEND, MUTED, PALETTE, RULE, as_array, as_examples, draw_tiles, one_axes

__all__ = ["code_maps", "code_patches", "code_usage", "stacked"]

WRITTEN = 16  # places of a map up to which their codes are written into it


def code_usage(counts: ArrayLike) -> Figure:
    """How often each code is used, the most used first, beside the share of codes that are equally frequent.

    Args:
        counts: uses of each code, (num_codes,).

    Example:
        >>> [float(bar.get_height()) for bar in code_usage([1, 3, 0]).axes[0].patches]
        [75.0, 25.0, 0.0]
    """
    counts = as_array("counts", counts)
    if counts.ndim != 1 or not counts.sum() > 0:
        raise ValueError(f"counts must hold the uses of each code, and not all be 0; its shape is {counts.shape}")
    shares = 100 * np.sort(counts)[::-1] / counts.sum()
    figure, axes = one_axes(2.7)
    axes.bar(np.arange(1, len(shares) + 1), shares, color=PALETTE[0], width=0.8 if len(shares) <= 64 else 1.0)
    axes.axhline(100 / len(shares), color=MUTED, lw=1, ls="--", label="all equally often")
    axes.set(xlabel="codes, the most used first", ylabel="share of all codes, %", xlim=(0.4, len(shares) + 0.6))
    figure.legend(loc="outside upper right", **LEGEND)
    return figure


def code_maps(images: ArrayLike, codes: ArrayLike, values: ArrayLike) -> Figure:
    """Pictures above the maps of their codes, whose colours stand for the codes' vectors: like colours, near vectors.

    The colours are the vectors' first three principal components. In maps of few places the codes are written too.

    Args:
        images: (N, C, H, W).
        codes: (N, h, w), or (N, h, w, k) of quantizers with several codes a place.
        values: quantised vectors (N, h, w, dim).

    Example:
        >>> figure = code_maps(np.random.rand(3, 1, 8, 8), np.zeros((3, 2, 2)), np.random.rand(3, 2, 2, 4))
        >>> len(figure.axes[0].images), len(figure.axes[0].texts)
        (6, 12)
    """
    images, codes, values = as_examples("images", images, 1), as_array("codes", codes), as_array("values", values)
    if values.shape[:3] != codes.shape[:3] or len(codes) != len(images):
        raise ValueError(
            f"codes {codes.shape} and values {values.shape} must be of the same grid, for {len(images)} images"
        )
    low, high = np.nanmin(images), np.nanmax(images)
    images = images if low >= 0 and high <= 1 else (images - low) / ((high - low) or 1.0)
    colours = _colours(values.reshape(-1, values.shape[-1])).reshape(*values.shape[:3], 3).transpose(0, 3, 1, 2)
    wide = min(len(images), 10)
    rows, names, written = [], [], []
    for start in range(0, len(images), wide):
        rows += [images[start : start + wide], colours[start : start + wide]]
        names += ["data", "codes"]
        written.append(codes[start : start + wide])
    figure = draw_tiles(rows, names=names, group=2)
    if codes.ndim == 3 and np.prod(codes.shape[1:]) <= WRITTEN:
        _write(figure, written, images.shape[2:], colours)
    return figure


def code_patches(patches: ArrayLike) -> Figure:
    """Small pictures (N, C, H, W) of what codes stand for, row by row, well apart.

    Example:
        >>> len(code_patches(np.random.rand(20, 1, 4, 4)).axes[0].images)
        20
    """
    patches = as_examples("patches", patches, 1)
    wide = min(len(patches), 16)
    return draw_tiles([patches[start : start + wide] for start in range(0, len(patches), wide)], gap=0.3)


def _colours(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Colours (N, 3) in [0, 1] of vectors (N, dim): their first three principal components, by range."""
    centred = vectors - vectors.mean(0)
    parts = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    low, high = parts.min(0), parts.max(0)
    found = 0.1 + 0.8 * (parts - low) / np.where(high > low, high - low, 1.0)
    return np.pad(found, ((0, 0), (0, 3 - found.shape[1])), constant_values=0.5)


def _write(figure: Figure, written: Sequence[NDArray], size: tuple[int, ...], colours: NDArray) -> None:
    """Write codes into the tiles of every second row."""
    axes = figure.axes[0]
    height, width = np.array(size) / max(size)
    middles = axes.get_yticks()[1::2]
    seen = iter(colours)
    for codes, middle in zip(written, middles, strict=True):
        for column, (grid, colour) in enumerate(zip(codes, seen, strict=False)):
            rows, columns = grid.shape
            for i, j in np.ndindex(rows, columns):
                x = column * (width + GAP) + (j + 0.5) * width / columns
                y = middle - height / 2 + (i + 0.5) * height / rows
                ink = INK if colour[:, i, j] @ (0.3, 0.59, 0.11) > 0.45 else "#ffffff"
                axes.text(x, y, f"{grid[i, j]:.0f}", ha="center", va="center", color=ink, size=6 if rows <= 2 else 4)


def stacked(names: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str) -> Figure:
    """Bars to the right, one for each name, the parts behind one another, with their sum at the end.

    Args:
        names: of the bars.
        parts: by the part's name its length in every bar.
        unit: of the axis.

    Example:
        >>> figure = stacked(["codes", "PNG"], {"": [50.0, 200.0]}, "bytes")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['50', '200']
    """
    if any(len(part) != len(names) for part in parts.values()):
        raise ValueError(f"parts must hold a length for each of the {len(names)} bars")
    figure, axes = one_axes(0.7 + 0.4 * len(names))
    ends = np.zeros(len(names))
    places = np.arange(len(names))[::-1]
    for (label, lengths), colour in zip(parts.items(), PALETTE, strict=False):
        axes.barh(places, lengths, left=ends, color=colour, height=0.6, label=label)
        ends = ends + np.asarray(lengths, dtype=float)
    for place, end in zip(places, ends, strict=True):
        axes.annotate(
            f"{end:,.0f}" if end >= 100 else f"{end:.3g}",
            (end, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            size=9,
        )
    axes.set_yticks(places, names)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, lw=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=unit, xlim=(0, 1.15 * float(ends.max())))
    if len(parts) > 1:
        figure.legend(loc="outside upper right", ncols=len(parts), **LEGEND)
    return figure
