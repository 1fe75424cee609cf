"""Corruptions c(x' | x) of the data or of a code: the input of an encoder, or a decoder, in training instead of x.

    Gaussian:         x' = x + s e,  e ~ N(0, I)
    relative:         the same with E|s e|^2 = r R^2,  R^2 = mean |x - mean x|^2 over the batch
    masking:          each entry becomes 0 with probability r
    salt and pepper:  each entry becomes, with probability r, the lowest or the highest value, equally often

All draws come from torch's generators, entry by entry.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from .checks import check_weight
from .parts import Part

__all__ = ["Corruption", "Gaussian", "Masking", "RelativeGaussian", "SaltAndPepper"]


class Corruption(Part):
    """Base of the corruptions; a call returns one draw."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """One draw of the corrupted data, shaped like x."""


class Gaussian(Corruption):
    """Adds independent Normal noise to every entry.

    Args:
        scale: standard deviation of the noise, in the data's unit.

    Raises:
        ValueError: a negative scale.

    Source: Vincent et al. 2010, "Stacked denoising autoencoders", section 4.1.

    Example:
        >>> Gaussian(0.3)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, scale: float = 0.3) -> None:
        super().__init__()
        self.scale = check_weight("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """x with noise."""
        return x + self.scale * torch.randn_like(x)

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale:g}"


class Masking(Corruption):
    """Sets each entry to 0 with a given probability.

    Args:
        rate: the probability.

    Raises:
        ValueError: a rate outside [0, 1].

    Source: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".

    Example:
        >>> Masking(1.0)(torch.ones(2, 2))
        tensor([[0., 0.],
                [0., 0.]])
    """

    def __init__(self, rate: float = 0.3) -> None:
        super().__init__()
        self.rate = _check_rate(rate)

    def forward(self, x: Tensor) -> Tensor:
        """x with entries masked."""
        return torch.where(torch.rand_like(x) < self.rate, 0.0, x)

    def extra_repr(self) -> str:  # noqa: D102
        return f"rate={self.rate:g}"


class RelativeGaussian(Corruption):
    """Adds independent Normal noise, scaled to the spread of the batch.

    R is the root mean square distance of the batch's examples from their centre. The gradient passes through R,
    so codes cannot escape the noise by growing.

    Args:
        noise: mean squared length of the noise as a share of R^2.

    Raises:
        ValueError: a negative noise.

    Source: Poole, Sohl-Dickstein and Ganguli 2014, "Analyzing noise in autoencoders and deep networks".

    Example:
        >>> RelativeGaussian(0.05)(torch.rand(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__()
        self.noise = check_weight("noise", noise)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) with noise."""
        squared = (x - x.mean(0)).square().flatten(1).sum(1).mean()
        scale = (self.noise * squared / x[0].numel() + torch.finfo(x.dtype).tiny).sqrt()  # finite gradient at 0
        return x + scale * torch.randn_like(x)

    def extra_repr(self) -> str:  # noqa: D102
        return f"noise={self.noise:g}"


class SaltAndPepper(Corruption):
    """Sets each entry, with a given probability, to the lowest or the highest value, with equal chances.

    Args:
        rate: the probability.
        low: the lowest value.
        high: the highest value.

    Raises:
        ValueError: a rate outside [0, 1], or ``low`` not below ``high``.

    Source: Vincent et al. 2010, "Stacked denoising autoencoders", section 4.1.

    Example:
        >>> SaltAndPepper(1.0)(torch.full((1, 100), 0.5)).unique()
        tensor([0., 1.])
    """

    def __init__(self, rate: float = 0.3, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"low must be below high, not {low!r} with high {high!r}")
        self.rate, self.low, self.high = _check_rate(rate), low, high

    def forward(self, x: Tensor) -> Tensor:
        """x with salt and pepper."""
        u = torch.rand_like(x)
        x = torch.where(u < self.rate, self.high, x)
        return torch.where(u < self.rate / 2, self.low, x)

    def extra_repr(self) -> str:  # noqa: D102
        return f"rate={self.rate:g}, low={self.low:g}, high={self.high:g}"


def _check_rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"rate must be a probability between 0 and 1, not {value!r}")
    return value
