"""Plots: arrays in, a matplotlib ``Figure`` out; ``evaluation`` makes the arrays from a trained model.

Every function takes numpy arrays or tensors and builds a bare ``matplotlib.figure.Figure``: no pyplot, no window, no
global state. An example is an image, ``(C, H, W)`` with C of 1, 3 or 4, or a vector ``(D,)``. Images are tiles; vectors
are bars (up to 32 entries) or lines, and points of the plane are a scatter. An array of another shape, or an empty one,
raises ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ..evaluation.figures import FIGURES
from . import drawing
from .drawing import INK, LEGEND, MUTED, PALETTE, PAPER, as_array, as_examples, left_out, one_axes, panels, save

__all__ = [
    "image_grid",
    "interpolation",
    "kl_by_dimension",
    "latent_scatter",
    "log_weights_quality",
    "manifold",
    "reconstructions",
    "samples",
    "save",
    "training_curves",
    "traversals",
]


def image_grid(images: ArrayLike, columns: int | None = None, title: str | None = None) -> Figure:
    """Tiles of images, or a panel for each vector, row by row.

    Values between 0 and 1 (or nearly) are shown as they are; others are stretched from the least to the greatest.

    Args:
        images: (N, C, H, W) or (N, D).
        columns: tiles in a row, at least 1; about the square root of N by default.
        title: a line above.

    Example:
        >>> figure = image_grid(np.random.rand(6, 1, 8, 8), columns=3)
        >>> len(figure.axes[0].images)
        6
    """
    examples = as_examples("images", images, 1)
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    columns = min(columns or drawing.square(len(examples)), len(examples))
    if examples.ndim == 2:
        return drawing.draw_panels(examples[:, None], columns, title=title)
    return drawing.draw_tiles([examples[i : i + columns] for i in range(0, len(examples), columns)], title=title)


def samples(images: ArrayLike) -> Figure:
    """Examples drawn from a model, (N, C, H, W) or (N, D): an `image_grid` without a title.

    Example:
        >>> len(samples(np.random.rand(16, 5)).axes)
        16
    """
    return image_grid(images)


def reconstructions(originals: ArrayLike, means: ArrayLike) -> Figure:
    """Each of ``originals`` above its reconstruction in ``means``, both (N, C, H, W) or (N, D); vectors share a panel.

    Example:
        >>> x = np.random.rand(5, 1, 8, 8)
        >>> len(reconstructions(x, x).axes[0].images)
        10
    """
    originals, means = as_examples("originals", originals, 1), as_examples("means", means, 1)
    if originals.shape != means.shape:
        raise ValueError(f"means must have the shape of originals, {originals.shape}, not {means.shape}")
    if originals.ndim == 2:
        return drawing.draw_panels(np.stack([originals, means], 1), labels=["data", "model"])
    wide = min(len(originals), 10)
    pairs = [(originals[i : i + wide], means[i : i + wide]) for i in range(0, len(originals), wide)]
    return drawing.draw_tiles([row for pair in pairs for row in pair], names=["data", "model"] * len(pairs), group=2)


def interpolation(images: ArrayLike) -> Figure:
    """Paths between two inputs, one a row: (rows, steps, C, H, W), or (rows, steps, D) as a fan of lines.

    Example:
        >>> len(interpolation(np.random.rand(3, 7, 1, 8, 8)).axes[0].images)
        21
    """
    return drawing.draw_rows(as_examples("images", images, 2), labels=["first input", "second input"])


def traversals(images: ArrayLike, names: Sequence[str] | None = None) -> Figure:
    """What each latent dimension changes: one dimension a row, its value growing to the right.

    Args:
        images: (dims, steps, C, H, W), or (dims, steps, D) as a fan of lines.
        names: one for each row; z1, z2, ... by default.

    Example:
        >>> figure = traversals(np.random.rand(2, 5, 3, 8, 8), names=["z4", "z9"])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['z4', 'z9']
    """
    images = as_examples("images", images, 2)
    names = [f"z{i + 1}" for i in range(len(images))] if names is None else list(names)
    if len(names) != len(images):
        raise ValueError(f"names must hold one name for each of the {len(images)} rows, not {len(names)}")
    return drawing.draw_rows(images, labels=["low", "high"], names=names)


def manifold(images: ArrayLike) -> Figure:
    """The plane of a 2-d latent space, decoded on a grid (n, n, C, H, W) or (n, n, D).

    Example:
        >>> len(manifold(np.random.rand(4, 4, 1, 8, 8)).axes[0].images)
        16
    """
    images = as_examples("images", images, 2)
    return image_grid(images.reshape(-1, *images.shape[2:]), columns=images.shape[1])


def latent_scatter(codes: ArrayLike, labels: ArrayLike | None = None, name: str = "label") -> Figure:
    """Codes in the plane, coloured by label.

    Args:
        codes: (N, 2).
        labels: (N,) numbers or names. Up to ten distinct ones are colours with a legend, and short names stand at their
            medians; more are a colour scale.
        name: what the labels are, for the colour scale.

    Example:
        >>> figure = latent_scatter(np.random.randn(9, 2), labels=[0, 1, 2] * 3)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['0', '1', '2']
    """
    codes = as_array("codes", codes)
    if codes.ndim != 2 or codes.shape[1] != 2 or not len(codes):
        raise ValueError(f"codes must have shape (N, 2), not {codes.shape}; project to two dimensions first")
    figure, axes = one_axes(4.6)
    axes.set_aspect("equal", adjustable="datalim")
    dots = {"s": 13, "linewidths": 0, "alpha": 0.75}
    if labels is None:
        axes.scatter(*codes.T, color=PALETTE[0], **dots)
        return figure
    labels = np.asarray(labels)
    if labels.shape != (len(codes),):
        raise ValueError(f"labels must have shape ({len(codes)},), one for each code, not {labels.shape}")
    kinds = np.unique(labels)
    if len(kinds) > len(PALETTE):
        numbers = labels if np.issubdtype(labels.dtype, np.number) else np.searchsorted(kinds, labels)
        bar = figure.colorbar(axes.scatter(*codes.T, c=numbers, cmap="viridis", **dots), label=name)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=MUTED, labelsize=9, length=0)
        bar.ax.yaxis.label.set(color=INK, size=9.5)
        return figure
    names = [f"{kind:g}" if isinstance(kind, np.number) else str(kind).replace("$", r"\$") for kind in kinds]
    for kind, name, colour in zip(kinds, names, PALETTE, strict=False):
        axes.scatter(*codes[labels == kind].T, color=colour, label=name, **dots)
    longest = max(map(len, names))
    for kind, name in zip(kinds, names, strict=True) if longest <= 3 else ():
        box = {"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
        x, y = np.median(codes[labels == kind], 0)
        axes.text(x, y, name, ha="center", va="center", size=10, weight="bold", color=INK, bbox=box)
    columns = max(2, min(5, 44 // (longest + 5)))
    figure.legend(loc="outside lower center", ncols=columns, markerscale=1.8, **LEGEND)
    return figure


def kl_by_dimension(kl: ArrayLike, active: ArrayLike) -> Figure:
    """``kl`` (dim,) of each latent dimension in nats per example; in colour where ``active`` (dim,) is True.

    Example:
        >>> figure = kl_by_dimension([1.5, 0.0], [True, False])
        >>> [float(bar.get_height()) for bar in figure.axes[0].patches]
        [1.5, 0.0]
    """
    kl, active = as_array("kl", kl), np.asarray(active, dtype=bool)
    if kl.ndim != 1 or kl.shape != active.shape or not len(kl):
        raise ValueError(f"kl and active must be vectors of one length, not of shapes {kl.shape} and {active.shape}")
    figure, axes = one_axes(2.7)
    numbers = np.arange(1, len(kl) + 1)
    axes.bar(numbers, kl, color=[PALETTE[0] if a else PALETTE[4] for a in active], width=0.8)
    drawing.count_along(axes.xaxis)
    axes.set(xlabel="latent dimension", ylabel="KL, nats")
    handles = [axes.scatter([], [], marker="s", s=30, color=PALETTE[i]) for i in (0, 4)]
    names = [f"active: {active.sum()}", f"not active: {(~active).sum()}"]
    figure.legend(handles, names, loc="outside upper right", ncols=2, **LEGEND)
    return figure


def training_curves(rows: Sequence[Mapping[str, Any]], terms: Sequence[str] | None = None) -> Figure:
    """Training and validation values of each term over the epochs: a panel a term.

    Args:
        rows: ``History.rows``: dicts with ``"epoch"``, ``"train"`` and maybe ``"valid"``, each a dict of terms.
        terms: which of the terms that the rows hold; by default all.

    Example:
        >>> rows = [{"epoch": i, "train": {"elbo": -90.0 / i}, "valid": {"elbo": -99.0 / i}} for i in (1, 2, 3)]
        >>> [line.get_label() for line in training_curves(rows).axes[0].lines]
        ['training', 'validation']
    """
    held = terms_of(rows)
    terms = held if terms is None else list(terms)
    missing = [term for term in terms if term not in held]
    if not terms or missing:
        raise ValueError(f"rows hold the terms {', '.join(held) or '(none)'}, not {', '.join(missing) or 'any other'}")
    figure, grid = panels(len(terms), 2.7)
    for axes, term in zip(grid, terms, strict=True):
        for part, label, colour in (("train", "training", PALETTE[0]), ("valid", "validation", PALETTE[1])):
            points = [(row["epoch"], row[part][term]) for row in rows if term in (row.get(part) or {})]
            if points:
                mark = "o" if len(points) < 12 else ""
                axes.plot(*zip(*points, strict=True), color=colour, label=label, lw=1.8, marker=mark, ms=4)
        drawing.count_along(axes.xaxis)
        axes.set_xlabel("epoch")
        axes.set_title(term_title(term), loc="left", color=INK, size=10.5)
        axes.legend(**LEGEND)
    return figure


def terms_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The terms of the loss that a history's rows hold."""
    return [*dict.fromkeys(term for row in rows for part in ("train", "valid") for term in row.get(part) or {})]


def term_title(term: str) -> str:
    """A term in words."""
    return FIGURES[term].title if term in FIGURES else term.replace("_", " ")


def log_weights_quality(khat: ArrayLike, ess: ArrayLike | None = None, threshold: float = 0.7) -> Figure:
    """Histograms of Pareto k-hat, with a line up to which weights can be trusted, and of the effective sample size.

    Args:
        khat: (N,); entries that are not finite are left out, and the axis says how many.
        ess: (N,), if wanted.
        threshold: above which k-hat is not trusted, ``evaluation.trusted_khat(num_particles)``.

    Example:
        >>> len(log_weights_quality([0.1, 0.4, 0.9], ess=[80.0, 60.0, 3.0]).axes)
        2
    """
    given = [as_array(name, v) for name, v in (("khat", khat), ("ess", ess)) if v is not None]
    if any(values.ndim != 1 or not np.isfinite(values).any() for values in given):
        raise ValueError(f"khat and ess must be vectors with finite entries, not {[v.shape for v in given]}")
    figure, grid = panels(len(given), 2.5)
    for axes, values, name in zip(grid, given, ("Pareto k-hat", "effective sample size"), strict=False):
        axes.hist(values[np.isfinite(values)], bins=30, color=PALETTE[0])
        axes.set(ylabel="examples", xlabel=name + left_out(values))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    grid[0].axvline(threshold, color=PALETTE[1], ls="--", lw=1.5)
    return figure
