"""Batches: the rows of a split, shuffled, binarized and on the device, a pure function of the seed.

The order of an epoch depends only on (seed, epoch), the noise of a batch only on (seed, epoch, batch index). So there
is no state to save for a resume in the middle of an epoch, and the global random states do not change. Process ``rank``
of ``world`` gets rows ``rank, rank + world, ...`` of the batch that a single process would get, with the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size
from ..randomness import seed_of
from .given import as_split
from .splits import Split

_ORDER, _NOISE, _ITEMS = 1, 2, 3  # purpose of a random key


class Batches:
    """Batches of a split, epoch by epoch.

    A split in memory is moved to the device once. A streamed one is read batch by batch, in this process or ahead by
    ``workers`` processes.

    Args:
        split: any argument of ``as_split``.
        batch_size: rows in a batch, over all processes; the last batch of an epoch may be shorter.
        seed: seed of order and noise, at least 0.
        device: device of the batches.
        shuffle: whether the order is new in each epoch; otherwise rows come in order.
        rank: this process, 0 .. world - 1. If the last batch has fewer rows than there are processes, some processes
            get an empty batch.
        world: number of processes.
        workers: number of reading processes for a streamed split.

    Raises:
        ValueError: a batch size larger than the split, sizes that are not whole positive numbers, a split whose
            ``binarize`` is still "auto".

    Example:
        >>> batches = Batches(torch.arange(10.0).view(5, 2), batch_size=2, shuffle=False)
        >>> len(batches), [x.tolist() for (x,) in batches.epoch(0, start=1)]
        (3, [[[4.0, 5.0], [6.0, 7.0]], [[8.0, 9.0]]])
    """

    def __init__(
        self,
        split: Any,
        batch_size: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        self.split: Split = as_split(split)
        self.split.check_resolved()
        part = {"train": "training", "valid": "validation", "test": "test"}[self.split.part]
        if len(self.split) == 0:
            raise ValueError(f"{self.split.where} is empty")
        if check_size("batch_size", batch_size) > len(self.split):
            raise ValueError(
                f"batch_size {batch_size} is larger than the {len(self.split)} {part} examples; "
                f"choose at most {len(self.split)}"
            )
        self.batch_size, self.seed, self.shuffle = batch_size, check_size("seed", seed, 0), shuffle
        self.world = check_size("world", world)
        self.rank, self.workers = check_size("rank", rank, 0), check_size("workers", workers, 0)
        if rank >= world:
            raise ValueError(f"rank must be below world = {world}, not {rank}")
        self.device = torch.device(device)
        held = [part for part in (self.split.x, self.split.y) if isinstance(part, Tensor)]
        put = not self.split.streamed and _fits(held, self.device)
        self._held = [part.to(self.device) for part in held] if put else None

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """The batches of one epoch, (x,) or (x, y) on the device, from batch index ``start`` on."""
        check_size("epoch", epoch, 0)
        check_size("start", start, 0)
        return self._iterate(epoch, start)

    def _iterate(self, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        noise, shape = self.split.noise, self.split.shape
        generator = torch.Generator(self.device)
        for batch, parts in zip(range(start, len(self)), self._read(epoch, start), strict=True):
            if noise is not None:
                rows = min(self.batch_size, len(self.split) - batch * self.batch_size)
                generator.manual_seed(seed_of(_NOISE, self.seed, epoch, batch))
                u = torch.rand(rows, *shape, generator=generator, device=self.device, dtype=parts[0].dtype)
                u = u[self.rank :: self.world].contiguous()
                parts = (noise.apply(parts[0], u), *parts[1:])
            yield parts

    def _read(self, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches before fresh noise."""
        order: Any = np.arange(len(self.split), dtype=np.int64)
        if self.shuffle:
            order = np.random.default_rng(seed_of(_ORDER, self.seed, epoch)).permutation(len(order))
        if self._held is not None:
            order = torch.from_numpy(order).to(self.device)
        starts = range(start * self.batch_size, len(order), self.batch_size)
        cuts = (order[at : at + self.batch_size][self.rank :: self.world] for at in starts)
        if self._held is not None:
            yield from (tuple(part.index_select(0, index) for part in self._held) for index in cuts)
            return
        reader = _Reader(self.split, (_ITEMS, self.seed, epoch))
        pinned = self.device.type == "cuda"
        read: Any = map(reader.__getitem__, cuts)
        if self.workers:
            read = torch.utils.data.DataLoader(
                reader,
                sampler=[*cuts],
                batch_size=None,
                num_workers=self.workers,
                pin_memory=pinned,
                generator=torch.Generator().manual_seed(0),
            )
        yield from (tuple(part.to(self.device, non_blocking=pinned) for part in parts) for parts in read)


@dataclass
class _Reader(torch.utils.data.Dataset[tuple[Tensor, ...]]):
    """The data set of a reading process: ``reader[rows]`` is a batch before fresh noise."""

    split: Split
    key: tuple[int, ...]

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        return self.split.fetch(rows, self.key)


def _fits(held: list[Tensor], device: torch.device) -> bool:
    """Whether the data fit on the device: on a GPU, in half of its free memory."""
    size = sum(part.numel() * part.element_size() for part in held)
    return device.type != "cuda" or size < torch.cuda.mem_get_info(device)[0] // 2
