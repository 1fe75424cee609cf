"""What a training leaves behind: its rows, epoch by epoch, or the error that ended it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Diverged(ValueError):
    """The loss stopped being a finite number."""


@dataclass
class History:
    """What ``fit`` returns.

    Attributes:
        rows: one dict for each epoch of each stage, in order: stage ("" for the main one), epoch and step (counted
            within the stage), seconds (since training began), examples_per_second (of the stage), lr, what is scheduled
            (such as beta), and the means of the loss and its terms (nats per example) under train and valid; and what
            ``callback`` added.
        stopped_early: whether the main stage's ``patience`` ran out.
        steps: how the main stage's steps were made: "captured", "eager", or "eager, since ..." where capturing failed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False
    steps: str = "eager"
