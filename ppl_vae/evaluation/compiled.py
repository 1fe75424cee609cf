"""Log-weights of a long evaluation: one compiled graph for all its full pieces, drawn with the noise of eager ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .. import randomness

FEW = 100_000  # log-weights that never repay a compiler
TRIED = 64  # particles of the run whose work is counted


class Weigher:
    """Log-weights of a model, compiled where an evaluation is long by a count of its work and a program allows it.

    Args:
        model: a module in evaluation mode.
        weigh: its log-weights (K, B), from a batch, (x,) or (x, y), and K.
        first: a batch of one example.
        weights: how many log-weights the whole evaluation takes.
        full: particles and examples of a full piece; other pieces run eagerly.
    """

    def __init__(
        self,
        model: nn.Module,
        weigh: Callable[[tuple[Tensor, ...], int], Tensor],
        first: tuple[Tensor, ...],
        weights: int,
        full: tuple[int, int],
    ) -> None:
        self.model, self.weigh, self.full = model, weigh, full
        self.run: Any = None
        self.compile = weights > max(FEW, full[0] * full[1]) and self._is_long(first, weights)

    def __call__(self, batch: tuple[Tensor, ...], num_particles: int) -> Tensor:
        """Log-weights (K, B) of a batch of B examples."""
        if self.compile and (num_particles, len(batch[0])) == self.full:
            self.run = self._compiled(batch) if self.run is None else self.run
            if self.run is not None:
                return self.run(*batch)[0]
        return self.weigh(batch, num_particles)

    def _is_long(self, batch: tuple[Tensor, ...], weights: int) -> bool:
        from ..training.cost import WORTH, forward_seconds, has_compiler

        device = batch[0].device
        with randomness.unchanged(device):
            tried = min(TRIED, self.full[0])
            seconds = forward_seconds(self.model, lambda: self.weigh(batch, tried), device)
        return seconds * weights / tried > WORTH and has_compiler(device)

    def _compiled(self, batch: tuple[Tensor, ...]) -> Any:
        from ..training.graphs import NotCapturable, compiled_function

        try:
            return compiled_function(lambda *batch: [self.weigh(batch, self.full[0])], batch)
        except NotCapturable as error:
            self.compile = False
            warnings.warn(f"log-weights are computed eagerly, since {error}", stacklevel=5)
            return None
