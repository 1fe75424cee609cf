"""Plots of how good an estimator's gradients are: rows of numbers in, a matplotlib ``Figure`` out.

Rows are those of ``evaluation.gradients.snr(...).rows()``, or the same read back from JSON, of one to ten estimators;
ValueError where there are none or more, or keys are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from .drawing import INK, LEGEND, MUTED, PALETTE, one_axes, panels

__all__ = ["bound", "gradient_snr"]

MARKERS = "osD^vP*Xhd"
SLOPES = ((0.5, r"$K^{1/2}$"), (-0.5, r"$K^{-1/2}$"))  # of Rainforth et al. 2018

Rows = Sequence[Mapping[str, Any]]


def gradient_snr(curves: Mapping[str, Rows]) -> Figure:
    """Signal-to-noise ratio of the encoder's gradient (above) and the decoder's (below) against K, both axes as powers.

    Bars are one standard error. Dotted lines rise as the square root of K and fall as its inverse. A ratio of 0, where
    the signal is lost in noise, is left out.

    Args:
        curves: for each estimator's name its rows: dicts with "num_particles", "group" ("encoder" or "decoder"), "snr"
            and "snr_stderr".

    Source: Rainforth et al. 2018, "Tighter variational bounds are not necessarily better".

    Example:
        >>> rows = [
        ...     {"num_particles": k, "group": group, "snr": k**slope, "snr_stderr": 0.01}
        ...     for k in (1, 10, 100)
        ...     for group, slope in (("encoder", -0.5), ("decoder", 0.5))
        ... ]
        >>> [axes.get_title(loc="left") for axes in gradient_snr({"IWAE": rows}).axes]
        ['encoder', 'decoder']
    """
    columns = ("num_particles", "snr", "snr_stderr")
    found = _points(curves, columns, by_group=True)
    figure, grid = panels(2, 3.2, share="x")
    for axes, group in zip(grid, ("encoder", "decoder"), strict=True):
        axes.set(xscale="log", yscale="log", ylabel="signal-to-noise ratio")
        axes.set_title(group, loc="left", color=INK, size=10.5)
        points = np.concatenate([part[group] for part in found.values()], 1)
        _draw(axes, {name: part[group][:, part[group][1] > 0] for name, part in found.items()})
        _draw_slopes(axes, points)
        _label_counts(axes, points[0])
    grid[-1].set_xlabel("K, samples for each datum")
    _draw_legend(figure)
    return figure


def bound(curves: Mapping[str, Rows]) -> Figure:
    """The bound of every estimator against K, in nats per example, with bars of one standard error.

    Args:
        curves: for each estimator's name its rows: dicts with "num_particles", "bound" and "bound_stderr".

    Example:
        >>> rows = [{"num_particles": k, "bound": -90 - 5 / k, "bound_stderr": 0.1} for k in (1, 10, 100)]
        >>> bound({"IWAE": rows}).axes[0].get_ylabel()
        'bound, nats per example'
    """
    found = _points(curves, ("num_particles", "bound", "bound_stderr"), by_group=False)
    figure, axes = one_axes(3.4)
    axes.set(xscale="log", xlabel="K, samples for each datum", ylabel="bound, nats per example")
    points = {name: part["all"] for name, part in found.items()}
    _draw(axes, points)
    _label_counts(axes, np.concatenate(list(points.values()), 1)[0])
    _draw_legend(figure)
    return figure


def _points(curves: Mapping[str, Rows], columns: Sequence[str], by_group: bool) -> dict[str, dict[str, NDArray]]:
    """For every estimator and group the columns (3, Ks), K ascending and each K once."""
    if not 0 < len(curves) <= len(PALETTE):
        raise ValueError(f"curves must hold 1 to {len(PALETTE)} estimators, not {len(curves)}")
    needed = {*columns, *(["group"] if by_group else [])}
    out: dict[str, dict[str, NDArray]] = {}
    for name, rows in curves.items():
        missing = sorted(needed - set.intersection(*map(set, rows)) if rows else needed)
        if missing:
            raise ValueError(f"rows of {name} must hold {', '.join(sorted(needed))}; {', '.join(missing)} is missing")
        out[name] = {}
        for group in ("encoder", "decoder") if by_group else ("all",):
            chosen = {row["num_particles"]: row for row in rows if not by_group or row["group"] == group}
            table = [[float(chosen[k][column]) for column in columns] for k in sorted(chosen)]
            out[name][group] = np.array(table).reshape(-1, 3).T
    return out


def _draw(axes: Axes, curves: Mapping[str, NDArray[np.floating]]) -> None:
    """A line with bars for each (3, Ks): K, value, error. On an axis of powers bars end at a tenth of the value.

    Equal curves are common: the first are drawn widest, so that they show behind the later ones.
    """
    for i, (name, (k, value, error)) in enumerate(curves.items()):
        below = np.minimum(error, 0.9 * value) if axes.get_yscale() == "log" else error
        extra = len(curves) - 1 - i
        look = {"color": PALETTE[i], "marker": MARKERS[i], "ms": 4.5 + 0.6 * extra, "lw": 1.4 + 0.5 * extra}
        axes.errorbar(k, value, [below, error], label=name.replace("$", r"\$"), elinewidth=1.2, capsize=2, **look)


def _draw_slopes(axes: Axes, points: NDArray[np.floating]) -> None:
    """The two powers of K, dotted, through the middle of what is shown at the smallest K."""
    k, value = points[:2, (points[1] > 0) & np.isfinite(points[1])]
    if not len(k) or k.min() == k.max():
        return
    ends = np.array([k.min(), k.max()])
    start = np.exp(np.log(value[k == k.min()]).mean())
    low, high = axes.get_ylim()
    for power, name in SLOPES:
        line = start * (ends / ends[0]) ** power
        axes.plot(ends, line, color=MUTED, ls=":", lw=1.2, zorder=1)
        axes.annotate(name, (ends[1], line[1]), (4, 0), textcoords="offset points", color=MUTED, size=9, va="center")
        low, high = min(low, line[1] / 1.3), max(high, line[1] * 1.3)
    axes.set_ylim(low, high)


def _label_counts(axes: Axes, counts: NDArray[np.floating]) -> None:
    """Ticks at the Ks themselves, as long as they are few."""
    ks = np.unique(counts)
    if len(ks) <= 8:
        axes.set_xticks(ks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)


def _draw_legend(figure: Figure) -> None:
    handles, names = figure.axes[-1].get_legend_handles_labels()
    columns = max(1, min(4, 44 // (max(map(len, names)) + 5)))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, **LEGEND)
