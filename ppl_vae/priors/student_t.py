"""Student's t prior: p(z) = prod_j t(z_j; df, m_j, s_j), density proportional to (1 + u^2 / df)^(-(df + 1) / 2)."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from .of import FamilyPrior


class StudentT(FamilyPrior):
    """Independent t distributions, fixed or learned: heavier tails than the Normal's, so far-out codes cost less.

    Args:
        dim: size of the code.
        df: degrees of freedom, positive, a number or (dim,); the variance is finite above 2.
        loc: location, a number or (dim,).
        scale: positive, a number or (dim,).
        learned: train all three, starting at the values given.

    Raises:
        ValueError: df or a scale that is not positive.

    Source: Takahashi et al. 2018, "Student-t variational autoencoder"; Kim et al. 2024, "t3-variational autoencoder".

    Example:
        >>> import torch
        >>> StudentT(1, df=1.0)().log_prob(torch.zeros(1)).exp()
        tensor(0.3183)
    """

    def __init__(
        self,
        dim: int,
        df: float | Tensor = 5.0,
        loc: float | Tensor = 0.0,
        scale: float | Tensor = 1.0,
        learned: bool = False,
    ) -> None:
        super().__init__(dist.StudentT, dim, learned, df=df, loc=loc, scale=scale)
