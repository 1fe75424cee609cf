"""Gamma prior: p(z) = prod_j b^a z_j^(a-1) exp(-b z_j) / G(a), z_j > 0."""

from __future__ import annotations

import pyro.distributions as dist

from ..distributions.family import SPARSE
from .of import FamilyPrior


class Gamma(FamilyPrior):
    """Independent Gamma entries; Exponential(1) by default.

    Args:
        dim: size of the code.
        concentration: a, positive.
        rate: b, positive.
        learned: learn both for every entry, from these values.

    Raises:
        ValueError: dim below 1, or a concentration or rate that is not positive.

    Source: Figurnov et al. 2018, "Implicit reparameterization gradients".

    Example:
        >>> Gamma(2, concentration=3.0, rate=2.0)().mean
        tensor([1.5000, 1.5000])
    """

    def __init__(self, dim: int, concentration: float = 1.0, rate: float = 1.0, learned: bool = False) -> None:
        super().__init__(dist.Gamma, dim, learned, SPARSE, concentration=concentration, rate=rate)
