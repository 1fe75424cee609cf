"""Plots of the entries of tables: what was reconstructed and what was imputed, a panel a column.

Blue is right, orange wrong or the model's. An array of another shape, or an empty one, raises ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ..kinds import Column
from ..statistics.columns import accuracy
from .column_panels import (
    DOTS,
    MODEL,
    OBSERVED,
    TITLED,
    column_grid,
    column_title,
    diagonal,
    label,
    level_bars,
    number_axes,
    shown_levels,
    tables,
)
from .drawing import INK, LEGEND, MUTED, PALETTE, as_array, panels

__all__ = ["column_reconstructions", "coverage_by_column", "imputations"]


def column_reconstructions(observed: ArrayLike, means: ArrayLike, columns: Sequence[Column]) -> Figure:
    r"""Each column's entries and their reconstructions: numbers as points on a diagonal, levels as a confusion table.

    A title holds the name and R2, or the share of levels that are right.

    Args:
        observed: (N, D), NaN where missing.
        means: (N, D), the reconstructions.
        columns: the D columns to draw.

    Example:
        >>> x = np.array([[1.0, 0], [2.0, 1], [4.0, 1]])
        >>> figure = column_reconstructions(x, x, [Column("age"), Column("ill", "binary", 2, ("no", "yes"))])
        >>> [axes.get_title() for axes in figure.axes], [text.get_text() for text in figure.axes[1].get_yticklabels()]
        (['age\nR² 1.00', 'ill\n100% right'], ['no', 'yes'])
    """
    x, x2 = tables(columns, observed=observed, means=means)
    if len(x) != len(x2):
        raise ValueError(f"means must have the {len(x)} rows of observed, not {len(x2)}")
    figure, grid = column_grid(columns, TITLED)
    for i, (axes, column) in enumerate(zip(grid, columns, strict=True)):
        seen = np.isfinite(x[:, i]) & np.isfinite(x2[:, i])
        first, second, score = x[seen, i], x2[seen, i], ""
        if column.levelled and len(first):
            score = f"{accuracy(first, second):.0%} right"
            _confusion(axes, first, np.clip(np.floor(second + 0.5), 0, (column.levels or 2) - 1), column)
        elif len(first):
            if np.ptp(first) > 0:
                score = f"R² {1 - np.square(first - second).sum() / np.square(first - first.mean()).sum():.2f}"
            axes.scatter(first, second, s=7, alpha=0.55, color=OBSERVED, **DOTS)
            diagonal(axes, first, second)
            number_axes(axes, first, column.kind)
        column_title(axes, column, score or "constant" if len(first) else "all missing")
    figure.supxlabel("observed", color=INK, size=9)
    figure.supylabel("reconstructed", color=INK, size=9)
    return figure


def imputations(
    truth: Sequence[ArrayLike],
    low: Sequence[ArrayLike],
    middle: Sequence[ArrayLike],
    high: Sequence[ArrayLike],
    covered: Sequence[ArrayLike],
    agreeing: Sequence[ArrayLike],
    columns: Sequence[Column],
) -> Figure:
    r"""Hidden entries of each column and what was imputed.

    Numbers: the interval over the truth, orange where it does not hold it, so that a right model's bars cross the
    diagonal. Levels: how probable the model thought the true level, averaged over the rows that have it, beside the
    level's share of all rows.

    Args:
        truth: for each of the D columns its hidden entries (M,).
        low: the lower ends of their intervals.
        middle: medians.
        high: upper ends.
        covered: whether each interval holds its truth.
        agreeing: probability of the true level.
        columns: the D columns to draw.

    Example:
        >>> one = [[1.0, 2.0]]
        >>> figure = imputations(one, [[0.0, 1.0]], one, [[2.0, 3.0]], [[True, True]], one, [Column("age", "positive")])
        >>> figure.axes[0].get_title()
        'age\n100% inside'
    """
    if not columns or {len(given) for given in (truth, low, middle, high, covered, agreeing)} != {len(columns)}:
        raise ValueError(f"every argument must hold one array for each of the {len(columns)} columns")
    figure, grid = column_grid(columns, TITLED)
    for i, (axes, column) in enumerate(zip(grid, columns, strict=True)):
        x, bottom, point, top, p = (as_array("entries", v[i]) for v in (truth, low, middle, high, agreeing))
        inside = np.asarray(covered[i], dtype=bool)
        if not len(x):
            column_title(axes, column, "none known")
        elif column.levelled:
            column_title(axes, column, f"truth {p.mean():.0%} probable")
            _probabilities(axes, x.astype(int), p, column)
            axes.set(ylim=(0, 1), yticks=[0, 0.5, 1], yticklabels=["0", "½", "1"])
        else:
            column_title(axes, column, f"{inside.mean():.0%} inside")
            for chosen, color in ((inside, OBSERVED), (~inside, MODEL)):
                axes.vlines(x[chosen], bottom[chosen], top[chosen], color=color, lw=1, alpha=0.7)
                axes.scatter(x[chosen], point[chosen], s=6, color=color, **DOTS)
            diagonal(axes, x, np.concatenate([bottom, top]))
            number_axes(axes, x, column.kind)
    if any(column.levelled for column in columns):
        handles = [grid[0].scatter([], [], marker="s", s=30, color=color) for color in (MODEL, PALETTE[4])]
        names = ["probability given to the true level", "share of rows"]
        figure.legend(handles, names, loc="outside upper center", ncols=2, **LEGEND)
    figure.supxlabel("hidden entry", color=INK, size=9)
    figure.supylabel("imputed", color=INK, size=9)
    return figure


def coverage_by_column(share: ArrayLike, stderr: ArrayLike, names: Sequence[str], level: float = 0.9) -> Figure:
    """The share of imputation intervals that hold the truth, a line a column, with two standard errors.

    Orange are columns that are off by more than three.

    Args:
        share: (D,), NaN is left out.
        stderr: (D,) standard errors.
        names: of the D columns.
        level: nominal coverage, a dashed line.

    Example:
        >>> figure = coverage_by_column([0.88, 0.7], [0.02, 0.03], ["age", "income"])
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['age', 'income']
    """
    share, stderr = as_array("share", share), as_array("stderr", stderr)
    if share.shape != (len(names),) or stderr.shape != share.shape or not names:
        raise ValueError(
            f"share and stderr must be vectors of {len(names)}, not of shapes {share.shape}, {stderr.shape}"
        )
    figure, (axes,) = panels(1, 0.75 + 0.2 * len(names))
    places = np.arange(len(names))
    off = np.abs(share - level) > 3 * stderr
    low, high = np.clip([share - 2 * stderr, share + 2 * stderr], 0, 1)
    for chosen, color in ((~off, OBSERVED), (off, MODEL)):
        axes.hlines(places[chosen], low[chosen], high[chosen], color=color, lw=1.5)
        axes.plot(share[chosen], places[chosen], "o", ms=5, color=color)
    axes.axvline(level, color=MUTED, ls="--", lw=1.2)
    axes.set_yticks(places, [label(name, 28) for name in names])
    axes.grid(False)
    axes.set(xlim=(min(0.5, np.nanmin(np.append(low, 0.5))) - 0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("hidden entries inside, ± 2 standard errors")
    return figure


def _probabilities(axes: Axes, truth: NDArray[np.integer], p: NDArray[np.floating], column: Column) -> None:
    """Bars of the mean probability p (M,) of the true level where it is the truth, and of the level's share."""
    counts = np.bincount(truth, minlength=column.levels or 2)
    sums = np.bincount(truth, weights=p, minlength=len(counts))
    mean = lambda group: float(sums[group].sum() / max(1, counts[group].sum()))  # noqa: E731
    share = lambda group: float(counts[group].sum() / counts.sum())  # noqa: E731
    level_bars(axes, column, counts, [mean, share], (MODEL, PALETTE[4]))


def _confusion(axes: Axes, truth: NDArray[np.floating], guess: NDArray[np.floating], column: Column) -> None:
    """Shares of the reconstructed levels (rows) among the rows of each true level (columns)."""
    size = column.levels or 2
    groups, names = shown_levels(column, np.bincount(truth.astype(int), minlength=size))
    place = np.zeros(size, dtype=int)
    for k, group in enumerate(groups):
        place[group] = k
    table = np.zeros((len(groups),) * 2)
    np.add.at(table, (place[guess.astype(int)], place[truth.astype(int)]), 1)
    shares = table / np.maximum(table.sum(0), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, origin="lower", aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        if share and len(groups) <= 4:
            axes.text(
                j, i, f"{share:.0%}", ha="center", va="center", size=6.5, color="white" if share > 0.6 else "black"
            )
    axes.set_xticks(range(len(names)), names, rotation=60 if sum(map(len, names)) > 14 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.grid(False)
