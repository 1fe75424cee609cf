"""The section of a report on codes: the plane itself, or maps of more dimensions, coloured by label or by a column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .. import evaluation
from ..evaluation.discrete import vectors
from ..kinds import Column
from ..models import Codec, Discrete
from ..statistics.projection import neighbour_map
from . import code_plots, plots
from .page import Section
from .table_sections import Table


def codes(
    model: Codec,
    x: Tensor,
    y: Tensor | None,
    shown: Tensor | None,
    classes: Sequence[str] | None,
    named: str | None,
    table: Table | None,
) -> Section:
    """The codes of test examples as points of the plane.

    Args:
        model: the model.
        x: test examples (N, *shape).
        y: the labels that the model is given, or None.
        shown: their own labels, which colour them, or None.
        classes: names of the labels 0, 1, ..., or None.
        named: what the labels are called, or None.
        table: where x are rows of a table: then codes without labels are coloured by a column.
    """
    z, what = evaluation.codes(model, x, y), "codes"
    if isinstance(model, Discrete):
        z, what = vectors(model, z), "quantised vectors"
    dim = math.prod(z.shape[1:])
    first = evaluation.project(z)
    labels, column, how = _colours(x, shown, classes, named, table)

    def figure(points: Tensor) -> Figure:
        if column is not None and labels is not None:
            return code_plots.codes_by_column(points, labels, column)
        return plots.latent_scatter(points, labels, named or "label")

    text = f"The {what} of {len(x):,} test examples"
    figures = [(figure(first), "Scatter of the codes of test examples")]
    if dim <= 2:
        return Section("codes", "Codes", f"{text}.{how}", figures)
    total = z.flatten(1).double().var(0).sum().item() if len(z) > 1 else 0.0
    held = f", which hold {first.double().var(0).sum().item() / total:.0%} of their variance" if total > 0 else ""
    text += f", seen along the first two principal components of {dim} dimensions{held}."
    second = neighbour_map(z)
    if second is None:
        text += " UMAP, which keeps neighbours together, is drawn where umap-learn is installed."
    else:
        text += " Below, UMAP keeps neighbours together; distances and sizes of clusters mean nothing there."
        figures.append((figure(second), "UMAP of the codes of test examples"))
    return Section("codes", "Codes", text + how, figures)


def _colours(
    x: Tensor, y: Tensor | None, classes: Sequence[str] | None, named: str | None, table: Table | None
) -> tuple[Any, Column | None, str]:
    """What codes are coloured by, the column that it is, and a sentence about it."""
    if y is not None and y.shape == (len(x),):
        told = not all(name.startswith(str(i)) for i, name in enumerate(classes or ()))  # "7 - seven" tells no more
        words = classes if classes and told and not y.is_floating_point() and y.max() < len(classes) else None
        labels: Any = y.cpu().numpy()
        return labels if words is None else np.array(words)[labels], None, f" Coloured by {named or 'label'}."
    if table is None or not table.scores.isfinite().any():
        return None, None, ""
    best = int(table.scores.nan_to_num(-math.inf).argmax())
    why = "the column that the model reconstructs best from the code"
    return x[:, best].cpu(), table.columns[best], f" Coloured by {table.name(best)}, {why}."
