"""How a run makes its steps: captured for full batches where that was chosen, eagerly otherwise.

The choice is made once, before the first step, and kept with the run; a program that cannot be captured falls back to
eager steps and says why.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..capture.graphs import NotCapturable
from ..objectives import Loss
from .capture import Captured, shapes
from .cost import worth_capturing
from .precision import half_products
from .settings import Settings


class Steps:
    """Losses and gradients of an objective, batch by batch.

    Args:
        objective: what is trained.
        settings: for ``compile`` and ``precision``.
        full: examples of a full batch in this process.

    Attributes:
        capture: whether full batches are captured.
        say: shows the user a line.
    """

    def __init__(self, objective: nn.Module, settings: Settings, full: int) -> None:
        self.objective, self.settings, self.full = objective, settings, full
        self.capture = False
        self.captured: Captured | None = None
        self.why_eager = ""
        self.say: Callable[[str], None] = lambda words: None

    def choose(self, batch: tuple[Tensor, ...], steps: int) -> None:
        """Capture as asked, or where a training of ``steps`` such batches is long by a count of its work."""
        if self.settings.compile != "auto":
            self.capture = bool(self.settings.compile)
            return
        self.objective.train()
        self.capture = worth_capturing(self.objective, batch, steps)

    def __call__(self, batch: tuple[Tensor, ...], share: float, resumed: bool = False) -> Loss:
        """Loss of a batch; the gradients of ``share`` times its value are added to the parameters'."""
        captured = self._captured(batch, resumed) if self.capture and len(batch[0]) == self.full else None
        if captured is not None:
            return captured(batch, share)
        with self.context():
            loss = self.objective(*batch)
        if not loss.value.requires_grad:
            raise ValueError("the objective's loss does not depend on any parameter that requires a gradient")
        (loss.value if share == 1 else loss.value * share).backward()
        return loss

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """What the objective runs in."""
        return half_products(self.objective) if self.settings.precision == "bf16" else contextlib.nullcontext()

    def describe(self) -> str:
        """How the steps were made, for the ``History``."""
        if self.why_eager:
            return f"eager, since {self.why_eager}"
        return "captured" if self.capture else "eager"

    def _captured(self, batch: tuple[Tensor, ...], resumed: bool) -> Captured | None:
        """The captured step, made when the first full batch comes; None where it does not fit this one."""
        if self.captured is None:
            self.say("compiling the training step, which may take half a minute the first time")
            try:
                self.captured = Captured(self.objective, batch, self.context)
            except NotCapturable as error:
                self.capture, self.why_eager = False, str(error)
                self.say(f"steps run eagerly, since {error}")
                # A resumed run was captured before, and its bits will now be others.
                if self.settings.compile is True or resumed:
                    warnings.warn(f"steps run eagerly, since {error}", stacklevel=2)
                return None
        return self.captured if shapes(batch) == self.captured.shapes else None
