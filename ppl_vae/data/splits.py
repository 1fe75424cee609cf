"""A split: the rows of one part of a data set, with their labels, binarization and checks.

``split.x`` are the rows: float tensors in memory, or ``Rows`` that are read when indexed. ``.x`` includes fixed noise;
``Batches`` adds fresh noise, batch by batch. ``take`` returns any rows as the model gets them, with a fixed draw for
each row, so that taking rows twice gives the same values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_size, nearest
from ..supports import allows_missing, entry
from .checks import check_drawn, check_unit, check_values, is_binary, is_unit
from .coding import Coding
from .files import RowNames
from .labels import Labels, ReadLabels
from .noise import PARTS, Noise
from .origin import Origin
from .rows import BLOCK, Rows, blocks, ends, filled, moments, positions

MODES = ("auto", "none", "static", "dynamic")
_MEAN_ROWS = 20_000  # evenly spaced rows for the mean of a streamed split
_FIRST_ROWS = 1_000  # rows of a streamed split that are checked before training


class Split:
    """One part of a data set: rows ``x`` with labels ``y``.

    Args:
        x: (N, *shape) float tensor, or ``Rows``.
        y: (N, ...) labels or None: int64 for classes, float32 for real targets.
        part: "train", "valid" or "test". Only the training part is drawn again in each batch.
        binarize: "dynamic": a training row is a fresh Bernoulli draw of its x each time, rows of the other parts are
            drawn once; "static": every row is drawn once; "none": x as it is; "auto": ``resolve`` decides; before
            that, rows that could be drawn cannot be taken.
        levels: number of grey levels to dequantize, fresh in the training part, fixed in the others; None: not at all.
        seed: seed of the fixed draws.
        config: the arguments of ``load`` that load the data set again; None for your own data.
        name: name of the data in errors.
        index: (N,) row numbers in the source, for errors; None for 0, 1, ...
        labels: description of y; None: found in y.
        origin: where the rows come from; None for rows of no known source.

    Raises:
        ValueError: x and y differ in length, binarize with dequantization, values to draw outside [0, 1].

    Example:
        >>> split = Split(torch.full((4, 2), 0.5), torch.arange(4), binarize="dynamic")
        >>> split, split.x[0].tolist(), sorted(split.take([0, 1])[0].unique().tolist())
        (Split(train, 4 rows of (2,), labelled, binarize='dynamic'), [0.5, 0.5], [0.0, 1.0])
    """

    def __init__(
        self,
        x: Tensor | Rows,
        y: Tensor | ReadLabels | None = None,
        *,
        part: str = "train",
        binarize: str = "none",
        levels: int | None = None,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        name: str = "data",
        index: np.ndarray | None = None,
        labels: Labels | None = None,
        origin: Origin | None = None,
    ) -> None:
        for argument, value, allowed in (("part", part, PARTS), ("binarize", binarize, MODES)):
            if value not in allowed:
                raise ValueError(f"unknown {argument}={value!r}: {nearest(str(value), allowed)}")
        if levels is not None and binarize in ("static", "dynamic"):
            raise ValueError(f"dequantize with binarize={binarize!r} would add noise to 0 and 1: use one of the two")
        if y is not None and len(x) != len(y):
            raise ValueError(f"x has {len(x)} rows and y has {len(y)} labels: they must be as many")
        self.x, self.y, self.part, self.binarize, self.seed = x, y, part, binarize, check_size("seed", seed, 0)
        self.levels, self.config, self.name = levels, config, name
        self.index = x.index if isinstance(x, Rows) and index is None else index
        self.origin = origin
        self.labels = Labels.of(y) if labels is None and isinstance(y, Tensor) else labels
        self.noise: Noise | None = None
        self._guard: tuple[Any, bool] | None = None
        self._label_guard: Callable[[Tensor, int], object] | None = None
        self._set_noise()

    def _set_noise(self) -> None:
        if self.levels is None and self.binarize in ("auto", "none"):
            return
        noise = Noise((self.seed, PARTS.index(self.part)), self.levels)
        if not isinstance(self.x, Rows):
            if self.levels is None and all(is_binary(block) for _, block in blocks(self.x)):
                return  # drawing does not change 0 and 1
            for _, block in blocks(self.x):
                check_unit(block, self.where)
        if self.part == "train" and self.binarize != "static":
            self.noise = noise
        elif isinstance(self.x, Rows):
            self.x = Rows(self.x.reader, self.x.index, self.x.scale, noise, self.where)
        else:
            drawn = ((rows, noise.fixed(block.cpu(), rows)) for rows, block in blocks(self.x))
            self.x = filled(torch.empty_like(self.x), drawn)

    @property
    def coding(self) -> Coding | None:
        """How rows of the source become x and y; None where it is not known."""
        return None if self.origin is None else self.origin.coding

    def named(self, which: np.ndarray | None = None) -> tuple[str, list[Any]]:
        """What the rows at positions ``which``, or all, are called in the source: "row" and their numbers, ..."""
        rows = self._numbers(np.arange(len(self)) if which is None else which)
        names = RowNames() if self.origin is None else self.origin.names
        return names.title, names.at(rows)

    @property
    def where(self) -> str:
        """Name of this split in errors."""
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
        """Whether rows are read when indexed rather than held in memory."""
        return isinstance(self.x, Rows)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        what = f"{len(self)} rows of {tuple(self.shape)}{', labelled' * self.labelled}"
        return f"Split({self.part}, {what}, binarize={self.binarize!r})"

    @cached_property
    def _drawable(self) -> bool:
        """Whether a likelihood on {0, 1} would draw the rows, judged for a streamed split by the first ones."""
        if self.levels is not None or (self.config or {}).get("kinds") is not None:
            return False
        if isinstance(self.x, Rows):
            return is_unit(self.x[: self._few()])
        parts = [block for _, block in blocks(self.x)]
        return all(map(is_unit, parts)) and not all(map(is_binary, parts))

    def check_resolved(self) -> None:
        """ValueError while it is open whether rows are drawn, so that grey values are never used as 0 and 1."""
        if self.binarize == "auto" and self._drawable:
            raise ValueError(
                f"{self.where} has binarize='auto', which depends on the likelihood; "
                "use .resolve(model.support), or load the data with binarize='none' or 'dynamic'"
            )

    def fetch(self, rows: np.ndarray, key: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
        """Rows at positions (B,) int64 without fresh noise: (x,) or (x, y). Streamed rows are checked when read.

        Items of an augmenting torch Dataset depend on ``key``, such as (seed, epoch). ValueError if ``binarize`` is
        still "auto".
        """
        self.check_resolved()
        if isinstance(self.x, Rows):
            x, own = self.x.read(rows, key)
            if self._guard is not None:
                check_values(x, self._numbers(rows), self.where, *self._guard, self.config is not None)
            if self.noise is not None:
                check_unit(x, self.where)
        else:
            index = torch.from_numpy(rows).to(self.x.device)
            x, own = self.x.index_select(0, index), None
        if isinstance(self.y, Tensor):
            own = self.y.index_select(0, torch.from_numpy(rows).to(self.y.device))
        elif own is not None and self._label_guard is not None:
            self._label_guard(own, len(own))
        return (x,) if self.y is None or own is None else (x, own)

    def take(self, which: int | slice | Sequence[int] | np.ndarray | Tensor) -> tuple[Tensor, ...]:
        """Rows as the model gets them, (x,) or (x, y), with the fixed draw of each row; ValueError as ``fetch``.

        Example:
            >>> Split(torch.eye(3)).take(slice(0, 2))[0].shape
            torch.Size([2, 3])
        """
        rows = positions(which, len(self))
        x, *y = self.fetch(rows)
        return (x if self.noise is None else self.noise.fixed(x.cpu(), rows).to(x.device), *y)

    def batches(self, batch_size: int = 1000, device: str | torch.device = "cpu") -> Iterator[tuple[Tensor, ...]]:
        """All rows in order, as from ``take``: batches of at most ``batch_size`` rows on ``device``."""
        self.check_resolved()
        starts = range(0, len(self), check_size("batch_size", batch_size))
        return (tuple(part.to(device) for part in self.take(slice(at, at + batch_size))) for at in starts)

    def mean(self) -> Tensor:
        """Mean of x over the rows, shape ``shape``, without missing entries, before any fresh noise.

        A streamed split of more than 20,000 rows is averaged over 20,000 evenly spaced ones.
        """
        return self._moments()[0]

    def std(self) -> Tensor:
        """Standard deviation of every entry of x over the rows, shape ``shape``, over the same rows as ``mean``."""
        return self._moments()[1]

    def range(self) -> tuple[Tensor, Tensor]:
        """Minimum and maximum of every entry of x over all rows, shape ``shape``, without missing entries.

        Both are 0 for an entry that every row misses.
        """
        if len(self) == 0:
            raise ValueError(f"{self.where} is empty")
        return ends(block for _, block in blocks(self.x))

    def _moments(self) -> list[Tensor]:
        if len(self) == 0:
            raise ValueError(f"{self.where} is empty")
        rows = np.linspace(0, len(self) - 1, min(len(self), _MEAN_ROWS)).astype(np.int64) if self.streamed else None
        dtype = torch.float32 if self.streamed else self.x.dtype
        return [value.to(dtype) for value in moments(block for _, block in blocks(self.x, rows))[:2]]

    def resolve(self, support: constraints.Constraint | None) -> Split:
        """This split with ``binarize="auto"`` decided by the likelihood's support: on {0, 1} "dynamic", else "none".

        Example:
            >>> Split(torch.rand(4, 2), binarize="auto").resolve(constraints.boolean).binarize
            'dynamic'
        """
        if self.binarize != "auto":
            return self
        split = copy.copy(self)
        split.binarize = "dynamic" if entry(support) is constraints.boolean and self.levels is None else "none"
        split.config = None if self.config is None else self.config | {"binarize": split.binarize}
        if split.binarize == "dynamic":
            split._set_noise()
        return split

    def check(
        self,
        support: constraints.Constraint | None = None,
        needs_labels: bool = False,
        missing: bool = False,
        check_labels: Callable[[Tensor, int], object] | None = None,
    ) -> None:
        """Raise ValueError unless a model of this support (None: any real number) can be trained on this split.

        An empty split, NaN or infinity, and values outside the support are refused; ``missing`` allows NaN for any
        support. With ``needs_labels`` y must be there; ``check_labels`` gets y and their number, and raises if the
        model cannot use them. A split whose ``binarize`` is still "auto" is checked after ``resolve``. In memory, all
        rows are checked; of a streamed split the first rows (up to 1,000), and then each batch when it is read.
        """
        missing = missing or allows_missing(support)
        if len(self) == 0 or self.shape.numel() == 0:
            raise ValueError(f"{self.where} is empty: its shape is {tuple(self.x.shape)}")
        if needs_labels:
            self._check_labels()
        if check_labels is not None and isinstance(self.y, Tensor):
            check_labels(self.y, len(self))
        self._label_guard = check_labels
        if self.binarize == "auto":
            self.resolve(support).check(support, missing=missing)
            return
        drawn = self.noise or (self.x.noise if isinstance(self.x, Rows) else None)
        if drawn is not None:
            check_drawn(drawn.levels, self.where, support)
            support = None
        if isinstance(self.x, Rows):
            self._guard = (support, missing)
            self.fetch(np.arange(self._few()))
        else:
            for rows, block in blocks(self.x):
                check_values(block, self._numbers(rows), self.where, support, missing, self.config is not None)

    def _check_labels(self) -> None:
        owner = f"the {self.part} split of {self.name}"
        if self.y is None:
            give = "(x, y), a 'label' column or a folder for each class"
            raise ValueError(f"labels y are needed, but {owner} has none; give {give}")
        if isinstance(self.y, Tensor) and not self.y.isfinite().all():
            row = (~self.y.isfinite().reshape(len(self), -1).all(1)).nonzero()[0].numpy()
            raise ValueError(f"labels y are needed, but row {self._numbers(row)[0]} of {owner} has none")

    def _few(self) -> int:
        """Number of rows of a streamed split that are checked first."""
        return max(1, min(len(self), _FIRST_ROWS, BLOCK // max(1, self.shape.numel())))

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers in the source, if known."""
        return rows if self.index is None else self.index[rows]
