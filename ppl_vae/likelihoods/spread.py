"""Base of the likelihoods with a mean (or location) and one positive number beside it: a scale or a concentration.

The number is fixed, one parameter, one parameter for every entry of x, or a function of z. Learned ones are
softplus(.) + 0.001: without the floor a free scale runs to 0 on constant entries, and the density to infinity.
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
START = inverse_softplus(1 - SCALE_FLOOR)  # at which a learned spread is 1
TINY = 1e-6  # below every mean that a positive likelihood takes


def positive(raw: Tensor) -> Tensor:
    """softplus(raw) + 1e-6: a mean that no raw value brings to 0."""
    return F.softplus(raw) + TINY


def unpositive(mean: Tensor) -> Tensor:
    """Inverse of ``positive``, for means kept at 0.001 or more.

    Example:
        >>> positive(unpositive(torch.tensor([0.5, 300.0])))
        tensor([  0.5000, 300.0000])
    """
    return inverse_softplus(mean.clamp(min=1e-3) - TINY)


class Spread(Likelihood):
    """A likelihood with a spread beside the parameters of every entry.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        spread: a positive number, "learned", "pixel" or "network", or one of the words ``also``.
        parameters: of the head for every entry, the spread not counted.
        argument: what errors call ``spread``.
        also: further words that a subclass understands.
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
        """The spread for the head's tensors, of which it is the last if the network gives it; shape (..., *shape)."""
        if isinstance(self.spread, int | float):
            return torch.full_like(parts[0], self.spread)
        raw = parts[-1] + START if self.spread == "network" else self.raw_scale
        return (F.softplus(raw) + SCALE_FLOOR).expand_as(parts[0])

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Spread:
        """Start a learned spread at that of data with this mean and standard deviation, then the mean at the data's."""
        self._check_start(mean)
        if std is not None:
            self._start_spread(self.spread_for(mean.double(), std.double()))
        super().start_at(mean, std)
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """The mean itself, of a location."""
        return mean

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """The spread at which the distribution has about these moments, one number."""
        return std.square().mean().sqrt()

    def _start_spread(self, value: Tensor) -> None:
        raw = unpositive(value.clamp(2 * SCALE_FLOOR, 1e6) - SCALE_FLOOR + TINY)
        if self.spread == "network":
            self.head.bias(self.head.parameters_per_event - 1).fill_(raw.item() - START)
        elif self.spread in ("learned", "pixel"):
            self.raw_scale.fill_(raw.item())

    def _spread_now(self) -> Tensor:
        """The spread in the middle of things, one number: of all entries the mean, of all codes that at features 0."""
        if isinstance(self.spread, int | float):
            return torch.tensor(float(self.spread))
        network = self.spread == "network"
        raw = self.head.bias(self.head.parameters_per_event - 1) + START if network else self.raw_scale
        return (F.softplus(raw) + SCALE_FLOOR).mean()
