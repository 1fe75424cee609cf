"""Relaxed one-hot categorical prior on the simplex: z = softmax((l + g) / T), g_k Gumbel, near one-hot for small T.

A code of several variables is their points side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import distributions
from ..distributions.grouped import check_groups
from .of import FamilyPrior


class RelaxedOneHotCategorical(FamilyPrior):
    """Concrete (Gumbel-softmax) distribution over codes whose entries, or those of each group, sum to 1. A density.

    Args:
        dim: size of the code: number of classes, of all groups together.
        probs: class probabilities (classes,), sums to 1; or (groups, classes), for each group its own; None for equal
            ones.
        temperature: T, positive; below 1 / (classes - 1) the density has no mode inside the simplex.
        learned: learn the probabilities, from these values.
        groups: number of categorical variables, each of dim / groups classes, at least 2.

    Raises:
        ValueError: groups that do not divide dim into at least 2 classes each, probabilities that do not sum to 1, or a
            temperature that is not a positive number.

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
        groups: int = 1,
    ) -> None:
        classes = check_groups(dim, groups)
        number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not number or not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, not {temperature!r}")
        probs = torch.as_tensor([1 / classes] * classes if probs is None else probs)
        super().__init__(
            distributions.RelaxedOneHotCategorical,
            dim,
            learned,
            groups=groups,
            probs=probs,
            temperature=torch.tensor(float(temperature)),
        )
