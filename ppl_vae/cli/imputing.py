"""Impute: the empty cells of a table, or the missing entries of arrays and images. torch is imported late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import runs
from .arguments import UsageError, values


def impute(argv: Sequence[str]) -> int:
    """Write a table with its empty cells filled in, or arrays or pictures with their missing entries."""
    chosen = values("impute", argv)
    if chosen["data"] is None and chosen["mask"] is None:
        raise UsageError(
            "--data is needed, a .csv table or a .npy array with NaN, or --mask, the share of pixels to hide"
        )
    tabular = Path(chosen["data"] or "").suffix.lower() == ".csv"
    return _table(chosen) if tabular else _examples(chosen)


def _table(chosen: dict[str, Any]) -> int:
    table, target = runs.table_files(chosen["data"], chosen["out"])
    if chosen["mask"] is not None:
        raise UsageError("--mask hides pixels of examples; a table has its empty cells")
    import torch

    from ..data.filled import filled_csv
    from ..data.kinds import parse_kinds
    from ..data.tables import read_csv
    from ..evaluation import impute as fill_in
    from ..training.checkpoint import write_atomically

    model, kinds = runs.model(chosen), runs.kinds(chosen)
    x = torch.from_numpy(read_csv(table, kinds=kinds, only=True).x).float()
    options = {name.replace("-", "_"): chosen[name] for name in ("num-samples", "weighted", "seed")}
    done = fill_in(model, x, **options)
    write_atomically(target, filled_csv(table, parse_kinds(kinds, len(kinds)), done.x.tolist()))
    print(f"{target}: {int(done.missing.sum())} cells of {len(x)} rows filled in")
    return 0


def _examples(chosen: dict[str, Any]) -> int:
    target = runs.target(chosen["out"])
    import torch

    from ..checks import check_size
    from ..reporting import plots

    model, true = runs.model(chosen), _given(chosen)
    if true is None:
        split = runs.split(chosen).resolve(model.support)
        true = split.take(slice(0, min(check_size("--limit", chosen["limit"]), len(split))))[0]
    x = true if chosen["mask"] is None else _masked(true, chosen["mask"], chosen["seed"])
    start = _start(chosen, model)
    done = _filled(chosen, model, x, start)
    count = min(check_size("--n", chosen["n"]), len(x))
    grey = (true.nan_to_num(torch.inf).min() + true.nan_to_num(-torch.inf).max()) / 2
    rows = [
        torch.where(x.isnan(), grey, x),
        done.x,
        *([] if chosen["mask"] is None else [true.nan_to_num(float(grey))]),
    ]
    shown = torch.cat([row[:count] for row in rows])
    runs.write_array(target, done.x, lambda _: plots.image_grid(shown, columns=count))
    print(f"{int(done.missing.sum())} entries of {len(x)} examples filled in{_error(model, true, done, start)}")
    return 0


def _given(chosen: dict[str, Any]) -> Any:
    """The array of ``--data``, or None."""
    if chosen["data"] is None:
        return None
    import numpy as np
    import torch

    path = Path(chosen["data"])
    if path.suffix.lower() != ".npy":
        raise UsageError(f"--data must name a .csv or a .npy file, not {path}")
    if not path.is_file():
        raise UsageError(f"--data {path} does not exist")
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise UsageError(f"{path} is not a readable .npy file of numbers: {error}") from None


def _masked(x: Any, rate: float, seed: int) -> Any:
    """x with NaN in a share of the pixels, in every channel of one, or of the entries where x are no images."""
    if not 0 < rate < 1:
        raise UsageError(f"--mask must be a share between 0 and 1, both excluded, not {rate:g}")
    import torch

    shape = (len(x), 1, *x.shape[2:]) if x.dim() == 4 else x.shape
    hidden = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate
    return x.masked_fill(hidden, torch.nan)


def _start(chosen: dict[str, Any], model: Any) -> Any:
    """What missing entries hold at first: 0 where masking did that in training, else the mean of the training data."""
    from ..corruptions import Masking
    from ..training import RunFolder

    known = RunFolder(chosen["run"]).config().get("data")
    masked = isinstance(getattr(model, "corruption", None), Masking)
    return 0.0 if masked or not known else runs.data(chosen).train.mean()


def _filled(chosen: dict[str, Any], model: Any, x: Any, start: Any) -> Any:
    """The ``Imputation``, by the posterior predictive where the model knows missing entries."""
    from .. import evaluation, supports

    options = {"num_samples": chosen["num-samples"], "seed": chosen["seed"]}
    if hasattr(model, "likelihood") and supports.allows_missing(model.support):
        return evaluation.impute(model, x, weighted=chosen["weighted"], **options)
    if chosen["weighted"]:
        raise UsageError(f"--weighted needs a model that knows missing entries, and {chosen['run']} was trained whole")
    return evaluation.inpaint(model, x, start, **options)


def _error(model: Any, true: Any, done: Any, start: Any) -> str:
    """How far the entries that were hidden are from the truth, where it is known, and how far the start was."""
    import torch

    from .. import supports

    known = done.missing & ~true.isnan()
    if not known.any():
        return ""
    by_start = torch.as_tensor(start).expand_as(true)
    by_start = by_start.round() if supports.of(model.support) == supports.BINARY else by_start
    ours, theirs = ((guess - true)[known].square().mean().sqrt().item() for guess in (done.x, by_start))
    what = "0" if isinstance(start, float) else "the mean of the training data"
    return f", root mean square error {ours:.4f} (of {what}: {theirs:.4f})"
