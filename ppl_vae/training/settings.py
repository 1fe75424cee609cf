"""The numbers of a training run, checked once, and the learning-rate schedule they define."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..checks import check_size, nearest

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 * (1.0 + math.cos(math.pi * share)),
}
OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
FUSED = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class Settings:
    """Arguments of ``fit``, as in config.json; see ``fit`` for their meaning."""

    epochs: int
    batch_size: int
    lr: float
    optimizer: str | Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    weight_decay: float
    schedule: str
    warmup: int
    clip: float | None
    accumulate: int
    patience: int | None
    keep: str
    compile: bool | str
    precision: str
    device: str
    seed: int
    shuffle: bool
    workers: int
    tensorboard: bool
    checkpoint_every: int | None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            check_size(name, vars(self)[name])
        for name in ("warmup", "workers", "seed"):
            check_size(name, vars(self)[name], least=0)
        for name in ("patience", "checkpoint_every"):
            if vars(self)[name] is not None:
                check_size(name, vars(self)[name])
        check_number("lr", self.lr)
        check_number("weight_decay", self.weight_decay, positive=False)
        if self.clip is not None:
            check_number("clip", self.clip)
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep {self.keep!r} is unknown; {nearest(str(self.keep), ('best', 'last'))}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule!r} is unknown; {nearest(str(self.schedule), SCHEDULES)}")
        if not callable(self.optimizer) and self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is unknown; {nearest(str(self.optimizer), OPTIMIZERS)}")
        if not (isinstance(self.compile, bool) or self.compile == "auto"):
            raise ValueError(f"compile must be 'auto', True or False, not {self.compile!r}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be 'fp32' or 'bf16', not {self.precision!r}")

    def record(self) -> dict[str, Any]:
        """The settings for config.json."""
        out = dict(vars(self))
        if callable(self.optimizer):
            out["optimizer"] = getattr(self.optimizer, "__qualname__", type(self.optimizer).__qualname__)
        return out

    def lr_at(self, step: int, total: int) -> float:
        """Learning rate of an optimizer step counted from 0: a linear warm-up, then the schedule to the end.

        Example:
            >>> from ppl_vae.training.fit import default_settings
            >>> settings = default_settings(lr=1.0, warmup=4, schedule="linear")
            >>> [settings.lr_at(step, total=8) for step in (0, 3, 6)]
            [0.25, 1.0, 0.5]
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * SCHEDULES[self.schedule]((step - self.warmup) / max(1, total - self.warmup))

    def make_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """One torch optimizer over all parameters, fused where there is such a kernel."""
        if callable(self.optimizer):
            return self.optimizer(parameters)
        fused = {"fused": True} if self.optimizer in FUSED else {}
        return OPTIMIZERS[self.optimizer](parameters, lr=self.lr, weight_decay=self.weight_decay, **fused)


def check_number(name: str, value: Any, positive: bool = True) -> None:
    """ValueError unless ``value`` is a finite number above 0, or at least 0."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be a {'positive' if positive else 'non-negative'} number, not {value!r}")
