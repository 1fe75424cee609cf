"""Categorical prior over one-hot codes: p(z) = prod_k r_k^z_k, one entry of z is 1 and the others 0."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from ..checks import check_size
from .of import FamilyPrior


class OneHotCategorical(FamilyPrior):
    """One-hot codes of ``dim`` classes; equally probable by default. A probability mass.

    Args:
        dim: number of classes, at least 2.
        probs: r (dim,), sums to 1; None for equal ones.
        learned: learn them, from these values.

    Raises:
        ValueError: dim below 2, or probabilities of another shape or that do not sum to 1.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models".

    Example:
        >>> OneHotCategorical(4)().log_prob(torch.tensor([0.0, 1.0, 0.0, 0.0])).exp()
        tensor(0.2500)
    """

    def __init__(self, dim: int, probs: Sequence[float] | Tensor | None = None, learned: bool = False) -> None:
        probs = [1 / check_size("dim", dim, least=2)] * dim if probs is None else probs
        super().__init__(dist.OneHotCategorical, dim, learned, probs=torch.as_tensor(probs))
