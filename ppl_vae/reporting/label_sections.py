"""The report's sections on labels: pictures for a label of choice, completed pictures, predictions and clusters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import evaluation
from ..evaluation import figures
from ..evaluation.predictions import scores
from ..models import Clustering, Codec, Latent, Predictor
from ..networks import Label
from . import label_plots
from .page import Section

STYLES, MOST, NUMBERS = 6, 20, 8  # codes, labels and values of a number that are drawn
COMPLETED, DRAWS = 10, 3  # pictures that are completed, and how often each
CLUSTERS, SUREST = 30, 8  # clusters that are drawn, the largest first, and examples of each


def drawn_for(model: Any, y: Tensor | None, classes: Sequence[str] | None, drawable: Any) -> Iterator[Section]:
    """Pictures for every label, a column, of the same codes, a row.

    Args:
        model: the model.
        y: labels of training examples, or None.
        classes: names of the classes, or None.
        drawable: brings pictures into the shape in which they are drawn.
    """
    kind = model.drawn_by
    if kind is None or kind.observes or not isinstance(model, Latent) or isinstance(model, Clustering):
        return  # clusters have a section of their own
    if isinstance(kind, Label):
        labels = torch.arange(min(kind.classes, MOST))
        names, what = _names(kind, classes)[: len(labels)], "label"
    elif kind.event == () and y is not None and y.is_floating_point() and y.isfinite().any():
        labels = y[y.isfinite()].quantile(torch.linspace(0.05, 0.95, NUMBERS, dtype=y.dtype))
        names, what = [f"{value:.3g}" for value in labels.tolist()], "value of y"
    else:
        return
    columns = []
    for label in labels:
        given = label.expand(STYLES)
        columns.append(evaluation.decode(model, evaluation.random_codes(model, STYLES, given), given))
    figure = label_plots.by_label(drawable(torch.stack(columns, 1)), names)
    text = (
        f"Each column is a {what} that was asked for, each row one draw of the code, the same for every {what}: along "
        f"a row only the {what} changes."
    )
    text += " None of these exists in the data. Shown is the likelihood's mean."
    alt = f"Rows of generated examples of the same code, one {what} a column"
    yield Section("labels", f"One code, every {what}", text, [(figure, alt)])


def completed(model: Any, x: Tensor, drawable: Any) -> Iterator[Section]:
    """The part of a picture that the model is given, draws of the rest, and the truth."""
    kind = model.condition
    if kind is None or not kind.observes or not isinstance(model, Latent):
        return
    x = x[:COMPLETED]
    y = kind.of(x)
    if y.shape != x.shape or drawable(x).dim() != 4:
        return
    draws = evaluation.completions(model, x, n=DRAWS)
    grey = (x.min() + x.max()) / 2
    seen = torch.where(y == x, x, grey)
    figure = label_plots.completions(drawable(seen), drawable(draws), drawable(x))
    text = (
        f"The model is given the part of a test example that is shown in the first row. {DRAWS} codes are drawn from "
        "the prior given this part, and decoded; the last row is the whole example. Where the draws differ, the part "
        "that is given leaves the rest open."
    )
    alt = "Parts of test examples, three completions of each, and the whole examples"
    yield Section("completions", "Completed examples", text, [(figure, alt)])


def predicted(model: Any, x: Tensor, y: Tensor | None, classes: Sequence[str] | None, name: str) -> Iterator[Section]:
    """What the model predicts of test examples, beside their labels; nothing without labels."""
    if not isinstance(model, Predictor) or y is None:
        return
    kind, known = model.target, model.target.known(y)
    if not known.any():
        return
    found, y = evaluation.predict(model, x)[known], y[known].cpu()
    told = scores(model, {"predicted": found}, y)
    if isinstance(kind, Label):
        yield _confused(kind, found.argmax(1), y, _names(kind, classes), told["accuracy"])
    elif y.dim() == 1:
        figure = label_plots.predictions(y, found, name)
        text = (
            f"The prediction for each of {len(y):,} test examples, over its true value. The root mean square error is "
            f"{told['prediction_error']:.3g}"
        )
        share = told["explained"]
        text += "." if math.isnan(share) else f", and {share:.0%} of the variance is explained."
        yield Section("predictions", "Predictions", text, [(figure, "Scatter of predicted over true values")])


def clustered(
    model: Any, x: Tensor, y: Tensor | None, classes: Sequence[str] | None, drawable: Any
) -> Iterator[Section]:
    """What the clusters hold: their mean and the examples surest to be in them; and their classes, with labels."""
    if not isinstance(model, Clustering) or not isinstance(model, Codec):
        return
    found = evaluation.assign(model, x)
    best = found.argmax(1)
    counts = torch.bincount(best, minlength=model.components)
    order = counts.argsort(descending=True, stable=True)[: min(CLUSTERS, int((counts > 0).sum()))]
    weight = found[:, order]
    z = evaluation.codes(model, x).flatten(1)
    means = (weight.T @ z / weight.sum(0)[:, None]).reshape(-1, *model.code_shape)
    surest = x.new_full((len(order), min(SUREST, int(counts.max())), *x.shape[1:]), torch.nan)
    for row, cluster in enumerate(order.tolist()):
        own = (best == cluster).nonzero().flatten()
        own = own[found[own, cluster].argsort(descending=True, stable=True)][: surest.shape[1]]
        surest[row, : len(own)] = x[own]
    names = [f"{cluster}: {counts[cluster] / len(x):.0%}" for cluster in order.tolist()]
    empty = model.components - int((counts > 0).sum())
    text = (
        f"A row for each of the {len(order)} {'largest ' * (len(order) < int((counts > 0).sum()))}clusters of "
        f"{len(x):,} test examples, with its number and its share. The first picture is the decoded mean of the codes "
        "in it; the others are the test examples that are most probably in it."
    )
    text += f" {empty} of {model.components} components {'has' if empty == 1 else 'have'} no example." * (empty > 0)
    pictures = drawable(evaluation.decode(model, means)), drawable(surest)
    figure = label_plots.exemplars(*pictures, names)
    alt = "Rows of examples, one cluster each, behind the cluster's decoded mean"
    yield Section("clusters", "Clusters", text, [(figure, alt)])
    told = scores(model, {"assigned": found}, y)
    if told and y is not None:
        yield _matched(best, y.cpu(), model.components, classes, told)


def _confused(kind: Label, found: Tensor, y: Tensor, names: Sequence[str], accuracy: float) -> Section:
    table = evaluation.confusion(y, found, (kind.classes, kind.classes))
    text = (
        f"Test examples by their class, a row, and the class that the model predicts without being told, a column: "
        f"{accuracy:.1%} of {len(y):,} are right, on the diagonal."
    )
    wrong = table.clone().fill_diagonal_(0)
    if wrong.any():
        of, taken = divmod(int(wrong.argmax()), kind.classes)
        often = int(wrong.max())
        if often > 1:
            text += f" The most frequent mistake is to take {names[of]} for {names[taken]}, {often} times."
    figure = label_plots.confusion(table, names, names)
    return Section("confusion", "Predicted classes", text, [(figure, "Table of true and predicted classes")])


def _matched(
    found: Tensor, y: Tensor, components: int, classes: Sequence[str] | None, told: dict[str, float]
) -> Section:
    """The table of classes and clusters, each cluster below its class where it has one."""
    known = y >= 0
    y, found = y[known], found[known]
    size = max(int(y.max()) + 1, len(classes or ()))
    table = evaluation.confusion(y, found, (size, components))
    pairs = evaluation.matched(table)
    order = sorted(pairs, key=lambda cluster: pairs[cluster])
    order += sorted((c for c in range(components) if c not in pairs), key=lambda c: int(table[:, c].argmax()))
    names = [str(i) for i in range(size)] if classes is None else [*classes]
    agree = f"{told['cluster_accuracy']:.1%} of {len(y):,}"
    nmi, ari = (f"{figures.FIGURES[name].title} is {told[name]:.2f}" for name in ("nmi", "ari"))
    text = (
        "Test examples by their class, a row, and their cluster, a column. The classes were not used to find the "
        "clusters. Each cluster is matched to one class at most, so that most examples agree, which stand on the "
        f"diagonal: {agree} do. The {nmi}, the {ari}."
    )
    figure = label_plots.confusion(table[:, order], names, [str(cluster) for cluster in order], "cluster")
    alt = "Table of classes and clusters, matched clusters on the diagonal"
    return Section("cluster-classes", "Clusters and classes", text, [(figure, alt)])


def _names(kind: Label, classes: Sequence[str] | None) -> list[str]:
    """Names of the classes, or their numbers."""
    named = classes is not None and len(classes) == kind.classes
    return [*classes] if named and classes is not None else [str(i) for i in range(kind.classes)]
