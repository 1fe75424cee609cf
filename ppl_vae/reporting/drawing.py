"""Drawing: the tiles, panels and axes that the plots are made of, their colours, and an atomic ``save``.

Figures are narrow, so that their letters can still be read on a phone. The ten colours are Petroff's (2021), chosen to
be told apart by colour-blind readers on light paper and dark.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from ..files import write_atomically

INK, MUTED, RULE, PAPER = "#1c2330", "#5c6675", "#dde1e7", "#fefefe"
GUTTER = "#2b313b"  # dark between tiles on light paper too, or the eye sees the lattice before the pictures
GAP = 0.06  # between tiles, in sides of one
PALETTE = (
    *("#3f90da", "#e76300", "#832db6", "#bd1f01", "#94a4a2"),
    *("#ffa90e", "#a96b59", "#717581", "#b9ac70", "#92dadd"),
)
WIDTH = 4.8  # inches
LEGEND: dict[str, Any] = {"frameon": False, "labelcolor": INK, "fontsize": 9}


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as .png, .svg or .pdf, whole or not at all.

    Raises:
        ValueError: another ending.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Figure(), f"{folder}/eye.png").name
        'eye.png'
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise ValueError(f"path must end in .png, .svg or .pdf, not {path.name!r}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=200)
    write_atomically(path, buffer.getvalue())
    return path


def as_array(name: str, values: Any) -> NDArray[np.floating]:
    """A float array from numbers, an array or a tensor on any device."""
    values = values.detach().cpu() if isinstance(values, Tensor) else values
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, not {type(values).__name__}") from None


def as_examples(name: str, values: Any, lead: int) -> NDArray[np.floating]:
    """Images (lead..., C, H, W) or vectors (lead..., D), not empty."""
    array = as_array(name, values)
    event = array.shape[lead:]
    if array.size and (len(event) == 1 or (len(event) == 3 and event[0] in (1, 3, 4))):
        return array
    dims = ("N",) if lead == 1 else ("rows", "steps")
    raise ValueError(
        f"{name} must have shape ({', '.join(dims)}, C, H, W) with C of 1, 3 or 4, or ({', '.join(dims)}, D), "
        f"and not be empty; its shape is {array.shape}"
    )


def left_out(values: NDArray[np.floating]) -> str:
    """How many entries are not finite and so not drawn, in words to put behind an axis's own; "" without any."""
    count = int((~np.isfinite(values)).sum())
    return f" ({count} that {'are' if count > 1 else 'is'} not finite left out)" if count else ""


def dress(axes: Axes) -> None:
    """The common look of axes: a baseline, faint horizontal rules, quiet letters."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.grid(axis="y", color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    axes.xaxis.label.set(color=INK, size=9.5)
    axes.yaxis.label.set(color=INK, size=9.5)


def square(count: int) -> int:
    """Columns that make a square of so many panels."""
    return math.ceil(math.sqrt(count))


def count_along(axis: Axis, most: int = 6) -> None:
    """Ticks at about so many whole numbers of an axis that counts."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def panels(count: int, height: float, columns: int = 1, share: str = "") -> tuple[Figure, list[Axes]]:
    """A figure of the common width, its rows this high in inches, and the axes of so many panels.

    Those of ``share``, "x" or "xy", are the same for all of them.
    """
    rows = -(-count // columns)
    figure = Figure((WIDTH, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex="x" in share, sharey="y" in share, squeeze=False).ravel()
    for axes in grid[:count]:
        dress(axes)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, [*grid[:count]]


def one_axes(height: float) -> tuple[Figure, Axes]:
    """A figure of the common width, this high in inches, and its only axes."""
    figure, (axes,) = panels(1, height)
    return figure, axes


def draw_tiles(
    rows: Sequence[NDArray[np.floating]],
    names: Sequence[str] | None = None,
    title: str | None = None,
    group: int = 1,
    gap: float = GAP,
) -> Figure:
    """Rows of images (columns, C, H, W) as tiles of one axes; ``group`` rows stand close together.

    The gap between them is in sides of an image.
    """
    height, width = np.array(rows[0].shape[2:]) / max(rows[0].shape[2:])
    finite = np.concatenate([row[np.isfinite(row)] for row in rows])
    lowest, highest = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    # The mean of a Normal likelihood may leave [0, 1] far in a few places, which must not fade all others.
    if finite.size and -0.5 <= np.percentile(finite, 1) and np.percentile(finite, 99) <= 1.5:
        lowest, highest = 0.0, 1.0
    tops = [i * (height + gap) + (i // group) * gap * (2 if group > 1 else 0) for i in range(len(rows))]
    right, bottom = max(len(row) for row in rows) * (width + gap) - gap, tops[-1] + height
    figure = Figure((WIDTH, WIDTH * bottom / right))
    figure.set_layout_engine("constrained", w_pad=0, h_pad=0)
    axes = figure.subplots()
    axes.add_patch(Rectangle((0, 0), right, bottom, color=GUTTER, linewidth=0, zorder=-1))
    for row, top in zip(rows, tops, strict=True):
        for column, image in enumerate(row):
            left = column * (width + gap)
            grey, look = image[0], {"cmap": "gray", "vmin": lowest, "vmax": highest}
            colour = np.clip((image - lowest) / ((highest - lowest) or 1.0), 0, 1).transpose(1, 2, 0)
            picture = grey if len(image) == 1 else colour
            axes.imshow(picture, extent=(left, left + width, top + height, top), **look)
    axes.set(xlim=(0, right), ylim=(bottom, 0), xticks=[], facecolor="none")
    axes.set_yticks([top + height / 2 for top in tops] if names else [], labels=names)
    axes.tick_params(colors=MUTED, labelsize=9, length=0, pad=3)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, color=INK, size=11)
    return figure


def draw_panels(
    series: NDArray[np.floating],
    columns: int | None = None,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """A panel for each of (panels, series, D): bars or lines, series from first to last; D = 2 is one scatter."""
    columns = columns or square(len(series))
    number, count, size = series.shape
    colours = PALETTE[:2] if count <= 2 else list(colormaps["viridis"](np.linspace(0.1, 0.85, count)))
    handles: list[Any] = []
    if size == 2:
        figure, axes = one_axes(4.6)
        handles = [axes.scatter(*series[:, i].T, s=13, alpha=0.75, lw=0, color=colours[i]) for i in range(count)]
    else:
        figure, grid = panels(number, max(WIDTH / columns * 0.7, 0.6), columns, share="xy")
        places = np.arange(1, size + 1)
        for panel, axes in enumerate(grid):
            axes.tick_params(labelsize=7)
            if count == 1 and size <= 32:
                axes.bar(places, series[panel, 0], color=colours[0])
            else:
                lines = zip(series[panel], colours, strict=False)
                handles = [axes.plot(places, line, color=colour, lw=1.2)[0] for line, colour in lines]
            if names:
                axes.set_title(names[panel], color=INK, size=9)
    if title:
        figure.suptitle(title, color=INK, size=11)
    if labels and count > 1:
        figure.legend([handles[0], handles[-1]], labels, loc="outside lower center", ncols=2, **LEGEND)
    return figure


def draw_rows(examples: NDArray[np.floating], labels: Sequence[str], names: Sequence[str] | None = None) -> Figure:
    """Images (rows, steps, C, H, W) as rows of tiles; vectors (rows, steps, D) as fans of lines, the ends labelled."""
    return draw_panels(examples, None, names, labels) if examples.ndim == 3 else draw_tiles([*examples], names)
