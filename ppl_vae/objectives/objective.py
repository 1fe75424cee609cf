"""What ``fit`` trains: an objective, its stages one after the other, and the players that share its steps."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..models.protocols import Codec
from ..parts import Abstract, Part
from .loss import Loss

if TYPE_CHECKING:
    from ..data import Split
    from ..networks import Condition

Optimizer = str | Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Objective(Abstract, nn.Module):
    """Base of the objectives: ``forward(*batch)`` gives a ``Loss``; everything else has a default.

    Attributes:
        model: what is trained, whose weights a run folder keeps.
        watch: the term that early stopping watches, "loss" for the value, and which way is better, "min" or "max"; None
            where no term tells, as in a game.
        condition: description of y if the model needs it, else None.
        needs_labels: whether a batch must hold labels y.
        whole_data: why every batch must hold all the data; None where it need not. ``prepare`` may set it.

    Example:
        >>> class MeanSquare(Objective):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.model = nn.Linear(3, 3)
        ...     def forward(self, x, *_):
        ...         return Loss((self.model(x) - x).square().sum(1).mean())
        >>> MeanSquare()(torch.ones(5, 3)).value.shape
        torch.Size([])
    """

    model: nn.Module
    watch: tuple[str, str] | None = ("loss", "min")
    whole_data: str | None = None

    @property
    def support(self) -> constraints.Constraint | None:
        """Constraint on one entry of the data, or None for any real number."""
        return None

    @property
    def condition(self) -> Condition | None:  # noqa: D102
        return self.model.condition if isinstance(self.model, Codec) else None

    @property
    def needs_labels(self) -> bool:  # noqa: D102
        return self.condition is not None and not self.condition.observes

    def check_labels(self, y: Tensor, n: int) -> None:
        """Refuse y unless it holds n labels that the model can be trained on."""
        target = self.model.target if isinstance(self.model, Codec) else None
        condition = self.condition
        if condition is not None and self.needs_labels:
            condition.check(y, n)
        elif target is not None:
            target.check(y, n, partly=True)

    @property
    def itself(self) -> nn.Module:
        """The module whose state a checkpoint keeps and whose arguments a configuration records."""
        return self

    @abstractmethod
    def forward(self, x: Tensor, /, *y: Tensor) -> Loss:
        """Loss of a batch (x,) or (x, y)."""

    def prepare(self, x: Tensor, /, *y: Tensor) -> None:
        """Look at the first batch before anything is trained or written, and refuse what cannot be trained."""

    def attach(self, train: Split) -> None:
        """Look at the training rows at every start, resumed or not; changes no parameter and no kept buffer."""

    def at_step(self, step: int) -> dict[str, float]:
        """Set what is scheduled for an optimizer step; gives the values in force by name, for the metrics."""
        return {}

    def after_step(self) -> None:
        """Do what an optimizer step leaves to do without gradients; ``fit`` calls it after each, in every process."""

    def diagnose(self, x: Tensor, /, *y: Tensor) -> str | None:
        """Name of the first non-finite quantity on a batch with a non-finite loss, or None."""
        return None

    def start(self, train: Split) -> None:
        """Let the model's parts start at the training data; called once, never on resume."""
        if isinstance(self.model, Part):
            self.model.start(train)

    def stages(self) -> list[Stage]:
        """What is trained, in order; the main stage, named "", takes the epochs and the patience of ``fit``."""
        return [Stage("", self, begin=self.start)]

    def players(self) -> list[Player]:
        """The players of a step; parameters of no player belong to the main player, named ""."""
        return []


@dataclass(frozen=True)
class Stage:
    """A part of a training, with optimizers, a schedule and best weights of its own.

    Attributes:
        name: shown in the progress, the history and the metrics; "" for the main stage.
        objective: what is trained: an ``Objective``, or a module whose ``forward(*batch)`` gives a ``Loss``.
        epochs: passes over the data; None for those of ``fit``.
        begin: called once with the training split, before the first step.
        end: called with the training split when the best weights are back. It may be called again from the same state.
        patience: epochs without a better validation loss after which the stage ends; None for never, in the main stage
            for that of ``fit``.
        lr_factor: factor of the learning rate.
        keep: the weights that the stage ends with: of the "best" epoch on the validation data, where there are some, or
            of the "last"; None for the best with ``patience``, else the last. In the main stage ``fit`` says it.

    ``begin`` and ``end`` change only the model's parameters and buffers.
    """

    name: str
    objective: nn.Module
    epochs: int | None = None
    begin: Callable[[Split], None] | None = None
    end: Callable[[Split], None] | None = None
    patience: int | None = None
    lr_factor: float = 1.0
    keep: Literal["best", "last"] | None = None


@dataclass(frozen=True)
class Player:
    """A loss (``value`` for the player "", else ``others[name]``) and the parameters that minimise it.

    Attributes:
        name: key of the loss in ``Loss.others``; "" for the main player.
        parameters: what the player trains.
        optimizer: a word or a function as ``fit`` takes; None for that of ``fit``.
        lr_factor: factor of the learning rate.
        every: the player moves at step s if s mod every is ``at``.
        at: see ``every``.
    """

    name: str
    parameters: Iterable[nn.Parameter]
    optimizer: Optimizer | None = None
    lr_factor: float = 1.0
    every: int = 1
    at: int = 0


class _Bare(Objective):
    """A module with ``forward(*batch) -> Loss`` and nothing else, as an objective."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def model(self) -> nn.Module:  # type: ignore[override]
        own: Any = getattr(self.module, "model", None)
        return own if isinstance(own, nn.Module) else self.module

    @property
    def itself(self) -> nn.Module:
        return self.module

    def forward(self, x: Tensor, /, *y: Tensor) -> Loss:
        return self.module(x, *y)


def as_objective(module: nn.Module) -> Objective:
    """The module as an ``Objective``; a bare one has ``forward`` alone, and its state keeps its names.

    Raises:
        TypeError: not a module.
        ValueError: a module that ``torch.compile`` made.

    Example:
        >>> as_objective(3)
        Traceback (most recent call last):
        ...
        TypeError: objective must be an Objective, such as SVI(model), or a torch.nn.Module, not 3
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"objective must be an Objective, such as SVI(model), or a torch.nn.Module, not {module!r}")
    compiler = sys.modules.get("torch._dynamo")  # whose import takes seconds
    if compiler is not None and isinstance(module, compiler.OptimizedModule):
        raise ValueError("objective was made by torch.compile; give fit the objective itself, and compile=True")
    return module if isinstance(module, Objective) else _Bare(module)
