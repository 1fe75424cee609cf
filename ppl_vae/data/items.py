"""Rows that are the items of a torch Dataset, or of anything with a length and items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..randomness import seed_all, unchanged
from .held import item_of
from .labels import Labels, to_labels
from .noise import hashed
from .rows import to_float


class Items:
    """Reader of a torch Dataset whose items are x, (x,), (x, y) or mappings; items are fetched again each time.

    A Dataset that augments draws from the global random states. They are seeded by (key, row) for each item and
    restored afterwards, so an item depends on the seed, the epoch and its row, but not on the order or the workers.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        with unchanged():
            first, self.label = self._one(0, (0,))
        self.shape, self.dtype, self.labels = tuple(first.shape), first.dtype, None
        if self.label is not None:
            names = getattr(dataset, "classes", None)  # as in torchvision
            found = Labels.of(self.label[None], names)
            self.labels = found if names else replace(found, classes=None)

    def __len__(self) -> int:
        return len(self.dataset)

    def _one(self, row: int, key: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        seed_all(int(hashed(key, np.array([row]))[0]))
        x, y = item_of(self.dataset[row])
        return to_float(x, "an item of the data set"), None if y is None else to_labels(y)

    def read(self, index: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, Tensor | None]:
        """Rows ``index``: x of shape (B, *shape), and the labels if there are any."""
        with unchanged():
            pairs = [self._one(int(row), key) for row in index]
        for row, (x, _) in zip(index, pairs, strict=True):
            if tuple(x.shape) != self.shape:
                raise ValueError(f"item {row} of the data set has shape {tuple(x.shape)} and the first {self.shape}")
        if not pairs:
            none = None if self.label is None else self.label.new_zeros(0, *self.label.shape)
            return torch.zeros(0, *self.shape, dtype=self.dtype), none
        x, y = zip(*pairs, strict=True)
        return torch.stack(x), None if self.label is None else torch.stack(y)
