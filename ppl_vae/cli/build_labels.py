"""Build what y is: the condition or the target of a model, and the training rows with the labels that it is given."""

from __future__ import annotations

import torch

from .. import networks, randomness
from ..checks import check_size
from ..data import Labels, Split, hide_labels
from ..data.hiding import known_rows, labels_in_memory
from .settings import Settings


def training_rows(settings: Settings, train: Split) -> Split:
    """The training rows, of whose labels all but --labels are hidden."""
    if settings["labels"] is None:
        return train
    return hide_labels(train, check_size("--labels", settings["labels"]), settings["seed"])


def build_condition(settings: Settings, train: Split) -> networks.Condition:
    """The condition on y; unless flags set its size, it has as many classes or numbers as the data's labels."""
    entry, model = settings.entry("condition"), settings.entry("model")
    if entry.load().observes:
        return _part_of_x(settings, train)
    labels = _known_labels(train) if "classify" in model.methods else train.labels
    if labels is None:
        raise ValueError(f"--condition {entry.name} needs data with labels y, which {train.name} does not have")
    if "classes" in entry.takes and labels.count == 1:
        raise ValueError(f"--condition {entry.name} needs labels of two classes, but all those of {train.name} are 0")
    known = {"shape": labels.shape, "classes": labels.count, "size": (*labels.shape, None)[0]}
    given = {name: value for name, value in settings.options("condition").items() if value is not None}
    dims = len(labels.shape)
    fitting = {"classes": labels.count is not None, "numbers": dims < 2, "pictures": dims == 3}
    for argument, wanted in (("classes", "classes"), ("size", "numbers"), ("shape", "pictures")):
        if argument in entry.takes and not fitting[wanted]:
            have = f"numbers of shape {tuple(labels.shape)}" if labels.count is None else "classes"
            raise ValueError(
                f"--condition {entry.name} needs labels that are {wanted}; those of {train.name} are {have}"
            )
    with randomness.unchanged():
        return entry.build({name: value for name, value in known.items() if name not in given}, given)


def _part_of_x(settings: Settings, train: Split) -> networks.Condition:
    """A condition that is a part of x, for pictures and models without codebooks."""
    entry, model = settings.entry("condition"), settings.entry("model")
    if len(train.shape) != 3:
        raise ValueError(
            f"--condition {entry.name} needs pictures; the rows of {train.name} have shape {tuple(train.shape)}"
        )
    if "quantizer" in model.takes:
        raise ValueError(f"--condition {entry.name} does not apply to --model {model.name}; use --model cvae")
    return entry.build({"shape": tuple(train.shape)}, settings.options("condition"))


def build_target(name: str, train: Split) -> networks.Condition:
    """The condition that describes the labels that a model predicts: ``Label`` for classes, ``Vector`` for numbers."""
    labels = _known_labels(train)
    if labels is None:
        raise ValueError(f"--model {name} needs data with labels y, which {train.name} does not have; use --model vae")
    if len(labels.shape) > 1:
        raise ValueError(
            f"--model {name} needs labels that are classes or numbers; those of {train.name} have shape {labels.shape}"
        )
    if labels.count == 1:
        raise ValueError(f"--model {name} needs labels of two classes, but all those of {train.name} are 0")
    with randomness.unchanged():
        if labels.count is not None:
            return networks.Label(labels.count)
        return networks.Vector((*labels.shape, None)[0], scale="standard")


def _known_labels(train: Split) -> Labels | None:
    """Description of the labels, for a model to which -1 is an unknown class.

    Raises:
        ValueError: no label that is known, or labels -1 of which it is not sure that they are unknown classes.
    """
    labels = train.labels
    if labels is None or labels.count is not None or labels.shape or labels.dtype != torch.int64:
        return labels
    y = labels_in_memory(train)
    if y is None or y.min() != -1:
        return labels
    known = y[known_rows(y)]
    if not len(known):
        raise ValueError(f"all labels of {train.name} are -1, unknown; give at least one of each class")
    if known.min() > 0:
        raise ValueError(f"the labels of {train.name} hold -1, an unknown class, but no 0; number classes from 0")
    return Labels.of(known)
