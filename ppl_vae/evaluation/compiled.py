"""Log-weights of a long evaluation: one compiled graph for all its full pieces, drawn with the noise of eager ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..estimators import log_weights

FEW = 100_000  # log-weights that never repay a compiler
TRIED = 64  # particles of the run whose work is counted


class Weigher:
    """``log_weights`` of a model, compiled where an evaluation is long by a count of its work and a program allows it.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``, in evaluation mode.
        x: one example (1, *shape).
        y: its label, or None.
        weights: how many log-weights the whole evaluation takes.
        full: particles and examples of a full piece; other pieces run eagerly.
    """

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor | None, weights: int, full: tuple[int, int]) -> None:
        self.model: Any = model
        self.full = full
        self.run: Any = None
        self.compile = weights > max(FEW, full[0] * full[1]) and self._is_long(x, y, weights)

    def __call__(self, x: Tensor, y: Tensor | None, num_particles: int) -> Tensor:
        """Log-weights (K, B) of data x (B, *shape)."""
        batch = (x,) if y is None else (x, y)
        if self.compile and (num_particles, len(x)) == self.full:
            self.run = self.run or self._compiled(batch)
        if self.run is not None and (num_particles, len(x)) == self.full:
            return self.run(*batch)
        return log_weights(self.model.model, self.model.guide, x, y, num_particles=num_particles)

    def _is_long(self, x: Tensor, y: Tensor | None, weights: int) -> bool:
        from ..training.cost import WORTH, forward_seconds, has_compiler

        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            run = lambda: log_weights(self.model.model, self.model.guide, x, y, num_particles=TRIED)  # noqa: E731
            seconds = forward_seconds(self.model, run, x.device)
        return seconds * weights / TRIED > WORTH and has_compiler(x.device)

    def _compiled(self, batch: tuple[Tensor, ...]) -> Any:
        from ..training.capture import NotCapturable, compiled_function

        def weigh(*batch: Tensor) -> list[Tensor]:
            return [log_weights(self.model.model, self.model.guide, *batch, num_particles=self.full[0])]

        try:
            run = compiled_function(weigh, batch)
        except NotCapturable:
            self.compile = False
            return None
        return lambda *batch: run(*batch)[0]
