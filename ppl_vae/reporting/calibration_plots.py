"""Plots of calibration: arrays in, a matplotlib ``Figure`` out; ``evaluation.calibration`` makes the arrays.

Dimensions that pass are blue and those that do not are orange, over grey bands in which a right guide stays. By default
all pass. An array of another shape, or one that holds nothing to draw, raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from .drawing import INK, LEGEND, MUTED, PALETTE, as_array, count_along, left_out, one_axes, panels

__all__ = ["coverage", "ecdf_difference", "khat_by_datum", "rank_histogram"]

BAND = 0.99  # of the counts of each bar by itself
NAMED = 5  # data whose index is written beside their k-hat


def rank_histogram(counts: ArrayLike, names: Sequence[str], passed: ArrayLike | None = None) -> Figure:
    """Histogram of the ranks of true codes, a panel a dimension, over the band of each bar under uniform ranks.

    Args:
        counts: (bins, D), as ``SBC.histogram`` gives them.
        names: of the D dimensions.
        passed: bool (D,), which are calibrated.

    Example:
        >>> figure = rank_histogram([[9, 2], [11, 2], [10, 26]], ["z[0]", "z[1]"], [True, False])
        >>> [axes.get_title("left") for axes in figure.axes]
        ['z[0]', 'z[1]']
    """
    from scipy.stats import binom

    counts, passed = _by_dimension("counts", counts, names, passed)
    total = counts.sum(0)
    if (total <= 0).any():
        raise ValueError("counts must hold at least one rank of every dimension")
    bins, dims = counts.shape
    rows = math.ceil(dims / 2)
    figure, grid = panels(dims, 1.35 + 0.5 / rows, columns=min(dims, 2), share="xy")
    for axes, bars, n, name, good in zip(grid, counts.T, total, names, passed, strict=True):
        low, high = binom.interval(BAND, int(n), 1 / bins)
        axes.bar(np.arange(bins) + 0.5, bars, width=0.86, color=PALETTE[0] if good else PALETTE[1])
        axes.axhspan(low, high, color=MUTED, alpha=0.28, lw=0, zorder=2)
        axes.axhline(n / bins, color=MUTED, lw=1, zorder=2)
        axes.set_title(name, color=INK, size=9.5, loc="left")
        axes.set(xlim=(0, bins), xticks=[])
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    figure.supxlabel("rank of the true code among the guide's draws, lowest to highest", color=INK, size=9.5)
    return figure


def ecdf_difference(
    points: ArrayLike,
    difference: ArrayLike,
    band: tuple[ArrayLike, ArrayLike],
    passed: ArrayLike | None = None,
    level: float = 0.95,
) -> Figure:
    """ECDF of the ranks less that of uniform ones, a line a dimension, over a simultaneous band.

    Args:
        points: (L,) shares of the ranks.
        difference: (L, D).
        band: lower and upper bound, (L,) each.
        passed: bool (D,), which are calibrated.
        level: of the band, for the legend.

    Example:
        >>> d = np.array([[0.0, 0.1], [0.0, 0.2]])
        >>> figure = ecdf_difference([0.3, 0.6], d, ([-0.1, -0.1], [0.1, 0.1]), [True, False])
        >>> len(figure.axes[0].lines)
        2
    """
    points, difference = as_array("points", points), as_array("difference", difference)
    low, high = as_array("band", band[0]), as_array("band", band[1])
    difference, passed = _by_dimension("difference", difference, None, passed)
    if not (points.shape == low.shape == high.shape == difference.shape[:1]):
        raise ValueError(
            f"points and the bounds of band must have shape ({len(difference)},), as difference has rows, not "
            f"{points.shape}, {low.shape} and {high.shape}"
        )
    figure, axes = one_axes(2.9)
    ends = np.concatenate([[0.0], points, [1.0]])
    shade = axes.fill_between(ends, np.pad(low, 1), np.pad(high, 1), color=MUTED, alpha=0.28, lw=0)
    drawn = _lines(axes, ends, np.pad(difference, ((1, 1), (0, 0))), passed, lw=1.3, alpha=0.9)
    axes.set(xlim=(0, 1), xlabel="rank, as a share of the draws", ylabel="ECDF less uniform")
    names = {good: f"{'pass' if good else 'fail'}: {int((passed == good).sum())}" for good in drawn}
    handles, labels = [shade, *drawn.values()], [f"{level:.0%} band", *names.values()]
    figure.legend(handles, labels, loc="outside upper right", ncols=3, handlelength=1.4, **LEGEND)
    return figure


def coverage(
    levels: ArrayLike, value: ArrayLike, passed: ArrayLike | None = None, stderr: ArrayLike | None = None
) -> Figure:
    """Share of true codes inside central intervals against the nominal share, a line a dimension.

    Args:
        levels: nominal (C,).
        value: (C, D).
        passed: bool (D,), which are calibrated.
        stderr: binomial standard errors (C,): two of them are shaded about the diagonal.

    Example:
        >>> len(coverage([0.5, 0.9], [[0.4, 0.5], [0.7, 0.9]], [False, True]).axes[0].lines)
        3
    """
    levels = as_array("levels", levels)
    value, passed = _by_dimension("value", value, None, passed)
    if levels.shape != value.shape[:1]:
        raise ValueError(f"levels must have shape ({len(value)},), as value has rows, not {levels.shape}")
    figure, axes = one_axes(3.3)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
    order = np.argsort(levels)
    levels = levels[order]
    if stderr is not None:
        error = 2 * as_array("stderr", stderr)[order]
        axes.fill_between(levels, levels - error, levels + error, color=MUTED, alpha=0.28, lw=0)
    _lines(axes, levels, value[order], passed, lw=1.2, marker="o", ms=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal coverage", ylabel="share of true codes inside")
    for side, x, y in (("too wide", 0.04, 0.92), ("too narrow", 0.96, 0.05)):
        axes.text(x, y, side, color=MUTED, size=9, ha="left" if x < 0.5 else "right")
    return figure


def khat_by_datum(khat: ArrayLike, threshold: float = 0.7) -> Figure:
    """Pareto k-hat of every datum in ascending order; those not trusted are coloured and the worst named by index.

    Args:
        khat: (N,); entries that are not finite are left out, and the axis says how many.
        threshold: above which k-hat is not trusted, ``evaluation.trusted_khat(num_particles)``.

    Example:
        >>> [text.get_text() for text in khat_by_datum([0.1, 1.4, 0.3]).axes[0].texts]
        ['1']
    """
    khat = as_array("khat", khat)
    if khat.ndim != 1 or not np.isfinite(khat).any():
        raise ValueError(f"khat must be a vector with finite entries, not of shape {khat.shape}")
    order = np.argsort(khat, kind="stable")
    order = order[np.isfinite(khat[order])]
    values, place = khat[order], np.arange(1, len(order) + 1)
    figure, axes = one_axes(2.7)
    for among, colour in zip((values <= threshold, values > threshold), PALETTE, strict=False):
        axes.scatter(place[among], values[among], s=9, lw=0, color=colour)
    axes.axhline(threshold, color=PALETTE[1], ls="--", lw=1.5)
    last = np.inf
    for index, x, y in list(zip(order, place, values, strict=True))[: -NAMED - 1 : -1]:
        if y > threshold and last - y > 0.08 * np.ptp(values):  # a name that would cover the one above is left out
            look = {"ha": "right", "va": "center", "color": MUTED, "size": 8}
            axes.annotate(str(index), (x, y), (-5, 0), textcoords="offset points", **look)
            last = y
    count_along(axes.xaxis, 5)
    axes.set(xlabel="examples, in order of k-hat" + left_out(khat), ylabel="Pareto k-hat")
    return figure


def _lines(axes: Axes, x: np.ndarray, values: np.ndarray, passed: np.ndarray, **look: Any) -> dict[bool, Line2D]:
    """A line for every column of values (len(x), D), those that fail on top; the last of either kind for a legend."""
    drawn = {}
    for good, colour in zip((True, False), PALETTE, strict=False):
        for column in values.T[passed == good]:
            (drawn[good],) = axes.plot(x, column, color=colour, **look)
    return drawn


def _by_dimension(
    argument: str, values: ArrayLike, names: Sequence[str] | None, passed: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Values (rows, D) and flags (D,), checked."""
    values = as_array(argument, values)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{argument} must have shape (rows, D) and not be empty; its shape is {values.shape}")
    size = values.shape[1]
    flags = np.ones(size, dtype=bool) if passed is None else np.asarray(passed, dtype=bool)
    if flags.shape != (size,) or (names is not None and len(names) != size):
        raise ValueError(f"names and passed must hold one entry for each of the {size} columns of {argument}")
    return values, flags
