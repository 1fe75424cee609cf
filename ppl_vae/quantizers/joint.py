"""What processes that train together tell each other: sums of statistics, and the draws of the first of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed


def processes() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums of tensors over all processes, in one message."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    if processes() > 1:
        distributed.all_reduce(flat)
    pieces = flat.split([tensor.numel() for tensor in tensors])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]


def first(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of the first process, in every process."""
    copies = [tensor.clone() for tensor in tensors]
    if processes() > 1:
        for copy in copies:
            distributed.broadcast(copy, src=0)
    return copies
