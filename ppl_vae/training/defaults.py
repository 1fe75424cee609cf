"""What ``fit`` does where it is not told: how long to train, and which weights to keep.

The number of optimizer steps decides nearly all. On six small data sets (digits, 1,200 pictures of MNIST, three tables
of 178 to 569 rows, 1,200 rows of 300 counts) 20 epochs are 40 to 240 steps and leave the code unused; 3,000 steps reach
nine tenths of what much longer training gains, as ``python -m benchmarks.first_commands`` shows. Tables overfit before
that, which keeping the best weights on validation data undoes. From 19,201 rows in batches of 128, 20 epochs are more.
"""

from __future__ import annotations

from typing import Any, Literal

from ..checks import nearest
from .folder import RunFolder

LEAST_EPOCHS = 20
LEAST_STEPS = 3_000
Keep = Literal["best", "last"]


def default_batch_size(rows: int) -> int:
    """Examples in a batch: 128, or all the data where they are fewer."""
    return min(128, rows)


def default_epochs(rows: int, batch_size: int | None = None, accumulate: int = 1) -> int:
    """Passes over the training data: at least 20, and as many as make 3,000 optimizer steps.

    Args:
        rows: training examples.
        batch_size: examples a batch; None for ``default_batch_size(rows)``.
        accumulate: batches an optimizer step.

    Example:
        >>> default_epochs(55_000), default_epochs(1439), default_epochs(142)  # MNIST, digits, wine
        (20, 250, 1500)
    """
    batches = -(-rows // (default_batch_size(rows) if batch_size is None else batch_size))
    return max(LEAST_EPOCHS, -(-LEAST_STEPS // -(-batches // accumulate)))


def kept(keep: Any, long_enough: bool, patience: int | None, watched: bool, run: RunFolder | None) -> str:
    """Which weights to keep, "best" or "last": as asked, else as in the run that is resumed, else by ``fit``'s rule.

    Args:
        keep: what the caller asks for, or None.
        long_enough: whether the number of epochs is the default one.
        patience: that of ``fit``.
        watched: whether there are validation data and a term to watch on them.
        run: the run that is resumed, or None.

    Raises:
        ValueError: another word.
    """
    if keep not in ("best", "last", None):
        raise ValueError(f"keep {keep!r} is unknown; {nearest(str(keep), ('best', 'last'))}")
    before = run.config().get("training", {}).get("keep") if run is not None and run.config_file.exists() else None
    if keep is not None or before is not None:
        return keep or before
    return "best" if patience is not None or (long_enough and watched) else "last"
