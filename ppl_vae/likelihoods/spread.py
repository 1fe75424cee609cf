"""Base of the likelihoods with a mean (or location) and a spread, one positive number: a scale or a concentration.

The spread is fixed, one parameter, one parameter for every entry of x, or a function of z. A learned spread is
softplus(.) + 0.001: without the floor the scale of constant entries goes to 0 and their density to infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributions.softplus import inverse_softplus
from .base import Likelihood

SCALE_FLOOR = 1e-3
START = inverse_softplus(1 - SCALE_FLOOR)  # unconstrained value of a spread of 1
TINY = 1e-6  # lower bound of the means of positive likelihoods


def positive(raw: Tensor) -> Tensor:
    """softplus(raw) + 1e-6: a mean that is always above 0."""
    return F.softplus(raw) + TINY


def unpositive(mean: Tensor) -> Tensor:
    """Inverse of ``positive``, for means clamped to at least 0.001.

    Example:
        >>> positive(unpositive(torch.tensor([0.5, 300.0])))
        tensor([  0.5000, 300.0000])
    """
    return inverse_softplus(mean.clamp(min=1e-3) - TINY)


class Spread(Likelihood):
    """A likelihood with a spread besides the other parameters of every entry.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        spread: a positive number, "learned", "pixel" or "network", or one of the words ``also``.
        parameters: number of parameters of the head for every entry, without the spread.
        argument: name of ``spread`` in errors.
        also: further words that a subclass allows.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        spread: float | str,
        parameters: int = 1,
        argument: str = "scale",
        also: Sequence[str] = (),
    ) -> None:
        number: Any = spread
        fixed = isinstance(spread, int | float) and not isinstance(spread, bool)
        if not (spread in ("learned", "pixel", "network", *also) if not fixed else 0 < number < math.inf):
            more = "".join(f", or {word!r}" for word in also)
            raise ValueError(
                f"{argument} must be a positive number, 'learned', 'pixel' or 'network'{more}, not {spread!r}"
            )
        super().__init__(network, shape, parameters=parameters + (spread == "network"))
        self.spread = spread
        if spread in ("learned", "pixel"):
            self.raw_scale = nn.Parameter(torch.full(self.shape if spread == "pixel" else (), START))

    def spread_of(self, parts: Sequence[Tensor]) -> Tensor:
        """The spread (..., *shape), given the head's tensors, the last of which is the spread if it is "network"."""
        if isinstance(self.spread, int | float):
            return torch.full_like(parts[0], self.spread)
        raw = parts[-1] + START if self.spread == "network" else self.raw_scale
        return (F.softplus(raw) + SCALE_FLOOR).expand_as(parts[0])

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Spread:
        """Start a learned spread and the mean at those of data with this mean and standard deviation."""
        self._check_start(mean)
        if std is not None:
            self._start_spread(self.spread_for(mean.double(), std.double()))
        super().start_at(mean, std)
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """The mean itself, for a location."""
        return mean

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """One number: the spread at which the distribution has about these moments."""
        return std.square().mean().sqrt()

    def _start_spread(self, value: Tensor) -> None:
        raw = unpositive(value.clamp(2 * SCALE_FLOOR, 1e6) - SCALE_FLOOR + TINY)
        if self.spread == "network":
            self.head.bias(self.head.parameters_per_event - 1).fill_(raw.item() - START)
        elif self.spread in ("learned", "pixel"):
            self.raw_scale.fill_(raw.item())

    def _spread_now(self) -> Tensor:
        """One number: the mean spread over entries, at features 0 if it depends on the code."""
        if isinstance(self.spread, int | float):
            return torch.tensor(float(self.spread))
        network = self.spread == "network"
        raw = self.head.bias(self.head.parameters_per_event - 1) + START if network else self.raw_scale
        return (F.softplus(raw) + SCALE_FLOOR).mean()
