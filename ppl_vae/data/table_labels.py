"""Labels y of a table: one column of classes or numbers, or several columns of numbers, the covariates of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..checks import nearest
from .labels import to_labels
from .tables import is_number

Names = str | tuple[str, ...] | None
"""The column of y, (N,), or the columns of y, (N, k); None without labels."""


def listed(labels: Names) -> list[str]:
    """The columns of the labels."""
    return [] if labels is None else [labels] if isinstance(labels, str) else [*labels]


def check_label_columns(labels: object) -> Names:
    """The argument ``labels`` of a table: a column, or different columns as a tuple."""
    if labels is None or isinstance(labels, str):
        return labels
    if not isinstance(labels, Sequence) or not labels or not all(isinstance(name, str) for name in labels):
        raise ValueError(f"labels must be a column, or a sequence of columns, not {labels!r}")
    double = next((name for name in labels if [*labels].count(name) > 1), None)
    if double is not None:
        raise ValueError(f"labels names the column {double!r} twice")
    return tuple(labels)


def found_labels(
    texts: Mapping[str, list[str]], labels: Names, where: str
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Labels of the text of their columns, and the names of the classes where one column holds words."""
    if labels is None:
        return None, None
    if not isinstance(labels, str):
        return _covariates(texts, labels, where), None
    marks = texts[labels]
    if all(is_number(mark) for mark in marks if mark):
        return _numbers(marks, where), None
    if "" in marks:
        raise ValueError(f"{where} has no label in row {marks.index('')} (counting from 0)")
    names, y = np.unique(marks, return_inverse=True)
    return to_labels(y), tuple(names.tolist())


def coded_labels(
    texts: Mapping[str, list[str]], labels: Names, classes: Sequence[str] | None, where: str
) -> Tensor | None:
    """Labels of new rows; None where they have none of the columns."""
    absent = [name for name in listed(labels) if name not in texts]
    if labels is None or len(absent) == len(listed(labels)):
        return None
    if absent:
        raise ValueError(f"{where} has no column {absent[0]!r}, one of the run's labels y: {', '.join(listed(labels))}")
    if not isinstance(labels, str):
        return _covariates(texts, labels, where)
    marks = texts[labels]
    if classes is None:
        return _numbers(marks, where)
    odd = next((mark for mark in marks if mark not in classes), None)
    if odd is not None:
        raise ValueError(
            f"{where}, column {labels!r} holds {odd!r}, which is none of the classes; {nearest(odd, classes)}"
        )
    return torch.tensor([classes.index(mark) for mark in marks])


def _covariates(texts: Mapping[str, list[str]], labels: Sequence[str], where: str) -> Tensor:
    """Columns of numbers as y (N, k), float32."""
    for name in labels:
        for row, mark in enumerate(texts[name]):
            if not mark or not is_number(mark):
                holds = f"holds {mark!r} in row {row}" if mark else f"is empty in row {row}"
                raise ValueError(
                    f"{where}, column {name!r} {holds}, but several columns of labels y must hold numbers; write words "
                    "as columns of 0 and 1, or give one column"
                )
    return torch.tensor(np.array([[float(mark) for mark in texts[name]] for name in labels], np.float64).T).float()


def _numbers(marks: Sequence[str], where: str) -> Tensor:
    odd = next((mark for mark in marks if mark and not is_number(mark)), None)
    if odd is not None:
        raise ValueError(f"{where} has the label {odd!r}, but the run's labels are numbers")
    kind = int if all(is_number(mark, int) for mark in marks) else float
    return to_labels(np.array([kind(mark) if mark else np.nan for mark in marks]))
