"""Panels of the columns of tables: names, levels and bars, shared by the plots of tables, entries and codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from ..kinds import Column
from .drawing import INK, MUTED, PALETTE, as_array, panels

ACROSS, HEIGHT, TITLED = 3, 1.42, 1.55  # panels in a row, and inches of one, with a title of one line and two
LEVELS, LETTERS = 8, 14  # as many levels and letters of a name as fit a panel
OBSERVED, MODEL = PALETTE[0], PALETTE[1]
DOTS: dict[str, Any] = {"linewidths": 0, "rasterized": True}


def label(name: str, letters: int = LETTERS) -> str:
    r"""A name as letters of a figure, cut if it is longer.

    Example:
        >>> label("price in $"), label("a column with a very long name", 12)
        ('price in \\$', 'a column wi…')
    """
    return (name if len(name) <= letters else name[: letters - 1] + "…").replace("$", r"\$")


def level_names(column: Column) -> list[str]:
    """The words of a column's levels, or their numbers.

    Example:
        >>> level_names(Column("ill", "binary", 2)), level_names(Column("ill", "binary", 2, ("no", "yes")))
        (['0', '1'], ['no', 'yes'])
    """
    return [*column.words] if column.words else [str(k) for k in range(column.levels or 2)]


def column_grid(columns: Sequence[Column], height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each column, and its axes."""
    across = min(ACROSS, len(columns))
    figure, grid = panels(len(columns), height * (1 if across == ACROSS else 1.5), across)
    for axes in grid:
        axes.tick_params(labelsize=6.5, pad=2)
    return figure, grid


def column_title(axes: Axes, column: Column, score: str) -> None:
    """The name of a column and a score above its panel."""
    axes.set_title(f"{label(column.name, 22)}\n{score}", color=INK, size=7.5)


def number_axes(axes: Axes, values: NDArray[np.floating], kind: str) -> None:
    """About three ticks on both axes, which are logarithmic for values with a long tail."""
    for axis in (axes.xaxis, axes.yaxis):
        if long_tailed(values, kind):
            logarithmic(axis, kind)
        else:
            axis.set_major_locator(MaxNLocator(3))


def shown_levels(column: Column, counts: NDArray[np.floating]) -> tuple[list[list[int]], list[str]]:
    """Groups of levels that fit a panel and their names: all, or the most frequent and the rest."""
    names = level_names(column)
    if len(names) <= LEVELS:
        return [[k] for k in range(len(names))], [label(name, 9) for name in names]
    order = np.argsort(-counts, kind="stable").tolist()
    most, rest = order[: LEVELS - 1], order[LEVELS - 1 :]
    most = sorted(most) if column.kind == "ordinal" else most
    return [*([k] for k in most), rest], [*(label(names[k], 9) for k in most), f"{len(rest)} others"]


def level_bars(
    axes: Axes,
    column: Column,
    counts: ArrayLike,
    heights: Sequence[Callable[[list[int]], float]],
    colors: Sequence[str],
) -> None:
    """Bars side by side for each level, or group of rare ones; ``heights`` are functions of the levels of a group.

    ``counts`` (L,) decides which levels are frequent.
    """
    groups, names = shown_levels(column, np.asarray(counts))
    places = np.arange(len(groups))
    for height, shift, color in zip(heights, (-0.2, 0.2), colors, strict=True):
        axes.bar(places + shift, [height(group) for group in groups], width=0.4, color=color)
    steep = sum(map(len, names)) > 14
    axes.set_xticks(places, names, rotation=60 if steep else 0, ha="right" if steep else "center")
    if steep:
        for word in axes.get_xticklabels():
            word.set_rotation_mode("anchor")


def long_tailed(values: NDArray[np.floating], kind: str) -> bool:
    """Whether positive numbers or counts need a logarithmic axis: the largest is 20 times the median, or more."""
    if kind not in ("positive", "count") or not len(values) or (kind == "positive" and values.min() <= 0):
        return False
    return bool(values.max() >= 20 * max(np.median(values), 1.0 if kind == "count" else 0.0))


def logarithmic(axis: Axis, kind: str) -> None:
    """A logarithmic axis, of counts with 0 and 1 side by side."""
    scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
    if kind == "count":
        scale("symlog", linthresh=1)
        axis.set_major_locator(FixedLocator([0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6]))
    else:
        scale("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def diagonal(axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating]) -> None:
    """The line where x and y are equal, over the range of both."""
    both = np.concatenate([x, y])
    both = both[np.isfinite(both)]
    if len(both):
        axes.plot([both.min(), both.max()], [both.min(), both.max()], color=MUTED, lw=0.9, zorder=0.5)


def tables(columns: Sequence[Column], **given: ArrayLike) -> list[NDArray[np.floating]]:
    """Tables (N, D) of the columns as arrays, not empty."""
    found = [as_array(name, values) for name, values in given.items()]
    for name, table in zip(given, found, strict=True):
        if table.ndim != 2 or table.shape[1] != len(columns) or not table.size:
            raise ValueError(f"{name} must have shape (N, {len(columns)}), not {table.shape}, and not be empty")
    return found
