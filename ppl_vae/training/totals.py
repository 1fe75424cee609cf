"""Running totals of the loss and its terms, kept on the device so that a step never waits for them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..objectives import Loss


class Totals:
    """Sums over examples of the loss and its terms.

    Args:
        sums: totals to go on from, by name, with the number of examples under "n".

    Example:
        >>> from ppl_vae.objectives import Loss
        >>> totals = Totals()
        >>> totals.add(Loss(torch.tensor(2.0), {"elbo": torch.tensor([-1.0, -3.0])}), n=2)
        >>> totals.means()
        {'loss': 2.0, 'elbo': -2.0}
    """

    def __init__(self, sums: dict[str, Any] | None = None) -> None:
        self.sums: dict[str, Any] = dict(sums or {})

    def add(self, loss: Loss, n: int) -> None:
        """Add a batch of ``n`` examples: per-example terms are summed, scalars and losses count n times."""
        for name, term in {"loss": loss.value, **loss.others, **loss.terms}.items():
            term = term.detach()
            term = term.sum() if term.dim() else term * n
            self.sums[name] = self.sums[name] + term if name in self.sums else term
        self.sums["n"] = self.sums.get("n", 0) + n

    def means(self) -> dict[str, float]:
        """Means per example; waits for the device."""
        return {name: float(total) / self.sums["n"] for name, total in self.sums.items() if name != "n"}


class FiniteCheck:
    """Losses of steps not yet known to be finite.

    Args:
        every: losses to gather before looking; 1 where looking costs nothing, more where it waits for a device.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.steps: list[int] = []
        self.values: list[Tensor] = []

    def add(self, step: int, value: Tensor) -> tuple[int, float] | None:
        """Remember a step's loss; the first bad step and its loss if one is found when it is time to look."""
        if self.every == 1:  # the common case, made short
            number = value.item()
            return None if math.isfinite(number) else (step, number)
        self.steps.append(step)
        self.values.append(value.detach())
        return self.first_bad() if len(self.values) >= self.every else None

    def first_bad(self) -> tuple[int, float] | None:
        """The first step whose loss is NaN or infinite, with its loss, or None; what was fine is forgotten."""
        if not self.values:
            return None
        bad = (~torch.stack(self.values).isfinite()).nonzero()
        if len(bad):
            return self.steps[int(bad[0])], self.values[int(bad[0])].item()
        self.steps, self.values = [], []
        return None
