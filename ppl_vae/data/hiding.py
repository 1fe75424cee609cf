"""Hiding labels: a training split of which only some labels are known, as semi-supervised models need it."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size
from ..randomness import seed_of
from .splits import Split

_HIDDEN = 4  # purpose of a random key, beside those of the batches
_READ = 10_000  # labels of a streamed split that are read at once


def hide_labels(split: Split, n: int, seed: int = 0) -> Split:
    """A copy of a split that knows n of its labels; the others become -1, or NaN where y holds numbers.

    Labels of classes are kept as evenly as there are rows of each class; which rows is drawn by the seed. Rows whose
    label is not known already stay so. Labels of a torch Dataset are read once.

    Args:
        split: a labelled split, usually ``data.train``.
        n: how many labels stay.
        seed: chooses the rows.

    Raises:
        ValueError: a split without labels, more labels than are known, or fewer than one for each class.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models", section 4.

    Example:
        >>> from ppl_vae import data
        >>> train = hide_labels(data.load("digits").train, 100)
        >>> (train.y >= 0).sum(), train.y[train.y >= 0].bincount().tolist()
        (tensor(100), [10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    """
    owner = f"the {split.part} split of {split.name}"
    y = labels_in_memory(split)
    if y is None:
        raise ValueError(f"{check_size('n', n)} labels are to be kept, but {owner} has none; give labels y")
    known = known_rows(y)
    if check_size("n", n) > len(known):
        raise ValueError(f"{n} labels are to be kept, but {owner} has only {len(known)}; keep at most these")
    order = np.random.default_rng(seed_of(_HIDDEN, check_size("seed", seed, 0))).permutation(len(known))
    kept, out = known[torch.from_numpy(order)], torch.full_like(y, torch.nan if y.is_floating_point() else -1)
    if not y.is_floating_point() and y.dim() == 1:
        classes, which = y[kept].unique(return_inverse=True)
        if n < len(classes):
            few = f"{n} labels are to be kept, but {owner} has {len(classes)} classes"
            raise ValueError(f"{few}; keep at least one of each")
        # The first of each class, then the second of each, and so on.
        turn = torch.nn.functional.one_hot(which).cumsum(0).gather(1, which.unsqueeze(1)).squeeze(1)
        kept = kept[turn.argsort(stable=True)]
    out[kept[:n]] = y[kept[:n]]
    made = copy.copy(split)
    made.y = out
    return made


def labels_in_memory(split: Split) -> Tensor | None:
    """All labels y (N, ...) of a split, read where they are not in memory; None where it has none."""
    if split.y is None or isinstance(split.y, Tensor):
        return split.y
    return torch.cat([split.y[at : at + _READ] for at in range(0, len(split), _READ)])


def known_rows(y: Tensor) -> Tensor:
    """Positions of the labels y (N, ...) that are known: not -1, and not NaN where y holds numbers.

    Example:
        >>> known_rows(torch.tensor([3, -1, 0])), known_rows(torch.tensor([0.5, torch.nan]))
        (tensor([0, 2]), tensor([0]))
    """
    known = y.isfinite() if y.is_floating_point() else y != -1
    return known.reshape(len(y), -1).all(1).nonzero().squeeze(1)
