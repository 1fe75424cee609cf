"""Laplace prior: p(z) = prod_j exp(-|z_j - m_j| / s_j) / (2 s_j), which favours sparse codes."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from .of import FamilyPrior


class Laplace(FamilyPrior):
    """Independent Laplace distributions, fixed or learned.

    Args:
        dim: size of the code.
        loc: location, a number or (dim,).
        scale: positive, a number or (dim,).
        learned: train both, starting at the values given.

    Raises:
        ValueError: a scale that is not positive.

    Source: Barello, Charles and Pillow 2018, "Sparse-coding variational auto-encoders".

    Example:
        >>> import torch
        >>> round(Laplace(2)().log_prob(torch.zeros(2)).item(), 4)
        -1.3863
    """

    def __init__(self, dim: int, loc: float | Tensor = 0.0, scale: float | Tensor = 1.0, learned: bool = False) -> None:
        super().__init__(dist.Laplace, dim, learned, loc=loc, scale=scale)
