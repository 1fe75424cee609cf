"""Plots of whole tables: arrays in, a matplotlib ``Figure`` out; a panel a column, with its name, units and levels.

Tables are (N, D), NaN where an entry is missing, codes 0, ..., L-1 in columns with levels, whose words stand on the
axes. Blue is what was observed, orange what the model says. An array of another shape, or an empty one, raises
ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ..kinds import Column
from .column_panels import (
    DOTS,
    MODEL,
    OBSERVED,
    column_grid,
    diagonal,
    label,
    level_bars,
    logarithmic,
    long_tailed,
    tables,
)
from .drawing import INK, LEGEND, MUTED, as_array, panels

__all__ = ["correlation_maps", "marginals", "moments"]


def marginals(observed: ArrayLike, drawn: ArrayLike, columns: Sequence[Column]) -> Figure:
    """Each column's distribution in a table and in a model's draws.

    Numbers are histograms in their own units, of positive columns with a long tail over a logarithmic axis; counts are
    bars of shares; levels are pairs of bars, the most frequent levels first where there are many.

    Args:
        observed: (N, D), NaN where missing.
        drawn: (M, D).
        columns: the D columns to draw.

    Example:
        >>> figure = marginals([[1.0, 0], [2.0, 1]], [[1.5, 1], [3, 1]], [Column("age"), Column("ill", "binary", 2)])
        >>> [axes.get_title() for axes in figure.axes]
        ['age', 'ill']
    """
    a, b = tables(columns, observed=observed, drawn=drawn)
    figure, grid = column_grid(columns)
    for i, (axes, column) in enumerate(zip(grid, columns, strict=True)):
        first, second = (values[np.isfinite(values)] for values in (a[:, i], b[:, i]))
        axes.set_yticks([])
        axes.set_title(label(column.name, 24), color=INK, size=8)
        if not len(first):
            axes.text(0.5, 0.5, "all missing", transform=axes.transAxes, ha="center", color=MUTED, size=7.5)
            axes.set_xticks([])
        elif column.levelled:
            _bars(axes, [first, second], column)
        else:
            _histogram(axes, first, second, column.kind)
    handles = [grid[0].scatter([], [], marker="s", s=30, color=color) for color in (OBSERVED, MODEL)]
    figure.legend(handles, ["observed", "drawn from the model"], loc="outside lower center", ncols=2, **LEGEND)
    return figure


def moments(observed: ArrayLike, drawn: ArrayLike, columns: Sequence[Column]) -> Figure:
    """Mean and standard deviation of every column of a wide table, observed across and of the model's draws upwards.

    Arguments as of ``marginals``. The axes are logarithmic where all values are above 0.

    Example:
        >>> columns = [Column(name, "count") for name in "abc"]
        >>> figure = moments(np.random.poisson(3.0, (50, 3)), np.random.poisson(3.0, (50, 3)), columns)
        >>> [axes.get_title("left") for axes in figure.axes]
        ["columns' means", "columns' standard deviations"]
    """
    both = tables(columns, observed=observed, drawn=drawn)
    figure, grid = panels(2, 2.6, 2)
    both = [np.where(np.isfinite(table), table, np.nan) for table in both]
    known = ~(np.isnan(both[0]).all(0) | np.isnan(both[1]).all(0))
    for axes, which, name in zip(grid, (_mean, _spread), ("means", "standard deviations"), strict=True):
        x, y = (which(table[:, known]) for table in both)
        axes.scatter(x, y, s=9, alpha=0.6, color=OBSERVED, **DOTS)
        if known.any() and (x > 0).all() and (y > 0).all():
            logarithmic(axes.xaxis, "positive")
            logarithmic(axes.yaxis, "positive")
        diagonal(axes, x, y)
        axes.set(xlabel="observed", ylabel="drawn from the model")
        axes.set_title(f"columns' {name}", loc="left", color=INK, size=8.5)
        axes.tick_params(labelsize=7)
    return figure


def correlation_maps(
    observed: ArrayLike, drawn: ArrayLike, names: Sequence[str], marked: tuple[int, int] | None = None
) -> Figure:
    """Two correlation matrices side by side, of a table and of a model's draws.

    Args:
        observed: (D, D), between -1 and 1; NaN is left white.
        drawn: (D, D).
        names: of the D columns.
        marked: a pair of columns to frame.

    Example:
        >>> figure = correlation_maps(np.eye(2), np.ones((2, 2)), ["age", "income"], marked=(0, 1))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['age', 'income']
    """
    matrices = [as_array(name, values) for name, values in (("observed", observed), ("drawn", drawn))]
    if any(matrix.shape != (len(names),) * 2 for matrix in matrices) or not names:
        raise ValueError(f"observed and drawn must be ({len(names)}, {len(names)}), not {[m.shape for m in matrices]}")
    figure, grid = panels(2, min(3.6, 2.45 + 0.06 * max(map(len, names))), 2, share="y")
    size = 7.5 if len(names) <= 10 else 6.5
    places, words = np.arange(len(names)), [label(name, 20) for name in names]
    for axes, matrix, title in zip(grid, matrices, ("observed", "drawn from the model"), strict=True):
        picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_xticks(places, words, rotation=90)
        axes.set_yticks(places, words)
        axes.tick_params(labelsize=size)
        axes.spines[:].set_visible(False)
        axes.grid(False)
        axes.set_title(title, color=INK, size=9)
        for i, j in (marked, marked[::-1]) if marked else ():
            axes.plot(*_frame(i, j), color=INK, lw=1.3)
    bar = figure.colorbar(picture, ax=grid, orientation="horizontal", fraction=0.05, aspect=40, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label("rank correlation", color=INK, size=8)
    bar.ax.tick_params(colors=MUTED, labelsize=7, length=0)
    return figure


def _histogram(axes: Axes, first: NDArray[np.floating], second: NDArray[np.floating], kind: str) -> None:
    """Densities over the range observed and a quarter of it more; how many draws lie outside is said."""
    low, high = first.min(), first.max()
    more = (high - low) / 4 or abs(high) / 2 or 1.0
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if kind == "count":
        low, high = max(0.0, np.floor(low - more)), np.ceil(high + more)
        step = max(1, int(np.ceil((high - low + 1) / 24)))
        edges = np.arange(low, high + step + 1, step) - 0.5
        if long_tailed(first, kind):
            edges = np.unique(np.floor(np.geomspace(1, high + 2, 25))) - 1.5
    elif long_tailed(first, kind):
        edges = np.geomspace(low / 2, high * 2, 25)
    else:
        edges = np.linspace(max(0.0, low - more) if kind == "positive" else low - more, high + more, 25)
    for values, look in (
        (first, {"alpha": 0.75, "color": OBSERVED}),
        (second, {"histtype": "step", "color": MODEL, "lw": 1.5}),
    ):
        weights = np.full(len(values), 1 / max(1, len(values)))
        axes.hist(np.clip(values, -1e300, 1e300), bins=edges, weights=weights, **look)
    if long_tailed(first, kind):
        logarithmic(axes.xaxis, kind)
    outside = ((second < edges[0]) | (second > edges[-1])).mean() if len(second) else 0.0
    if outside >= 0.015:
        axes.set_xlabel(f"{outside:.0%} of draws outside", size=6.5, color=MUTED)


def _bars(axes: Axes, tables: Sequence[NDArray[np.floating]], column: Column) -> None:
    """Shares of each level in two columns of codes."""
    size = column.levels or 2
    codes = [np.clip(np.floor(values + 0.5), 0, size - 1).astype(int) for values in tables]
    shares = [np.bincount(values, minlength=size) / max(1, len(values)) for values in codes]
    heights = [lambda group, share=share: float(share[group].sum()) for share in shares]
    level_bars(axes, column, shares[0], heights, (OBSERVED, MODEL))


def _frame(i: int, j: int) -> tuple[list[float], list[float]]:
    return [j - 0.5, j + 0.5, j + 0.5, j - 0.5, j - 0.5], [i - 0.5, i - 0.5, i + 0.5, i + 0.5, i - 0.5]


def _mean(table: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.nanmean(table, 0)


def _spread(table: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.nanstd(table, 0)
