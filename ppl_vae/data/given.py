"""Your own data (tensors, arrays and torch Datasets) as splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from .files import RowNames
from .frames import FrameTable
from .held import held
from .items import Items
from .labels import ReadLabels, to_labels
from .origin import Origin, fingerprint_of
from .rows import Rows, to_float
from .sources import Data
from .splits import Split
from .table_coding import find_table


def as_split(
    train: Any, *, part: str = "train", binarize: str = "none", seed: int = 0, name: str = "your data"
) -> Split:
    """A ``Split`` from any data that can be trained on.

    Values do not change. Torch tensors keep their floating dtype; numpy arrays and integers become float32. Labels y
    become int64 if their dtype is integer or bool, and float32 if it is a float. Items of a torch Dataset are fetched
    each time they are used, since it may augment them.

    Args:
        train: a Split; a tensor or array x of shape (N, ...), a tuple (x,) or (x, y); a torch or Hugging Face Dataset
            with a length whose items are x, (x,), (x, y) or mappings, or a DataLoader of one; a data frame of numbers,
            whose column ``label`` or ``y`` is y (``data.load`` reads words), an AnnData, or a sparse matrix.
        part: "train", "valid" or "test".
        binarize: as for ``Split``.
        seed: seed of the fixed draws.
        name: name of the data in errors.

    Raises:
        TypeError: anything else.
        ValueError: empty data, x and y of different lengths, uint8 pictures that are not scaled to [0, 1], a ``Data``
            rather than one of its splits.

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
    train = held(train, name)
    if isinstance(train, FrameTable):
        coding, source = find_table(train, None, None)
        x, y = torch.from_numpy(source.train[0].array), source.train[1]
        origin = Origin(coding, fingerprint_of([(x, y)]), {part: np.arange(len(x))}, source.names or RowNames())
        return Split(x, y, origin=origin, **options)
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
