"""How a stage makes its steps: captured for full batches where that was chosen, eagerly otherwise.

The choice is made once, before the first step, and kept with the run; a program that cannot be captured falls back to
eager steps and says why.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..objectives import Loss
from .capture import Captured, shapes
from .cost import worth_capturing
from .graphs import NotCapturable
from .players import Mover, loss_of
from .precision import half_products
from .settings import Settings

Movers = tuple[Mover, ...]


class Steps:
    """Losses and gradients of an objective, batch by batch.

    Args:
        objective: what is trained.
        settings: for ``compile`` and ``precision``.
        full: examples of a full batch in this process.
        turns: who moves at step 0, 1, ...; there is a captured step for each set of players that move together.

    Attributes:
        capture: whether full batches are captured.
        say: shows the user a line.
    """

    def __init__(self, objective: nn.Module, settings: Settings, full: int, turns: list[Movers]) -> None:
        self.objective, self.settings, self.full = objective, settings, full
        self.turns = list(dict.fromkeys(turns))
        self.alone = len(self.turns) == 1 and [mover.name for mover in self.turns[0]] == [""]
        self.capture = False
        self.captured: dict[Movers, Captured] = {}
        self.why_eager = ""
        self.say: Callable[[str], None] = lambda words: None

    def choose(self, batch: tuple[Tensor, ...], steps: int) -> None:
        """Capture as asked, or where a training of ``steps`` such batches is long by a count of its work."""
        if self.settings.compile != "auto":
            self.capture = bool(self.settings.compile)
            return
        self.objective.train()
        self.capture = worth_capturing(self.objective, batch, steps)

    def __call__(self, batch: tuple[Tensor, ...], share: float, movers: Movers, resumed: bool = False) -> Loss:
        """Loss of a batch; the gradients of ``share`` times each mover's are added to its parameters'."""
        if self.capture and len(batch[0]) == self.full and self._made(batch, resumed):
            captured = self.captured[movers]
            if shapes(batch) == captured.shapes:
                return captured(batch, share)
        with self.context():
            loss = self.objective(*batch)
        for mover in movers:
            value = loss_of(loss, mover.name)
            value = value if share == 1 else value * share
            if self.alone:
                value.backward()
            else:
                torch.autograd.backward(value, inputs=mover.parameters, retain_graph=mover is not movers[-1])
        return loss

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """What the objective runs in."""
        return half_products(self.objective) if self.settings.precision == "bf16" else contextlib.nullcontext()

    def describe(self) -> str:
        """How the steps were made, for the ``History``."""
        if self.why_eager:
            return f"eager, since {self.why_eager}"
        return "captured" if self.capture else "eager"

    def _made(self, batch: tuple[Tensor, ...], resumed: bool) -> bool:
        """Make the captured steps when the first full batch comes; whether there are any."""
        if self.captured:
            return True
        self.say("compiling the training step, which may take half a minute the first time")
        try:
            made = {turn: self._capture(batch, turn) for turn in self.turns}
        except NotCapturable as error:
            self.capture, self.why_eager = False, str(error)
            self.say(f"steps run eagerly, since {error}")
            # A resumed run was captured before, and its bits will now be others.
            if self.settings.compile is True or resumed:
                warnings.warn(f"steps run eagerly, since {error}", stacklevel=2)
            return False
        self.captured = made
        return True

    def _capture(self, batch: tuple[Tensor, ...], turn: Movers) -> Captured:
        if self.alone:
            return Captured(self.objective, batch, self.context)
        return Captured(self.objective, batch, self.context, movers={m.name: m.parameters for m in turn})
