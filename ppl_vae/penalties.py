"""Penalties on a layer's activations a, a vector of d entries for each example: what makes an autoencoder sparse.

    k-sparse:  a' = a on its k largest entries, 0 elsewhere
    L1, L2:    w sum_j |a_j|,  w sum_j a_j^2
    KL:        w sum_j r log(r / m_j) + (1 - r) log((1 - r) / (1 - m_j)),  m_j the mean of a_j over the batch

A penalty is called on the activations, which it may change, and ``cost`` is what it adds to the loss.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .checks import check_size, check_weight
from .parts import Part

__all__ = ["KLRate", "KSparse", "L1", "L2"]


class Penalty(Part):
    """Base of the penalties, and the one that does nothing.

    Attributes:
        squash: the activation that suits the layer it is put on.
    """

    squash = "identity"

    def forward(self, a: Tensor) -> Tensor:
        """Activations (..., d) as the next layer sees them."""
        return a

    def cost(self, a: Tensor) -> Tensor | None:
        """What is added to the loss for activations a (B, d): (B,), a scalar for the batch, or None."""
        return None

    def check(self, size: int, squash: str) -> None:
        """ValueError unless the penalty fits a layer of ``size`` entries behind the activation ``squash``."""


class _Weighted(Penalty):
    """Base of the penalties with a weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = check_weight("weight", weight)

    def extra_repr(self) -> str:
        return f"weight={self.weight:g}"


class KSparse(Penalty):
    """Keeps the k largest activations of every example and sets the others to 0; the gradient passes only there.

    Args:
        k: how many entries are kept.

    Raises:
        ValueError: k below 1; when the model is built, k larger than the layer.

    Source: Makhzani and Frey 2014, "k-sparse autoencoders".

    Example:
        >>> KSparse(2)(torch.tensor([[0.1, -3.0, 2.0, 0.5]]))
        tensor([[0.0000, 0.0000, 2.0000, 0.5000]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = check_size("k", k)

    def forward(self, a: Tensor) -> Tensor:
        """Activations (..., d), all but the k largest 0."""
        top = a.topk(self.k, -1)
        return torch.zeros_like(a).scatter(-1, top.indices, top.values)

    def check(self, size: int, squash: str) -> None:
        """ValueError if the layer has fewer than k entries."""
        if self.k > size:
            raise ValueError(f"k must be at most the size of the layer, {size}, not {self.k}")

    def extra_repr(self) -> str:  # noqa: D102
        return f"k={self.k}"


class L1(_Weighted):
    """Sum of the absolute activations, times a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a negative weight.

    Source: Olshausen and Field 1996; Ng 2011, "Sparse autoencoder".

    Example:
        >>> L1(0.5).cost(torch.tensor([[1.0, -3.0]]))
        tensor([2.])
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__(weight)

    def cost(self, a: Tensor) -> Tensor:
        """Penalty of each example, (B,)."""
        return self.weight * a.abs().sum(-1)


class L2(_Weighted):
    """Sum of the squared activations, times a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a negative weight.

    Example:
        >>> L2(0.5).cost(torch.tensor([[1.0, -3.0]]))
        tensor([5.])
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__(weight)

    def cost(self, a: Tensor) -> Tensor:
        """Penalty of each example, (B,)."""
        return self.weight * a.square().sum(-1)


class KLRate(_Weighted):
    """KL divergence from a target rate to the mean activation of every entry over the batch, summed over the entries.

    Args:
        rate: the mean activation wanted, between 0 and 1.
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a rate outside (0, 1), a negative weight; when the model is built, activations outside (0, 1).

    Source: Lee, Ekanadham and Ng 2008; Ng 2011, "Sparse autoencoder".

    Example:
        >>> KLRate(0.25).cost(torch.full((3, 2), 0.25))
        tensor(0.)
    """

    squash = "sigmoid"

    def __init__(self, rate: float = 0.05, weight: float = 0.1) -> None:
        super().__init__(weight)
        if not _is_number(rate) or not 0 < rate < 1:
            raise ValueError(
                f"rate must be a mean activation between 0 and 1, both excluded, such as 0.05, not {rate!r}"
            )
        self.rate = rate

    def cost(self, a: Tensor) -> Tensor:
        """Penalty of the batch, a scalar."""
        mean = a.flatten(0, -2).mean(0)
        tiny = torch.finfo(a.dtype).tiny  # the logarithm of a unit that never fires stays finite
        on, off = mean.clamp(min=tiny).log(), (1 - mean).clamp(min=tiny).log()
        least = self.rate * math.log(self.rate) + (1 - self.rate) * math.log1p(-self.rate)
        return self.weight * (least - self.rate * on - (1 - self.rate) * off).sum()

    def check(self, size: int, squash: str) -> None:
        """ValueError unless the activations lie between 0 and 1."""
        if squash != "sigmoid":
            raise ValueError(
                f"KLRate needs activations between 0 and 1: make its layer's activation 'sigmoid', not {squash!r}"
            )

    def extra_repr(self) -> str:  # noqa: D102
        return f"rate={self.rate:g}, weight={self.weight:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
