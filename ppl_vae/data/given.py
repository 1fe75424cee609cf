"""Your own data (tensors, arrays and torch Datasets) as splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ..randomness import seed_all, unchanged
from .labels import Labels, ReadLabels, to_labels
from .noise import hashed
from .rows import Rows, to_float
from .sources import Data
from .splits import Split


class Items:
    """Reader of a torch Dataset whose items are x, (x,) or (x, y); items are fetched again each time.

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
            self.labels = found if names else Labels(None, found.shape, found.dtype)

    def __len__(self) -> int:
        return len(self.dataset)

    def _one(self, row: int, key: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        seed_all(int(hashed(key, np.array([row]))[0]))
        item = self.dataset[row]
        x, *y = item if isinstance(item, tuple | list) else (item,)
        if len(y) > 1:
            raise ValueError(f"an item of the data set must be x, (x,) or (x, y), not {len(y) + 1} things")
        label = to_labels(y[0]) if y and y[0] is not None else None
        return to_float(x, "an item of the data set"), label

    def read(self, index: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, Tensor | None]:
        """Rows ``index``: x of shape (B, *shape), and the labels if there are any."""
        with unchanged():
            pairs = [self._one(int(row), key) for row in index]
        for row, (x, _) in zip(index, pairs, strict=True):
            if tuple(x.shape) != self.shape:
                raise ValueError(f"item {row} of the data set has shape {tuple(x.shape)} and the first {self.shape}")
        x = torch.stack([x for x, _ in pairs]) if pairs else torch.zeros(0, *self.shape, dtype=self.dtype)
        if self.label is None:
            return x, None
        y: list[Any] = [y for _, y in pairs]
        return x, torch.stack(y) if y else self.label.new_zeros(0, *self.label.shape)


def as_split(
    train: Any, *, part: str = "train", binarize: str = "none", seed: int = 0, name: str = "your data"
) -> Split:
    """A ``Split`` from any data that can be trained on.

    Values do not change. Torch tensors keep their floating dtype; numpy arrays and integers become float32. uint8
    pictures with values above 1 are refused, since they must be scaled to [0, 1] first. Labels y become int64 if their
    dtype is integer or bool, and float32 if it is a float. Items of a torch Dataset are fetched each time they are
    used, since it may augment them.

    Args:
        train: a Split, a tensor or array x of shape (N, ...), a tuple (x,) or (x, y), or a torch Dataset with a length
            whose items are x, (x,) or (x, y).
        part: "train", "valid" or "test".
        binarize: as for ``Split``.
        seed: seed of the fixed draws.
        name: name of the data in errors.

    Raises:
        TypeError: anything else.
        ValueError: empty data, x and y of different lengths, a ``Data`` rather than one of its splits.

    Example:
        >>> as_split((torch.rand(5, 3), [0, 1, 0, 1, 1]))
        Split(train, 5 rows of (3,), labelled, binarize='none')
    """
    if isinstance(train, Split):
        return train
    if isinstance(train, Data):
        raise ValueError(f"data {train.name} is a whole data set: use one of its parts, such as .train or .valid")
    options: dict[str, Any] = {"part": part, "binarize": binarize, "seed": seed, "name": name}
    if isinstance(train, Rows):
        return Split(train, **options)
    if type(train) is TensorDataset:
        train = train.tensors
    if isinstance(train, Tensor | np.ndarray):
        train = (train,)
    if isinstance(train, tuple) and train[2:] and isinstance(train[0], Tensor | np.ndarray):
        raise ValueError(f"data must be x, (x,) or (x, y), not {len(train)} tensors")
    if isinstance(train, tuple | list) and 1 <= len(train) <= 2 and not np.isscalar(train[0]):
        x = to_float(train[0], "x")
        if x.dim() == 0:
            raise ValueError(f"x is the number {x.item():g}: wanted (rows, ...)")
        split = Split(x, None if len(train) == 1 or train[1] is None else to_labels(train[1]), **options)
    elif hasattr(train, "__getitem__") and hasattr(train, "__len__") and not isinstance(train, str | dict | list):
        if len(train) == 0:
            raise ValueError("the data set is empty")
        items = Items(train)
        rows = Rows(items, where=f"x of the {part} split of {name}")
        split = Split(rows, None if items.labels is None else ReadLabels(rows), labels=items.labels, **options)
    else:
        raise TypeError(
            "data must be a split of data.load, a tensor, a tuple (x,) or (x, y), or a torch Dataset with a length, "
            f"not {type(train).__name__}"
        )
    if len(split) == 0 or split.shape.numel() == 0:
        raise ValueError(f"x is empty: its shape is {tuple(split.x.shape)}")
    return split
