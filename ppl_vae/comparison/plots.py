"""Plots of a comparison: figures against training seconds and steps, and bars of what training took.

A line is the mean over the seeds of a setting, its band one standard error to each side. Where seeds took unlike
seconds, the mean of the seconds stands for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..reporting.drawing import INK, MUTED, PALETTE, one_axes
from .table import mean_and_error

DASHES = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2))


@dataclass(frozen=True)
class Line:
    """One setting's course: arrays of equal length over its epochs, and how it is drawn."""

    label: str
    x: list[float]
    y: list[float]
    error: list[float]
    index: int

    @property
    def style(self) -> dict[str, Any]:
        """Colours of the palette by turns, with another pattern of dashes in every turn."""
        turn, place = divmod(self.index, len(PALETTE))
        dashes = DASHES[turn % len(DASHES)]
        return {"color": PALETTE[place], "ls": (0, dashes) if dashes else "-"}


def lines(rows: Sequence[Mapping[str, Any]], figure: str, against: str, order: Sequence[str]) -> list[Line]:
    """The course of a figure against "seconds" or "step" in every setting, at the epochs where every seed has it.

    The order of the settings fixes their colours.
    """
    found = []
    for index, label in enumerate(order):
        epochs: dict[int, list[tuple[float, float | None]]] = {}
        for row in rows:
            for point in row.get("history") or () if row["setting"] == label else ():
                if "test" in point:
                    epochs.setdefault(point["epoch"], []).append((point[against], (point["test"] or {}).get(figure)))
        points = [zip(*epochs[epoch], strict=True) for epoch in sorted(epochs)]
        # Where a seed has no figure, the mean of the others would look like that of all.
        means = [(float(np.mean(x)), *mean_and_error(y)) for x, y in points if None not in y]
        if means:
            x, y, error = zip(*means, strict=True)
            found.append(Line(label, [*x], [*y], [e or 0.0 for e in error], index))
    return found


def course(drawn: Sequence[Line], name: str, against: str) -> Figure:
    """A figure's lines with their bands; the legend is the page's."""
    figure, axes = one_axes(2.9)
    for line in drawn:
        x, y, error = (np.array(values) for values in (line.x, line.y, line.error))
        axes.fill_between(x, y - error, y + error, color=line.style["color"], alpha=0.18, lw=0)
        axes.plot(x, y, **line.style, lw=1.6, marker="o" if len(x) < 12 else "", ms=3.5)
    axes.locator_params(nbins=5)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_ylim(*_room(drawn))
    axes.set_xlabel({"seconds": "seconds of training", "step": "optimizer steps"}[against])
    axes.set_title(name, loc="left", color=INK, size=10.5)
    return figure


def _room(drawn: Sequence[Line]) -> tuple[float, float]:
    """Limits that show the end of training: of many epochs, first ones far from all others are cut off."""
    y = np.concatenate([line.y for line in drawn])
    late = np.concatenate([line.y[len(line.y) // 3 if len(line.y) > 5 else 0 :] for line in drawn])
    span = max(late.max() - late.min(), 1e-9)
    low, high = max(y.min(), late.min() - span), min(y.max(), late.max() + span)
    error = max(max(line.error[len(line.y) // 3 :]) for line in drawn)
    margin = 0.06 * max(high - low, 1e-9) + min(error, span)
    return low - margin, high + margin


def bars(drawn: Sequence[tuple[str, float, float | None]], name: str) -> Figure:
    """A horizontal bar for the (label, value, standard error) of every setting; the label stands above its bar."""
    figure, axes = one_axes(0.5 + 0.42 * len(drawn))
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    for i, (label, value, error) in enumerate(drawn):
        axes.barh(-i, value, height=0.34, color=PALETTE[i % len(PALETTE)])
        axes.text(0, 0.24 - i, label, va="bottom", ha="left", size=8.5, color=INK)
        said = f"{value:.3g}" + (f" ± {error:.2g}" if error is not None else "")
        axes.text(max(value, 0), -i, f" {said}", va="center", ha="left", size=8.5, color=MUTED)
    longest = max(1e-9, *(value for _, value, _ in drawn))
    axes.set(yticks=[], xticks=[], xlim=(0, 1.3 * longest), ylim=(0.65 - len(drawn), 0.7))
    axes.set_title(name, loc="left", color=INK, size=10.5)
    return figure
