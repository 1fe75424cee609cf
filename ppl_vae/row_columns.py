"""Between the tensors of a trained model and the columns of rows: codes, predictions, and rows without a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import shortlist
from .data import Coding, Split, TableCoding
from .data.frames import as_table, is_frame, to_frame


def columns_of_predictions(
    found: Tensor, name: str, classes: Sequence[str] | None = None, labels: bool = True
) -> dict[str, Any]:
    """Probabilities (N, classes) or means (N, *event) as columns by their names.

    Args:
        found: as of ``evaluation.predict`` or ``evaluation.assign``.
        name: of the column of the most probable class, or of the means.
        classes: names of the classes, or None for their numbers.
        labels: whether ``found`` are probabilities.

    Example:
        >>> found = columns_of_predictions(torch.tensor([[0.25, 0.75]]), "predicted", ["cat", "dog"])
        >>> {name: column[0] for name, column in found.items()} == {"predicted": "dog", "p cat": 0.25, "p dog": 0.75}
        True
    """
    if not labels:
        flat = found.reshape(len(found), -1)
        names = [name] if flat.shape[1] == 1 else [f"{name}{j}" for j in range(flat.shape[1])]
        return dict(zip(names, flat.T.numpy(), strict=True))
    best = found.argmax(1).tolist()
    words = list(map(str, range(found.shape[1]))) if classes is None else [*classes]
    chosen = best if classes is None else [words[i] for i in best]
    return {name: chosen} | {f"p {word}": found[:, j].numpy() for j, word in enumerate(words)}


def codes_of_rows(codes: Any, shape: tuple[int, ...]) -> tuple[Tensor, tuple[str, list[Any]] | None]:
    """Codes of a frame, an array or a tensor, as a tensor (N, *shape), and what the rows of a frame are called."""
    if isinstance(codes, Tensor):
        return codes, None
    if is_frame(codes):
        table = as_table(codes, "codes")
        names = sorted((n for n in table.names if n[:1] == "z" and n[1:].isdigit()), key=lambda n: int(n[1:]))
        values = torch.from_numpy(table.cells(names, [False] * len(names)).values).float()
        values = values.reshape(-1, *shape) if values.shape[1] == torch.Size(shape).numel() else values
        return values, None if table.rows is None else (table.rows.title, [*table.rows.values])
    return torch.from_numpy(np.asarray(codes, dtype=np.float32)), None


def filled(coding: TableCoding, rows: Any, x: Tensor) -> dict[str, Any]:
    """Columns of imputed rows x (N, D); what was there is taken from the raw rows, since x is rounded to float32."""
    columns = coding.uncode(x)
    for name, given in coding.numbers(rows).items():
        columns[name] = np.where(np.isnan(given), columns[name], given)
    return columns


def framed(columns: dict[str, Any], like: Any, names: tuple[str, list[Any]] | None = None) -> Any:
    """Columns as a data frame, with the names of the rows, or as a mapping where the raw rows ``like`` were one."""
    if isinstance(like, dict):
        return columns
    return to_frame(columns, like if is_frame(like) else None, names)


def check_known(found: Tensor, x: Tensor, split: Split, what: str, coding: Coding) -> None:
    """ValueError for a row that missing or infinite entries leave without a code, reconstruction or prediction."""
    bad = (~found.flatten(1).isfinite().all(1) & ~x.flatten(1).isfinite().all(1)).nonzero()
    if len(bad):
        row = int(bad[0])
        entries = (~x[row].isfinite()).flatten().nonzero().flatten().tolist()
        named = [f"column {coding.names[i]!r}" for i in entries] if isinstance(coding, TableCoding) else []
        where = shortlist(named) or f"{len(entries)} of its entries"
        title, names = split.named()
        raise ValueError(
            f"{title} {names[row]} has no {what}: {where} is missing or infinite, which the model does not take; "
            "fill in such rows with impute first, or train with a likelihood that takes missing entries, as columns"
        )
