"""Categorical prior over one-hot codes: p(z) = prod_k r_k^z_k, one entry of z is 1 and the others 0.

A code of several categorical variables is their one-hot vectors side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions.grouped import check_groups
from .of import FamilyPrior


class OneHotCategorical(FamilyPrior):
    """One-hot codes of ``dim`` classes, or of ``groups`` independent variables; a probability mass, uniform by default.

    Args:
        dim: size of the code: number of classes, of all groups together.
        probs: r (classes,), sums to 1; or (groups, classes), for each group its own; None for equal ones.
        learned: learn them, from these values.
        groups: number of categorical variables, each of dim / groups classes, at least 2.

    Raises:
        ValueError: groups that do not divide dim into at least 2 classes each, or probabilities of another shape or
            that do not sum to 1.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models".

    Example:
        >>> OneHotCategorical(4)().log_prob(torch.tensor([0.0, 1.0, 0.0, 0.0])).exp()
        tensor(0.2500)
        >>> OneHotCategorical(64, groups=8)().sample().sum()  # 8 variables of 8 classes
        tensor(8.)
    """

    def __init__(
        self, dim: int, probs: Sequence[float] | Tensor | None = None, learned: bool = False, groups: int = 1
    ) -> None:
        classes = check_groups(dim, groups)
        probs = torch.as_tensor([1 / classes] * classes if probs is None else probs)
        super().__init__(dist.OneHotCategorical, dim, learned, groups=groups, probs=probs)
