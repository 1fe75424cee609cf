"""``ppl-vae reconstruct``."""

from __future__ import annotations

import torch

from ... import evaluation
from ...checks import check_size
from ...data import TableCoding
from ...reporting import plots
from ..files import target, write_array, write_table
from ..run import Examples


def reconstruct(run: Examples, n: int = 8, out: str | None = None, seed: int = 0) -> None:
    """Examples beside what the model makes of them.

    In .npy the pair of arrays, (2, n, *shape).

    Args:
        run: a run and its data.
        n: how many examples.
        out: file to write: .png for a picture, .npy for the numbers, .csv or .parquet for a table of what the model
            makes of the rows, with their names.
        seed: seed of everything drawn here.
    """
    coding = run.trained.coding
    table = isinstance(coding, TableCoding)
    path = target(out, (".csv", ".npy", ".parquet", ".png") if table else (".png", ".npy"))
    x, y, _ = run.first(check_size("--n", n))
    means = evaluation.decode(run.model, evaluation.codes(run.model, x, y, seed=seed), y, like=x)
    if path.suffix.lower() in (".csv", ".parquet"):
        names = {title: column[: len(x)] for title, column in run.named(False).items()}
        return write_table(path, names | coding.uncode(means), means)
    write_array(path, torch.stack([x, means]), lambda pair: plots.reconstructions(*pair))
