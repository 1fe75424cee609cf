"""Plots of the codes of tables: codes coloured by a column, what the plane of codes decodes to, what a code changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ..kinds import Column
from .column_panels import column_grid, label, level_names, tables
from .drawing import INK, LEGEND, MUTED, PALETTE, as_array, as_examples
from .plots import latent_scatter

__all__ = ["codes_by_column", "effects", "plane"]

FEW = 10  # colours of a palette


def codes_by_column(points: ArrayLike, values: ArrayLike, column: Column) -> Figure:
    """Codes in the plane, coloured by a column of their rows; grey where it is missing.

    Args:
        points: (N, 2).
        values: (N,), NaN where missing; codes 0, ..., L-1 of a column with levels.
        column: its name, kind and words.

    Example:
        >>> figure = codes_by_column(np.random.randn(3, 2), [0, 1, np.nan], Column("ill", "binary", 2, ("no", "yes")))
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['no', 'yes']
    """
    points, values = as_array("points", points), as_array("values", values)
    if values.shape != points.shape[:1] or not np.isfinite(values).any():
        raise ValueError(f"values must hold a number for each of the {len(points)} points, and not all be missing")
    known = np.isfinite(values)
    shown: np.ndarray = values[known]
    if column.levelled and len(np.unique(shown)) <= FEW:
        shown = np.array([label(name, 24).replace(r"\$", "$") for name in level_names(column)])[shown.astype(int)]
    figure = latent_scatter(points[known], shown, label(column.name, 30))
    if not known.all():
        figure.axes[0].scatter(*points[~known].T, s=9, color=PALETTE[4], alpha=0.5, linewidths=0, zorder=0.5)
    for axis, name in zip((figure.axes[0].set_xlabel, figure.axes[0].set_ylabel), ("z1", "z2"), strict=True):
        axis(name)
    return figure


def plane(decoded: ArrayLike, columns: Sequence[Column]) -> Figure:
    """What the plane of a 2-d latent space decodes to: a map a column, in its units or levels.

    Args:
        decoded: (n, n, D) as ``evaluation.manifold`` gives it: z1 grows to the right and z2 upwards.
        columns: the D columns to draw.

    Example:
        >>> figure = plane(np.random.rand(4, 4, 2), [Column("age"), Column("ill", "binary", 2, ("no", "yes"))])
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['age', 'ill']
    """
    values = as_examples("decoded", decoded, 2)
    tables(columns, decoded=values.reshape(-1, values.shape[-1]))
    figure, grid = column_grid(columns)
    for i, (axes, column) in enumerate(zip(grid, columns, strict=True)):
        size = column.levels or 2
        look = {"cmap": "viridis"}
        if column.kind == "categorical":
            norm = BoundaryNorm(np.arange(size + 1) - 0.5, size)
            few = ListedColormap(PALETTE[:size]) if size <= FEW else colormaps["viridis"].resampled(size)
            look = {"cmap": few, "norm": norm}
        elif column.levelled:
            look = {"cmap": "viridis", "vmin": 0, "vmax": size - 1}
        bar = figure.colorbar(axes.imshow(values[:, :, i], **look, interpolation="nearest"), ax=axes, fraction=0.06)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=6, length=0, colors=MUTED)
        bar.minorticks_off()
        bar.locator = MaxNLocator(3)
        if column.levelled and size <= 6:
            bar.set_ticks(range(size), labels=[label(name, 8) for name in level_names(column)])
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_title(label(column.name, 22), color=INK, size=8)
    figure.supxlabel("z1", color=INK, size=9)
    figure.supylabel("z2", color=INK, size=9)
    return figure


def effects(decoded: ArrayLike, names: Sequence[str], columns: Sequence[Column]) -> Figure:
    """What each entry of a code changes in each column: the decoded value as the entry goes from low to high.

    Args:
        decoded: (dims, steps, D), as ``evaluation.traverse`` gives it.
        names: of the entries of the code.
        columns: the D columns to draw.

    Example:
        >>> figure = effects(np.random.rand(2, 5, 1), ["z1", "z4"], [Column("age")])
        >>> figure.axes[0].get_title(), [text.get_text() for text in figure.legends[0].get_texts()]
        ('age', ['z1', 'z4'])
    """
    values = as_examples("decoded", decoded, 2)
    tables(columns, decoded=values.reshape(-1, values.shape[-1]))
    if len(names) != len(values):
        raise ValueError(f"names must hold one name for each of the {len(values)} entries, not {len(names)}")
    figure, grid = column_grid(columns)
    places = np.linspace(0, 1, values.shape[1])
    lines = []
    for i, (axes, column) in enumerate(zip(grid, columns, strict=True)):
        lines = [
            axes.plot(places, values[k, :, i], color=PALETTE[k % len(PALETTE)], lw=1.4)[0] for k in range(len(names))
        ]
        axes.set_xticks([0, 1], ["low", "high"])
        axes.set_title(label(column.name, 22), color=INK, size=8)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        words = level_names(column)
        if column.levelled and len(words) <= 5:
            axes.set_yticks(range(len(words)), [label(word, 9) for word in words])
            axes.set_ylim(-0.15, len(words) - 0.85)
    figure.legend(lines, names, loc="outside lower center", ncols=min(6, len(names)), **LEGEND)
    return figure
