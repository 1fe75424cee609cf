"""Base of the posteriors over categorical variables whose samples have a temperature, which may follow a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_size
from ..distributions.grouped import Grouped, check_groups
from ..handlers import Linear
from ..networks import Head
from .base import Posterior


class Tempered(Posterior):
    """Logits of ``groups`` categorical variables, linear in the features, and a temperature.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code: number of classes, of all groups together.
        temperature: T, a positive number; or a schedule, a function of the optimizer step.
        groups: number of categorical variables, each of dim / groups classes.
        end_temperature: T that a temperature given as a number moves to, linearly; None stays where it is.
        steps: optimizer steps until ``end_temperature``; 1,000 if not given.
    """

    temperature: Tensor

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        temperature: float | Callable[[int], float],
        groups: int,
        end_temperature: float | None,
        steps: int | None,
    ) -> None:
        super().__init__(network, dim)
        check_groups(dim, groups)
        self.groups = groups
        self.head = Head(network, (dim,))
        self.schedule = _schedule(temperature, end_temperature, steps)
        start: Any = temperature if self.schedule is None else self.schedule(0)
        self.register_buffer("temperature", torch.tensor(_check(start)), persistent=self.schedule is not None)

    def at_step(self, step: int) -> None:
        """Set a scheduled temperature for an optimizer step; the objective calls it."""
        if self.schedule is not None:
            self.temperature.fill_(_check(self.schedule(step)))

    def made(self, distribution: Any, x: Tensor, y: Tensor | None) -> Any:
        """``distribution(temperature, logits=...)`` of batch shape (B,) and event shape (dim,)."""
        (logits,) = self.head(self.features(x, y))
        temperature = self.temperature.clone()  # since the next step overwrites the buffer
        if self.groups == 1:
            return distribution(temperature, logits=logits)
        return Grouped(distribution(temperature, logits=logits.unflatten(-1, (self.groups, -1))))


def _schedule(temperature: Any, end: float | None, steps: int | None) -> Callable[[int], float] | None:
    if end is None:
        if steps is not None:
            raise ValueError("steps is the time until end_temperature, which is not given; give both")
        return temperature if callable(temperature) else None
    if callable(temperature):
        raise ValueError(f"temperature {temperature!r} is a schedule and says where it ends; leave out end_temperature")
    steps = 1000 if steps is None else check_size("steps", steps)
    return Linear(steps, _check(temperature), _check(end, "end_temperature"))


def _check(temperature: Any, name: str = "temperature") -> float:
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ValueError(f"{name} must be a positive number, or a schedule of such, not {temperature!r}")
    return float(temperature)
