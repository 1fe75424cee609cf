"""``ppl-vae sample``."""

from __future__ import annotations

from collections.abc import Sequence

from ... import evaluation
from ...data import TableCoding
from ...models import VAE
from ...reporting import plots
from ..files import target, write_array, write_table
from ..run import Run


def sample(
    run: Run, n: int = 64, out: str | None = None, draw: bool = False, seed: int = 0, y: Sequence[str] | None = None
) -> None:
    """Draw from a trained model.

    Args:
        run: a run.
        n: how many.
        out: file to write: .png for a picture, .npy for the numbers, .csv or .parquet for a table with the names,
            units and words of the training data; a table has draws, never means.
        draw: draw from the likelihood instead of writing its means.
        seed: seed of everything drawn here.
        y: labels to draw for, of a conditional model: one for all, or one each.
    """
    coding = run.trained.coding
    table = isinstance(coding, TableCoding)
    path = target(out, (".csv", ".npy", ".parquet", ".png") if table else (".png", ".npy"))
    as_rows = path.suffix.lower() in (".csv", ".parquet") and isinstance(run.model, VAE)
    make = evaluation.sample_draws if draw or as_rows else evaluation.sample_means
    rows = make(run.model, n, run.labels(y, n), seed=seed)
    if path.suffix.lower() in (".csv", ".parquet"):
        write_table(path, coding.uncode(rows), rows)
    else:
        write_array(path, rows, plots.samples)
