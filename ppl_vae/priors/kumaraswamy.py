"""Kumaraswamy prior: p(z) = prod_j a b z_j^(a-1) (1 - z_j^a)^(b-1), z_j in (0, 1)."""

from __future__ import annotations

from .. import distributions
from ..distributions.family import SPARSE
from .of import FamilyPrior


class Kumaraswamy(FamilyPrior):
    """Independent Kumaraswamy entries; uniform on the unit cube by default.

    Args:
        dim: size of the code.
        concentration1: a, positive.
        concentration0: b, positive.
        learned: learn both for every entry, from these values.

    Raises:
        ValueError: dim below 1, or a concentration that is not positive.

    Source: Kumaraswamy 1980.

    Example:
        >>> Kumaraswamy(2, concentration0=3.0)().mean  # equal to Beta(1, 3)
        tensor([0.2500, 0.2500])
    """

    def __init__(
        self, dim: int, concentration1: float = 1.0, concentration0: float = 1.0, learned: bool = False
    ) -> None:
        super().__init__(
            distributions.Kumaraswamy,
            dim,
            learned,
            SPARSE,
            concentration1=concentration1,
            concentration0=concentration0,
        )
