"""Log-weights of a long evaluation: one compiled graph for all its full pieces, drawn with the noise of eager ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

FEW = 100_000  # log-weights that never repay a compiler
TRIED = 64  # particles of the run whose work is counted


class Weigher:
    """Log-weights of a model, compiled where an evaluation is long by a count of its work and a program allows it.

    Args:
        model: a module in evaluation mode.
        weigh: its log-weights (K, B), from x (B, *shape), y or None, and K.
        x: one example (1, *shape).
        y: its label, or None.
        weights: how many log-weights the whole evaluation takes.
        full: particles and examples of a full piece; other pieces run eagerly.
    """

    def __init__(
        self,
        model: nn.Module,
        weigh: Callable[[Tensor, Tensor | None, int], Tensor],
        x: Tensor,
        y: Tensor | None,
        weights: int,
        full: tuple[int, int],
    ) -> None:
        self.model, self.weigh, self.full = model, weigh, full
        self.run: Any = None
        self.compile = weights > max(FEW, full[0] * full[1]) and self._is_long(x, y, weights)

    def __call__(self, x: Tensor, y: Tensor | None, num_particles: int) -> Tensor:
        """Log-weights (K, B) of data x (B, *shape)."""
        batch = (x,) if y is None else (x, y)
        if self.compile and (num_particles, len(x)) == self.full:
            self.run = self.run or self._compiled(batch)
        if self.run is not None and (num_particles, len(x)) == self.full:
            return self.run(*batch)
        return self.weigh(x, y, num_particles)

    def _is_long(self, x: Tensor, y: Tensor | None, weights: int) -> bool:
        from ..training.cost import WORTH, forward_seconds, has_compiler

        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            tried = min(TRIED, self.full[0])
            seconds = forward_seconds(self.model, lambda: self.weigh(x, y, tried), x.device)
        return seconds * weights / tried > WORTH and has_compiler(x.device)

    def _compiled(self, batch: tuple[Tensor, ...]) -> Any:
        from ..training.graphs import NotCapturable, compiled_function

        def weigh(x: Tensor, *y: Tensor) -> list[Tensor]:  # a default would be taken for an input
            return [self.weigh(x, y[0] if y else None, self.full[0])]

        try:
            run = compiled_function(weigh, batch)
        except NotCapturable as error:
            self.compile = False
            warnings.warn(f"log-weights are computed eagerly, since {error}", stacklevel=5)
            return None
        return lambda *batch: run(*batch)[0]
