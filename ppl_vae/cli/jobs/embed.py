"""``ppl-vae embed``."""

from __future__ import annotations

from ... import evaluation
from ..files import TABLES, beside, target, write_table
from ..run import Examples


def embed(run: Examples, out: str | None = None, keep: bool = False, seed: int = 0) -> None:
    """Write the codes of examples.

    In a table the first column names the rows: by their numbers in the source, its index column or the files' names.

    Args:
        run: a run and its examples.
        out: file to write the codes to: .csv or .parquet with the names and labels of the rows, or .npy.
        keep: write the data's own columns too.
        seed: seed of everything drawn here.
    """
    path = target(out, TABLES)
    x, y, labels = run.take()
    codes = evaluation.codes(run.model, x, y, seed=seed)
    flat = codes.flatten(1)
    columns = beside(run.named(keep), {f"z{j}": flat[:, j].tolist() for j in range(flat.shape[1])})
    if labels is not None and labels.dim() == 1 and "label" not in columns:
        names = run.trained.coding.classes
        columns["label"] = [_number(label) if names is None else names[label] for label in labels.tolist()]
    write_table(path, columns, codes)


def _number(value: float) -> str:
    """A number in words that read as the same kind: a real one keeps its point, as 3.0 does."""
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return text + ".0" if isinstance(value, float) and text.lstrip("-").isdigit() else text
