"""Relaxed one-hot categorical posterior on the simplex: z = softmax((l(x) + g) / T), g_k Gumbel.

The temperature T may follow a schedule over the optimizer steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..checks import check_size
from ..networks import Head
from .base import Posterior


class RelaxedOneHotCategorical(Posterior):
    """Concrete (Gumbel-softmax) distribution with logits linear in the features. A density, reparameterised.

    Args:
        network: module from x (B, *shape) to features.
        dim: number of classes, at least 2.
        temperature: T, a positive number; or a schedule, a function of the optimizer step, such as
            ``handlers.Linear(steps=1000, start=1.0, end=0.5)``. The current temperature is saved with the weights.

    Raises:
        ValueError: dim below 2, or a temperature that is not a positive number or schedule.

    Source: Maddison et al. 2017, "The Concrete distribution", whose posterior temperature is 2/3; Jang et al. 2017.

    Example:
        >>> from ppl_vae import networks
        >>> RelaxedOneHotCategorical(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).event_shape
        torch.Size([4])
    """

    support = constraints.simplex
    temperature: Tensor

    def __init__(
        self, network: nn.Module, dim: int, temperature: float | Callable[[int], float] = 0.6666666666666666
    ) -> None:
        super().__init__(network, check_size("dim", dim, least=2))
        self.head = Head(network, (dim,))
        self.schedule = temperature if callable(temperature) else None
        start: Any = temperature(0) if callable(temperature) else temperature
        self.register_buffer("temperature", torch.tensor(_check(start)), persistent=self.schedule is not None)

    def at_step(self, step: int) -> None:
        """Set a scheduled temperature for an optimizer step; the objective calls it."""
        if self.schedule is not None:
            self.temperature.fill_(_check(self.schedule(step)))

    def forward(self, x: Tensor, y: Tensor | None = None) -> distributions.RelaxedOneHotCategorical:
        """Relaxed one-hot categorical of batch shape (B,) and event shape (dim,)."""
        (logits,) = self.head(self.features(x, y))
        # A copy, since the next step overwrites the buffer.
        return distributions.RelaxedOneHotCategorical(self.temperature.clone(), logits=logits)


def _check(temperature: Any) -> float:
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a positive number, or a schedule of such, not {temperature!r}")
    return float(temperature)
