"""What the estimators share: seeds, numbers as scikit-learn gives them, held-out rows, and the training itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from ..checks import check_size
from ..training import fit
from ..training.history import History

FLOATS: Any = [np.float64, np.float32]
WARMUP = 1000


def plain(value: Any) -> Any:
    """A number of Python for one of numpy, as parameter grids hold them; other values unchanged.

    Example:
        >>> plain(np.arange(3)[2]), plain(None)
        (2, None)
    """
    return value.item() if isinstance(value, np.generic) else value


def layer_sizes(hidden: Any) -> list[int]:
    """Sizes of hidden layers: one number, or a sequence of them.

    Example:
        >>> layer_sizes(64), layer_sizes(np.array([64, 32]))
        ([64], [64, 32])
    """
    sizes = hidden if isinstance(hidden, list | tuple | np.ndarray) else [hidden]
    return [check_size("hidden", plain(size)) for size in sizes]


def seed_from(random_state: Any) -> int:
    """A seed for torch from scikit-learn's ``random_state``: a number, a ``RandomState``, or None for numpy's global.

    Example:
        >>> seed_from(0) == seed_from(0), seed_from(0) == seed_from(1)
        (True, False)
    """
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def held_out(rows: int, fraction: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on, and of those held out: a random share, rounded down.

    Raises:
        ValueError: a share that is not at least 0 and below 1.
    """
    fraction = plain(fraction)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction must be a share of at least 0 and below 1, not {fraction!r}")
    order = np.random.RandomState(seed).permutation(rows)
    count = int(fraction * rows)
    return np.sort(order[count:]), np.sort(order[:count])


def train(objective: nn.Module, x: Tensor, rows: tuple[np.ndarray, np.ndarray], seed: int, settings: Any) -> History:
    """Train on rows of x with the estimator's settings: epochs, batch_size, lr, patience, device, verbose.

    Where rows are held out, the weights of the epoch that is best on them are kept.

    Raises:
        ValueError: settings that cannot be right, or patience without rows that are held out.
    """
    count, out = len(rows[0]), rows[1]
    if settings["patience"] is not None and not len(out):
        raise ValueError(
            f"patience={settings['patience']!r} needs held-out rows, but validation_fraction gives none of {len(x)}; "
            "give more rows, a larger validation_fraction, or patience=None"
        )
    settings = {name: plain(value) for name, value in settings.items()}
    patience = settings.pop("patience")
    if isinstance(settings["batch_size"], int):
        settings["batch_size"] = min(settings["batch_size"], count)
    verbose = bool(settings.pop("verbose"))
    return fit(
        objective,
        x[torch.from_numpy(rows[0])],
        x[torch.from_numpy(out)] if len(out) else None,
        patience=patience,
        keep="best" if len(out) else "last",
        seed=seed,
        progress=verbose,
        **settings,
    )
