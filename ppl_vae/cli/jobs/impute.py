"""``ppl-vae impute``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import evaluation, supports
from ...checks import check_size
from ...corruptions import Masking
from ...data import TableCoding
from ...data.tables import filled_csv
from ...files import write_atomically
from ...models import Autoencoder
from ...reporting import plots
from ..arguments import UsageError
from ..files import target, write_array
from ..run import Examples


def impute(
    run: Examples,
    mask: float | None = None,
    out: str | None = None,
    num_samples: int = 100,
    weighted: bool = False,
    n: int = 8,
    limit: int = 1000,
    seed: int = 0,
) -> None:
    """Fill in the empty cells of a table, or missing pixels.

    Args:
        run: a run and what to fill in: with --data a .csv table with the run's columns, or a .npy array with NaN.
        mask: share of the pixels to hide, of --data or else of the examples of --split.
        out: file to write: .csv for a table, else .npy for the numbers or .png for a picture.
        num_samples: draws of the code for every row, or steps where the guess is iterated.
        weighted: weight the draws by their importance, where the model knows missing entries.
        n: how many examples to show in a picture.
        limit: only so many examples of --split.
        seed: seed of everything drawn here.
    """
    data = run.path
    if data is None and mask is None:
        raise UsageError(
            "--data is needed, a .csv table or a .npy array with NaN, or --mask, the share of pixels to hide"
        )
    options = {"num_samples": num_samples, "seed": seed}
    if Path(data or "").suffix.lower() == ".csv":
        if mask is not None:
            raise UsageError("--mask hides pixels of examples; a table has its empty cells")
        return _table(run, str(data), out, weighted=weighted, **options)
    path = target(out)
    true, y, _ = run.first(check_size("--limit", limit)) if data is None else (_array(run, data), None, None)
    y = run.labels(run.y, len(true)) if data is not None else y
    x = true if mask is None else _masked(true, mask, seed)
    known = supports.allows_missing(run.model.support)
    if weighted and not known:
        raise UsageError(f"--weighted needs a model that knows missing entries, and {run.name} was trained whole")
    start = _start(run)
    if known:
        done = evaluation.impute(run.model, x, y, weighted=weighted, **options)
    else:
        done = evaluation.inpaint(run.model, x, y, start=start, **options)
    count = min(check_size("--n", n), len(x))
    grey = (true.nan_to_num(torch.inf).min() + true.nan_to_num(-torch.inf).max()) / 2
    rows = [torch.where(x.isnan(), grey, x), done.x, *([] if mask is None else [true.nan_to_num(float(grey))])]
    shown = torch.cat([row[:count] for row in rows])
    write_array(path, done.x, lambda _: plots.image_grid(shown, columns=count))
    print(f"{int(done.missing.sum())} entries of {len(x)} examples filled in{_error(run.model, true, done, start)}")


def _table(run: Examples, data: str, out: str | None, **options: Any) -> None:
    """Write a table with its empty cells filled in."""
    if Path(out or "").suffix.lower() != ".csv":
        raise UsageError(f"--out must name a .csv file, not {out or 'nothing'}")
    path = target(out, (".csv",))
    if not Path(data).is_file():
        raise UsageError(f"--data {data} does not exist")
    coding = run.trained.coding
    if not isinstance(coding, TableCoding) or not supports.allows_missing(run.model.support):
        raise UsageError(f"{run.name} was not trained on a table with --likelihood columns, so it cannot fill one in")
    coded = coding.code(data)
    x = torch.as_tensor(coded.x)
    y = coded.y if run.y is None and run.condition is not None and coded.y is not None else run.labels(run.y, len(x))
    done = evaluation.impute(run.model, x, y, **options)
    rows = zip(*coding.uncode(done.x).values(), strict=True)
    write_atomically(path, filled_csv(Path(data), coding.columns, rows))
    print(f"{path}: {int(done.missing.sum())} cells of {len(x)} rows filled in")


def _array(run: Examples, data: str) -> Tensor:
    """The array of ``--data``, as the model takes it."""
    path = Path(data)
    if path.suffix.lower() != ".npy":
        raise UsageError(f"--data must name a .csv or a .npy file, not {path}")
    if not path.is_file():
        raise UsageError(f"--data {path} does not exist")
    return torch.as_tensor(run.trained.coding.code(path).x)


def _masked(x: Tensor, rate: float, seed: int) -> Tensor:
    """x with NaN in a share of the pixels, in every channel of one, or of the entries where x are no images."""
    if not 0 < rate < 1:
        raise UsageError(f"--mask must be a share between 0 and 1, both excluded, not {rate:g}")
    shape = (len(x), 1, *x.shape[2:]) if x.dim() == 4 else x.shape
    hidden = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate
    return x.masked_fill(hidden, torch.nan)


def _start(run: Examples) -> Tensor | float:
    """First value of missing entries: 0 where masking did that in training, else the mean of the training data.

    Without the training data, the zero of the encoder's units.
    """
    masked = isinstance(run.model, Autoencoder) and isinstance(run.model.corruption, Masking)
    train = None if masked or not run.record else run.training_rows()
    return 0.0 if masked else run.trained.middle if train is None else train.mean()


def _error(model: Any, true: Tensor, done: evaluation.Imputation, start: Tensor | float) -> str:
    """How far the entries that were hidden are from the truth, where it is known, and how far the start was."""
    known = done.missing & ~true.isnan()
    if not known.any():
        return ""
    by_start = torch.as_tensor(start).expand_as(true)
    by_start = by_start.round() if supports.of(model.support) == supports.BINARY else by_start
    ours, theirs = ((guess - true)[known].square().mean().sqrt().item() for guess in (done.x, by_start))
    what = "0" if isinstance(start, float) else "the mean of the training data"
    return f", root mean square error {ours:.4f} (of {what}: {theirs:.4f})"
