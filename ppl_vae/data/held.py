"""What people hold rows in: data frames, AnnData, sparse matrices, Hugging Face and torch Datasets, DataLoaders.

``held`` brings each to one of the few forms that the rest of the package takes; nothing here imports their libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from .files import RowNames
from .frames import FrameTable, as_table, is_frame

X_NAMES = ("x", "image", "img", "pixel_values", "features", "data", "input")
Y_NAMES = ("y", "label", "labels", "target")


def held(value: Any, where: str = "the data") -> Any:
    """A table, an array or tensor, a pair (x, y), a sequence of items with a length, or what it was.

    Raises:
        TypeError: a stream without a length, or a mapping or items without x.
        ValueError: a DataLoader with a choice or a collation of its own, which would not be used.

    Example:
        >>> held({"a": [1.0, 2.0]}).names
        ['a']
        >>> x, y = held({"x": torch.zeros(3, 1, 2, 2), "label": [0, 1, 0]})
        >>> x.shape
        torch.Size([3, 1, 2, 2])
    """
    if isinstance(value, DataLoader):
        value = _dataset(value, where)
    if isinstance(value, IterableDataset):
        raise TypeError(f"{where} is a stream without a length ({type(value).__name__}); give a Dataset with a length")
    if _is_anndata(value):
        return _annotated(value, where)
    if is_sparse(value):
        return value.toarray()
    if _is_hugging_face(value):
        names = [*value.column_names]
        return as_table(value.to_pandas(), where) if _x_name(names) is None else _Items(value)
    if isinstance(value, Mapping) and (name := _x_name(value)) is not None and np.ndim(value[name]) > 1:
        label = next((value[n] for n in Y_NAMES if n in value), None)
        return value[name] if label is None else (value[name], label)
    return as_table(value, where) if is_frame(value) else value


def _dataset(loader: DataLoader[Any], where: str) -> Any:
    """What a loader loads, if it loads all of it as it is: batches and their order are made elsewhere."""
    sampler, batches = loader.sampler, loader.batch_sampler
    some = isinstance(sampler, RandomSampler) and (sampler.replacement or sampler.num_samples != len(loader.dataset))
    unlike = not isinstance(sampler, RandomSampler | SequentialSampler) or some
    if not isinstance(loader.dataset, IterableDataset) and (unlike or type(batches) not in (BatchSampler, type(None))):
        raise ValueError(
            f"{where} is a DataLoader with a {type(sampler if unlike else batches).__name__}, which would not be used, "
            "since batches are drawn anew from all rows; give the rows it chooses, as torch.utils.data.Subset"
        )
    if loader.collate_fn not in (default_collate, default_convert):
        raise ValueError(
            f"{where} is a DataLoader with a collate_fn, which would not be used, since batches are made of single "
            "items; give a Dataset whose items are as it makes them"
        )
    return loader.dataset


def item_of(item: Any) -> tuple[Any, Any]:
    """x and y (or None) of an item of a Dataset: x, (x,), (x, y), or a mapping with x or image, and y or label.

    Example:
        >>> item_of({"image": torch.zeros(2), "label": 3})
        (tensor([0., 0.]), 3)
    """
    if isinstance(item, Mapping):
        name = _x_name(item)
        if name is None:
            raise TypeError(
                f"an item of the data set has {', '.join(map(str, item))}, and none of {', '.join(X_NAMES)}; "
                "use a Dataset of (x, y)"
            )
        return item[name], next((item[n] for n in Y_NAMES if n in item), None)
    x, *y = item if isinstance(item, tuple | list) else (item,)
    if len(y) > 1:
        raise ValueError(f"an item of the data set must be x, (x,) or (x, y), not {len(y) + 1} things")
    return x, y[0] if y else None


def picture(x: Any) -> Any:
    """A PIL image as grey levels in [0, 1], (C, H, W); anything else as it is."""
    if not (type(x).__module__.startswith("PIL.") and callable(x.convert)):
        return x
    mode = "L" if x.mode in ("1", "L", "LA") else "RGB"
    array = np.array(x.convert(mode))
    return torch.from_numpy(array).view(*array.shape[:2], -1).movedim(-1, 0).float() / 255


def is_sparse(value: Any) -> bool:
    """Whether a value is a scipy.sparse matrix or array."""
    return type(value).__module__.startswith("scipy.sparse")


def _is_anndata(value: Any) -> bool:
    return all(name in dir(type(value)) for name in ("obs_names", "var_names", "X"))


def _is_hugging_face(value: Any) -> bool:
    return all(name in dir(type(value)) for name in ("column_names", "with_format", "to_pandas"))


def _x_name(names: Any) -> str | None:
    return next((name for name in X_NAMES if name in names), None)


def _annotated(value: Any, where: str) -> FrameTable:
    """A table of the variables of an AnnData, whose observations give further columns as text: labels, covariates."""
    x = value.X.toarray() if is_sparse(value.X) else np.asarray(value.X)
    columns: dict[str, Any] = {str(name): x[:, i] for i, name in enumerate(value.var_names)}
    rows = RowNames(str(value.obs_names.name or "cell"), [str(name) for name in value.obs_names])
    aside = {str(name): value.obs[name].tolist() for name in value.obs.columns if str(name) not in columns}
    return FrameTable(columns, where, rows, plain=True, aside=aside)


class _Items:
    """A Hugging Face Dataset as a sequence of items."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        label = next((name for name in Y_NAMES if name in dataset.column_names), None)
        names = vars(dataset.features[label]).get("names") if label is not None else None
        if names:
            self.classes = [str(name) for name in names]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Tensor, Any]:
        x, y = item_of(self.dataset[row])
        x = picture(x)
        return x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x), dtype=torch.float32), y
