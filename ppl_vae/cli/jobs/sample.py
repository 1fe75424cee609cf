"""``ppl-vae sample``."""

from __future__ import annotations

from collections.abc import Sequence

from ... import evaluation
from ...checks import check_size
from ...data import TableCoding
from ...models import VAE, Discrete, SemiSupervisedVAE
from ...reporting import plots
from ..arguments import UsageError
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
        y: labels to draw for, of a conditional or semi-supervised model, or components of a mixture: one for all, or
            one each.
    """
    check_size("--n", n)
    path = target(out, (".png", ".npy", ".csv", ".parquet"))
    coding, as_rows = run.trained.coding, path.suffix.lower() in (".csv", ".parquet")
    if as_rows and not isinstance(coding, TableCoding):
        raise UsageError(f"--out {out} is for tables; the rows of {run.name} are arrays, so use .png or .npy")
    draws = draw or (as_rows and isinstance(run.model, VAE | Discrete | SemiSupervisedVAE))
    make = evaluation.sample_draws if draws else evaluation.sample_means
    rows = make(run.model, n, run.labels(y, n, drawn=True), seed=seed)
    if as_rows:
        write_table(path, coding.uncode(rows), rows)
    else:
        write_array(path, rows, plots.samples)
