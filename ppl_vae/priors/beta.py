"""Beta prior: p(z) = prod_j z_j^(a-1) (1 - z_j)^(b-1) / B(a, b), z_j in (0, 1)."""

from __future__ import annotations

import pyro.distributions as dist

from ..distributions.family import SPARSE
from .of import FamilyPrior


class Beta(FamilyPrior):
    """Independent Beta entries; uniform on the unit cube by default.

    Args:
        dim: size of the code.
        concentration1: a, positive.
        concentration0: b, positive.
        learned: learn both for every entry, from these values.

    Raises:
        ValueError: dim below 1, or a concentration that is not positive.

    Source: Nalisnick and Smyth 2017; implicit gradients: Figurnov et al. 2018.

    Example:
        >>> Beta(3, concentration1=2.0)().mean
        tensor([0.6667, 0.6667, 0.6667])
    """

    def __init__(
        self, dim: int, concentration1: float = 1.0, concentration0: float = 1.0, learned: bool = False
    ) -> None:
        super().__init__(dist.Beta, dim, learned, SPARSE, concentration1=concentration1, concentration0=concentration0)
