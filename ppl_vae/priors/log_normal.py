"""Log-Normal prior: log z_j ~ N(m, s^2), z_j > 0."""

from __future__ import annotations

import pyro.distributions as dist

from .of import FamilyPrior


class LogNormal(FamilyPrior):
    """Independent log-Normal entries.

    Args:
        dim: size of the code.
        loc: m, mean of the logarithm.
        scale: s, its standard deviation, positive.
        learned: learn both for every entry, from these values.

    Raises:
        ValueError: dim below 1, or a scale that is not positive.

    Example:
        >>> round(LogNormal(1)().log_prob(LogNormal(1)().mean * 0 + 1).exp().item(), 4)
        0.3989
    """

    def __init__(self, dim: int, loc: float = 0.0, scale: float = 1.0, learned: bool = False) -> None:
        super().__init__(dist.LogNormal, dim, learned, loc=loc, scale=scale)
