"""Trial runs of programs that leave no trace: random states and buffers are restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from . import randomness


@contextmanager
def trial(*batch: Any) -> Iterator[None]:
    """Context in which programs may run; at its end random states and layers' buffers are restored.

    Args:
        batch: arguments of the programs; their device's generator is restored too.

    Example:
        >>> layer, before = nn.BatchNorm1d(2), torch.get_rng_state()
        >>> with trial():
        ...     _ = layer(torch.randn(5, 2))
        >>> layer.running_mean.tolist(), torch.equal(torch.get_rng_state(), before)
        ([0.0, 0.0], True)
    """
    device = next((t.device for t in batch if isinstance(t, Tensor)), torch.device("cpu"))
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        for buffer in module.buffers(recurse=False):
            kept.setdefault(id(buffer), (buffer, buffer.clone()))

    hook = register_module_forward_pre_hook(keep)
    try:
        with randomness.unchanged(device):
            yield
    finally:
        hook.remove()
        with torch.no_grad():
            for buffer, before in kept.values():
                buffer.copy_(before)
