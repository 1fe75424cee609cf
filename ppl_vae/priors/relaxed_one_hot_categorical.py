"""Relaxed one-hot categorical prior on the simplex: z = softmax((l + g) / T), g_k Gumbel, near one-hot for small T."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import distributions
from ..checks import check_size
from .of import FamilyPrior


class RelaxedOneHotCategorical(FamilyPrior):
    """Concrete (Gumbel-softmax) distribution over codes of ``dim`` entries that sum to 1. A density.

    Args:
        dim: number of classes, at least 2.
        probs: class probabilities (dim,), sums to 1; None for equal ones.
        temperature: T, positive; below 1 / (dim - 1) the density has no mode inside the simplex.
        learned: learn the probabilities, from these values.

    Raises:
        ValueError: dim below 2, probabilities that do not sum to 1, or a temperature that is not a positive number.

    Source: Maddison et al. 2017, "The Concrete distribution", whose prior temperature is 0.5; Jang et al. 2017.

    Example:
        >>> RelaxedOneHotCategorical(4)().sample().shape
        torch.Size([4])
    """

    def __init__(
        self,
        dim: int,
        probs: Sequence[float] | Tensor | None = None,
        temperature: float = 0.5,
        learned: bool = False,
    ) -> None:
        check_size("dim", dim, least=2)
        number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not number or not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, not {temperature!r}")
        probs = torch.as_tensor([1 / dim] * dim if probs is None else probs)
        super().__init__(
            distributions.RelaxedOneHotCategorical,
            dim,
            learned,
            probs=probs,
            temperature=torch.tensor(float(temperature)),
        )
