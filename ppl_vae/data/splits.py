"""A split: the rows of one part of a data set, with their labels, binarization and checks.

``split.x`` are the rows: float tensors in memory, or ``Rows`` that are read when indexed. Noise fixed by the seed is
already in ``.x``; fresh noise is put on by ``Batches``, batch by batch. ``take`` gives any rows as the model sees them,
with the draw that is fixed for each row, so that looking at data twice shows the same data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_size, nearest
from ..supports import allows_missing, entry
from .checks import check_drawn, check_unit, check_values, is_binary
from .noise import PARTS, Noise
from .rows import Items, Labels, Rows, positions, to_float, to_labels

MODES = ("auto", "none", "static", "dynamic")
_MEAN_ROWS = 20_000  # a streamed split's mean is taken over so many evenly spaced rows
_FIRST_ROWS = 1_000  # and so many are checked before training begins
_BLOCK = 2**24


class Split:
    """One part of a data set: rows ``x`` with labels ``y``.

    Args:
        x: (N, *shape) float tensor, or ``Rows``.
        y: (N, ...) labels or None: int64 for classes, float32 for real targets.
        part: "train", "valid" or "test". Only the training part is drawn anew each batch.
        binarize: "dynamic": a training row is a fresh Bernoulli draw of its x each time, rows of the other parts are
            drawn once; "static": every row is drawn once; "none": x as it is; "auto": decided by ``resolve``.
        levels: number of grey levels to dequantize, fresh in the training part, fixed in the others; None does not.
        seed: seed of the fixed draws.
        config: the arguments of ``load`` that make the data set again; None for data of the user's own.
        name: how errors call the data.
        index: (N,) row numbers in the source, for errors; None if rows are numbered as they are.

    Raises:
        ValueError: x and y differ in length, binarize with dequantization, values outside [0, 1] to be drawn.

    Example:
        >>> split = Split(torch.full((4, 2), 0.5), torch.arange(4), binarize="dynamic")
        >>> split, split.x[0].tolist(), sorted(split.take([0, 1])[0].unique().tolist())
        (Split(train, 4 rows of (2,), labelled, binarize='dynamic'), [0.5, 0.5], [0.0, 1.0])
    """

    def __init__(
        self,
        x: Tensor | Rows,
        y: Tensor | Labels | None = None,
        *,
        part: str = "train",
        binarize: str = "none",
        levels: int | None = None,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        name: str = "data",
        index: np.ndarray | None = None,
    ) -> None:
        if part not in PARTS:
            raise ValueError(f"unknown part {part!r}: {nearest(part, PARTS)}")
        if binarize not in MODES:
            raise ValueError(f"unknown binarize={binarize!r}: {nearest(str(binarize), MODES)}")
        if levels is not None and binarize in ("static", "dynamic"):
            raise ValueError(f"dequantize with binarize={binarize!r} would be noise on 0 and 1: choose one of the two")
        if y is not None and len(x) != len(y):
            raise ValueError(f"x has {len(x)} rows and y has {len(y)} labels: they must be as many")
        self.x, self.y, self.part, self.binarize, self.seed = x, y, part, binarize, check_size("seed", seed, 0)
        self.levels, self.config, self.name = levels, config, name
        self.index = x.index if isinstance(x, Rows) and index is None else index
        self.noise: Noise | None = None
        self._guard: tuple[Any, bool] | None = None
        self._set_noise()

    def _set_noise(self) -> None:
        if self.levels is None and self.binarize in ("auto", "none"):
            return
        noise = Noise((self.seed, PARTS.index(self.part)), self.levels)
        fresh = self.part == "train" and self.binarize != "static"
        if isinstance(self.x, Rows):
            if fresh:
                self.noise = noise
            else:
                self.x = Rows(self.x.reader, self.x.index, self.x.scale, noise, self.where)
        elif self.levels is None and all(is_binary(block) for _, block in self._blocks()):
            return  # drawing 0s and 1s leaves them as they are
        else:
            for _, block in self._blocks():
                check_unit(block, self.where)
            if fresh:
                self.noise = noise
            else:
                drawn = torch.empty_like(self.x)
                for rows, block in self._blocks():
                    drawn[int(rows[0]) : int(rows[0]) + len(rows)] = noise.fixed(block.cpu(), rows)
                self.x = drawn

    @property
    def where(self) -> str:
        """Words that name this split in an error."""
        return f"x of the {self.part} split of {self.name}"

    @property
    def shape(self) -> torch.Size:
        """Event shape of one row."""
        return torch.Size(self.x.shape[1:])

    @property
    def labelled(self) -> bool:
        """Whether batches are (x, y)."""
        return self.y is not None

    @property
    def streamed(self) -> bool:
        """Whether rows are read when asked for, rather than held in memory."""
        return isinstance(self.x, Rows)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        labelled = ", labelled" if self.labelled else ""
        shape = tuple(self.shape)
        return f"Split({self.part}, {len(self)} rows of {shape}{labelled}, binarize={self.binarize!r})"

    def _blocks(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        if isinstance(self.x, Rows):
            yield from self.x.blocks()
            return
        step = max(1, _BLOCK // max(1, self.shape.numel()))
        for start in range(0, len(self), step):
            block = self.x[start : start + step]
            yield np.arange(start, start + len(block)), block

    def fetch(self, rows: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
        """Rows without fresh noise: (x,) or (x, y). Streamed rows are checked as they come.

        Args:
            rows: (B,) int64 positions in this split.
            key: what the items of an augmenting torch Dataset depend on, such as (seed, epoch).
        """
        y = self.y
        if isinstance(self.x, Rows):
            x, own = self.x.read(rows, key)
            if self._guard is not None:
                check_values(x, rows, self.where, *self._guard, self.index, self.config is not None)
            if self.noise is not None:
                check_unit(x, self.where)
        else:
            index = torch.from_numpy(rows).to(self.x.device)
            x, own = self.x.index_select(0, index), None
        if y is None:
            return (x,)
        if isinstance(y, Tensor):
            return x, y.index_select(0, torch.from_numpy(rows).to(y.device))
        assert own is not None  # y is Labels, so the items have them
        return x, own

    def take(self, which: int | slice | Sequence[int] | np.ndarray | Tensor) -> tuple[Tensor, ...]:
        """Rows as the model sees them, (x,) or (x, y), under the draw fixed for each row.

        Example:
            >>> as_split(torch.eye(3)).take(slice(0, 2))[0].shape
            torch.Size([2, 3])
        """
        rows = positions(which, len(self))
        batch = self.fetch(rows)
        if self.noise is not None:
            batch = (self.noise.fixed(batch[0].cpu(), rows).to(batch[0].device), *batch[1:])
        return batch

    def batches(self, batch_size: int = 1000, device: str | torch.device = "cpu") -> Iterator[tuple[Tensor, ...]]:
        """Everything in order, as ``take`` gives it: batches of at most ``batch_size`` rows on ``device``."""
        check_size("batch_size", batch_size)
        for start in range(0, len(self), batch_size):
            yield tuple(part.to(device) for part in self.take(slice(start, start + batch_size)))

    def mean(self) -> Tensor:
        """Mean of x over the rows, shape ``shape``, missing entries left out, before any fresh noise.

        A streamed split of more than 20,000 rows is averaged over 20,000 evenly spaced ones.
        """
        return self._moments()[0]

    def std(self) -> Tensor:
        """Standard deviation of every entry of x over the rows, shape ``shape``, with the rows that ``mean`` takes."""
        return self._moments()[1]

    def _moments(self) -> tuple[Tensor, Tensor]:
        if len(self) == 0:
            raise ValueError(f"{self.where} is empty")
        blocks = self._blocks()
        if isinstance(self.x, Rows):
            blocks = self.x.blocks(_spaced(len(self), _MEAN_ROWS))
        total = squares = count = torch.zeros(self.shape, dtype=torch.float64)
        for _, block in blocks:
            block = block.cpu().double()
            total = total + block.nansum(0)
            squares = squares + block.square().nansum(0)
            count = count + (~block.isnan()).sum(0)
        dtype = torch.float32 if isinstance(self.x, Rows) else self.x.dtype
        mean = total / count.clamp(min=1)
        variance = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
        return mean.to(dtype), variance.sqrt().to(dtype)

    def resolve(self, support: constraints.Constraint | None) -> Split:
        """This split with ``binarize="auto"`` decided by what the likelihood can emit.

        Args:
            support: the likelihood's support. On {0, 1} "auto" becomes "dynamic", otherwise "none".

        Example:
            >>> as_split(torch.rand(4, 2), binarize="auto").resolve(constraints.boolean).binarize
            'dynamic'
        """
        if self.binarize != "auto":
            return self
        split = copy.copy(self)
        dynamic = entry(support) is constraints.boolean and self.levels is None
        split.binarize = "dynamic" if dynamic else "none"
        split.config = None if self.config is None else self.config | {"binarize": split.binarize}
        if dynamic:
            split._set_noise()
        return split

    def check(
        self, support: constraints.Constraint | None = None, needs_labels: bool = False, missing: bool = False
    ) -> None:
        """Raise unless a model of this support can be trained on this split.

        A split whose ``binarize`` is still "auto" is checked as ``resolve`` makes it. One in memory is checked
        throughout; a streamed one on its first rows (up to 1,000), and from then on each batch as it is read.

        Args:
            support: the likelihood's support, or None for any real number.
            needs_labels: whether the model needs y.
            missing: whether NaN means a missing entry, to be let through, whatever the support.

        Raises:
            ValueError: an empty split, NaN or infinity, values outside the support, labels missing.
        """
        missing = missing or allows_missing(support)
        if len(self) == 0 or self.shape.numel() == 0:
            raise ValueError(f"{self.where} is empty: its shape is {tuple(self.x.shape)}")
        if needs_labels and not self.labelled:
            raise ValueError(
                f"labels y are needed, but the {self.part} split of {self.name} has none; give (x, y), a 'label' "
                "column or a folder for each class"
            )
        if needs_labels and isinstance(self.y, Tensor) and not self.y.isfinite().all():
            row = int((~self.y.isfinite().reshape(len(self), -1).all(1)).nonzero()[0])
            raise ValueError(
                f"labels y are needed, but row {self._row(row)} of the {self.part} split of {self.name} has none"
            )
        if self.binarize == "auto":
            self.resolve(support).check(support, missing=missing)
            return
        drawn = self.noise or (self.x.noise if isinstance(self.x, Rows) else None)
        if drawn is not None:
            check_drawn(drawn.levels, self.where, support)
            support = None
        if isinstance(self.x, Rows):
            self._guard = (support, missing)
            few = max(1, min(len(self), _FIRST_ROWS, _BLOCK // self.shape.numel()))
            self.fetch(np.arange(few))
        else:
            for rows, block in self._blocks():
                check_values(block, rows, self.where, support, missing, self.index, self.config is not None)

    def _row(self, position: int) -> int:
        """Row number in the source, where it is known."""
        return int(position if self.index is None else self.index[position])


def as_split(
    train: Any, *, part: str = "train", binarize: str = "none", seed: int = 0, name: str = "your data"
) -> Split:
    """What a user may train on, as a ``Split``.

    The values are taken as they are. Torch tensors keep their floating dtype; numpy arrays and integers become
    float32. uint8 pictures above 1 are refused, since they have to be scaled to [0, 1] first. Labels y become int64
    where their dtype is integer or bool, and float32 where it is a floating one, whatever their values. Items of a
    torch Dataset are asked for anew each time they are used, since it may augment them.

    Args:
        train: a Split, a tensor or array x of shape (N, ...), a tuple (x,) or (x, y), or a torch Dataset with a length
            whose items are x, (x,) or (x, y).
        part: "train", "valid" or "test".
        binarize: as for ``Split``; "none" leaves a user's own data as they are.
        seed: seed of the fixed draws.
        name: how errors call the data.

    Raises:
        TypeError: anything else.
        ValueError: empty data, x and y of different lengths, a ``Data`` rather than one of its splits.

    Example:
        >>> as_split((torch.rand(5, 3), [0, 1, 0, 1, 1]))
        Split(train, 5 rows of (3,), labelled, binarize='none')
    """
    if isinstance(train, Split):
        return train
    if isinstance(getattr(train, "train", None), Split):
        raise ValueError(f"data {train.name} is a whole data set: say which part, such as its .train or .valid")
    options = {"part": part, "binarize": binarize, "seed": seed, "name": name}
    if isinstance(train, Rows):
        return Split(train, **options)
    if type(train) is torch.utils.data.TensorDataset:
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
        split = Split(rows, Labels(rows) if items.labelled else None, **options)
    else:
        raise TypeError(
            "data must be a split of data.load, a tensor, a tuple (x,) or (x, y), or a torch Dataset with a length, "
            f"not {type(train).__name__}"
        )
    if len(split) == 0 or split.shape.numel() == 0:
        raise ValueError(f"x is empty: its shape is {tuple(split.x.shape)}")
    return split


def _spaced(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
