"""Logistic prior: p(z) = prod_j s(u_j) (1 - s(u_j)) / s_j with u = (z - m) / s and s() the logistic function."""

from __future__ import annotations

from torch import Tensor

from ..distributions.logistic import Logistic as _Logistic
from .of import FamilyPrior


class Logistic(FamilyPrior):
    """Independent logistic distributions, fixed or learned: tails heavier than the Normal's, variance (pi s)^2 / 3.

    Args:
        dim: size of the code.
        loc: location, a number or (dim,).
        scale: positive, a number or (dim,).
        learned: train both, starting at the values given.

    Raises:
        ValueError: a scale that is not positive.

    Source: Dinh et al. 2015, "NICE" (as the base of a flow).

    Example:
        >>> import torch
        >>> Logistic(1)().log_prob(torch.zeros(1)).exp()
        tensor(0.2500)
    """

    def __init__(self, dim: int, loc: float | Tensor = 0.0, scale: float | Tensor = 1.0, learned: bool = False) -> None:
        super().__init__(_Logistic, dim, learned, loc=loc, scale=scale)
