"""Plots of labels: pictures by label and code, completions, tables of classes, clusters, and predicted numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from .drawing import GAP, INK, LEGEND, MUTED, PALETTE, PAPER, as_array, as_examples, draw_rows, draw_tiles, one_axes

__all__ = ["by_label", "completions", "confusion", "exemplars", "predictions"]

WRITTEN = 20  # classes up to which a table's numbers are written into it
NAMED = 30  # classes up to which they are named


def by_label(images: ArrayLike, names: Sequence[str]) -> Figure:
    """Pictures by code, a row, and by label, a column.

    Args:
        images: (codes, labels, C, H, W), or (codes, labels, D) as fans of lines.
        names: of the labels.

    Example:
        >>> figure = by_label(np.random.rand(3, 2, 1, 8, 8), ["cat", "dog"])
        >>> len(figure.axes[0].images), [text.get_text() for text in figure.axes[0].get_xticklabels()]
        (6, ['cat', 'dog'])
    """
    images = as_examples("images", images, 2)
    if len(names) != images.shape[1]:
        raise ValueError(f"names must hold one name for each of the {images.shape[1]} labels, not {len(names)}")
    rows = [f"z {i + 1}" for i in range(len(images))]
    if images.ndim == 3:
        return draw_rows(images, [names[0], names[-1]], rows)
    figure = draw_tiles([*images], rows)
    _heads(figure, names, images.shape[3:])
    return figure


def completions(seen: ArrayLike, draws: ArrayLike, truth: ArrayLike) -> Figure:
    """Columns of a part of a picture, several draws of the rest, and the truth.

    Args:
        seen: (N, C, H, W), the rest in one colour.
        draws: (draws, N, C, H, W).
        truth: (N, C, H, W).

    Example:
        >>> x = np.random.rand(4, 1, 8, 8)
        >>> len(completions(x, np.stack([x, x]), x).axes[0].images)
        16
    """
    seen, truth, draws = as_examples("seen", seen, 1), as_examples("truth", truth, 1), as_examples("draws", draws, 2)
    if seen.shape != truth.shape or draws.shape[1:] != truth.shape:
        shapes = f"{seen.shape}, {draws.shape} and {truth.shape}"
        raise ValueError(f"seen, each of draws, and truth must have one shape, not {shapes}")
    wide, rows, names = min(len(seen), 10), [], []
    for start in range(0, len(seen), wide):
        at = slice(start, start + wide)
        rows += [seen[at], *draws[:, at], truth[at]]
        names += ["given", *(f"draw {i + 1}" for i in range(len(draws))), "data"]
    return draw_tiles(rows, names=names, group=len(draws) + 2)


def exemplars(means: ArrayLike, images: ArrayLike, names: Sequence[str]) -> Figure:
    """A row for each cluster: its mean, and examples that are surest to belong to it; pictures or fans of lines.

    Args:
        means: (clusters, C, H, W) or (clusters, D).
        images: (clusters, examples, ...), NaN where a cluster has fewer.
        names: of the clusters.

    Example:
        >>> figure = exemplars(np.random.rand(2, 1, 8, 8), np.random.rand(2, 5, 1, 8, 8), ["a", "b"])
        >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
        ['mean', 'surest']
    """
    means, images = as_examples("means", means, 1), as_examples("images", images, 2)
    if images.shape[:1] + images.shape[2:] != means.shape or len(names) != len(means):
        raise ValueError(f"means {means.shape}, images {images.shape} and {len(names)} names must be of one number")
    both = np.concatenate([means[:, None], images], 1)
    if both.ndim == 3:
        return draw_rows(both, ["mean", "examples"], list(names))
    figure = draw_tiles([row[: 1 + int(np.isfinite(row[1:]).any((1, 2, 3)).sum())] for row in both], list(names))
    _heads(figure, ["mean", "surest"], both.shape[3:])
    return figure


def confusion(table: ArrayLike, rows: Sequence[str], columns: Sequence[str], found: str = "predicted") -> Figure:
    """How many examples of each class, a row, were found to be what, a column; darker is a larger share of the row.

    Args:
        table: counts (C, K), as of ``evaluation.confusion``.
        rows: names of the classes.
        columns: names of what was found.
        found: what that is, for the axis.

    Example:
        >>> figure = confusion([[8, 2], [0, 5]], ["cat", "dog"], ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['8', '2', '0', '5']
    """
    table = as_array("table", table)
    if table.shape != (len(rows), len(columns)) or not table.size:
        raise ValueError(f"table must have a row for each of {len(rows)} and a column for each of {len(columns)} names")
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    size = 4.8 * max(0.35, min(1.6, len(rows) / len(columns)))
    figure, axes = one_axes(max(size, 2.4))
    for (i, j), part in np.ndenumerate(share):
        axes.add_patch(_cell(i, j, float(part)))
        if max(table.shape) <= WRITTEN:
            ink = "#ffffff" if part > 0.7 else INK
            at_zero = {"color": MUTED} if not table[i, j] else {"color": ink}
            axes.text(j, i, f"{table[i, j]:.0f}", ha="center", va="center", size=8, **at_zero)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel=found, ylabel="class")
    axes.set_aspect("equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    longest = max(map(len, columns))
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        if len(names) <= NAMED:
            axis.set_ticks(range(len(names)), labels=[_escaped(name) for name in names])
        else:
            axis.set_major_locator(MaxNLocator(integer=True))
    if longest > 3 and len(columns) <= NAMED:
        axes.tick_params(axis="x", rotation=90 if longest * len(columns) > 50 else 0)
    return figure


def predictions(truth: ArrayLike, predicted: ArrayLike, name: str = "y") -> Figure:
    """Predicted numbers over true ones, both (N,), beside the line on which they are equal.

    Example:
        >>> figure = predictions([1.0, 2.0], [1.1, 1.8], "age")
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('age', 'predicted age')
    """
    truth, predicted = as_array("truth", truth), as_array("predicted", predicted)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise ValueError(f"truth and predicted must be vectors of one length, not {truth.shape}, {predicted.shape}")
    figure, axes = one_axes(4.4)
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, color=MUTED, lw=1, ls="--", label="equal")
    axes.scatter(truth, predicted, s=13, color=PALETTE[0], alpha=0.6, lw=0, zorder=2)
    axes.set(xlabel=_escaped(name), ylabel=f"predicted {_escaped(name)}")
    axes.legend(**LEGEND)
    return figure


def _heads(figure: Figure, names: Sequence[str], size: tuple[int, ...]) -> None:
    """Names above the first columns of tiles."""
    axes, width = figure.axes[0], size[1] / max(size)
    places = [i * (width + GAP) + width / 2 for i in range(len(names))]
    axes.xaxis.tick_top()
    long = max(map(len, names)) > 5 and len(names) > 5
    axes.set_xticks(places, [_escaped(name) for name in names], rotation=90 if long else 0)
    axes.tick_params(axis="x", colors=MUTED, labelsize=9, length=0, pad=2)


def _cell(row: int, column: int, share: float):  # noqa: ANN202
    from matplotlib.patches import Rectangle

    box = (column - 0.47, row - 0.47), 0.94, 0.94
    return Rectangle(*box, facecolor=PALETTE[0] if share else PAPER, alpha=0.06 + 0.94 * share, linewidth=0)


def _escaped(name: str) -> str:
    return str(name).replace("$", r"\$")
