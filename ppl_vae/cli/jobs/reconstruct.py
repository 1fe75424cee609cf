"""``ppl-vae reconstruct``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ... import evaluation
from ...checks import check_size
from ...data import TableCoding
from ...reporting import plots
from ..arguments import UsageError
from ..files import target, write_array, write_table
from ..run import Examples


def reconstruct(
    run: Examples, n: int = 8, out: str | None = None, to: Sequence[str] | None = None, seed: int = 0
) -> None:
    """Examples beside what the model makes of them, or of their style with other labels.

    In .npy the pair of arrays, (2, n, *shape).

    Args:
        run: a run and its data.
        n: how many examples.
        out: file to write: .png for a picture, .npy for the numbers, .csv or .parquet for a table of what the model
            makes of the rows, with their names.
        to: labels for decoding, of a conditional model: one for all examples, or one each. The examples are encoded
            with their own labels.
        seed: seed of everything drawn here.
    """
    path = target(out, (".png", ".npy", ".csv", ".parquet"))
    coding, as_rows = run.trained.coding, path.suffix.lower() in (".csv", ".parquet")
    if as_rows and not isinstance(coding, TableCoding):
        raise UsageError(f"--out {out} is for tables; the rows of {run.name} are arrays, so use .png or .npy")
    x, y, _ = run.first(check_size("--n", n))
    if to is None:
        means = evaluation.decode(run.model, evaluation.codes(run.model, x, y, seed=seed), y, like=x)
    else:
        means = evaluation.transfer(run.model, x, y, to=run.labels(to, len(x), "--to"), seed=seed)
    if as_rows:
        names = {title: column[: len(x)] for title, column in run.named(False).items()}
        return write_table(path, names | coding.uncode(means), means)
    write_array(path, torch.stack([x, means]), lambda pair: plots.reconstructions(*pair))
