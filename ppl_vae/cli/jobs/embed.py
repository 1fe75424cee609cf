"""``ppl-vae embed``."""

from __future__ import annotations

from ... import evaluation
from ..files import target, write_rows
from ..run import Examples


def embed(run: Examples, out: str | None = None, seed: int = 0) -> None:
    """Write the codes of examples.

    Args:
        run: a run and its data.
        out: file to write the codes to: .npy, or .csv with the labels.
        seed: seed of everything drawn here.
    """
    path = target(out, (".npy", ".csv"))
    x, y, labels = run.take()
    codes = evaluation.codes(run.model, x, y, seed=seed)
    header, rows = [f"z{j}" for j in range(codes.shape[1])], codes.tolist()
    if labels is not None and labels.dim() == 1:
        header = [*header, "label"]
        rows = [[*row, _number(label)] for row, label in zip(rows, labels.tolist(), strict=True)]
    write_rows(path, codes, header, rows)


def _number(value: float) -> str:
    """A number in words that read as the same kind: a real one keeps its point, as 3.0 does."""
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return text + ".0" if isinstance(value, float) and text.lstrip("-").isdigit() else text
