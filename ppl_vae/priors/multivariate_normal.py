"""Full-covariance Normal prior: p(z) = N(m, L L') with L lower triangular."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ..checks import check_size
from .of import FamilyPrior


class MultivariateNormal(FamilyPrior):
    """Normal with correlated codes; N(0, I) by default.

    Args:
        dim: size of the code.
        loc: mean m, a number or (dim,).
        scale_tril: Cholesky factor L (dim, dim), positive on its diagonal; the identity by default.
        learned: train both, starting at the values given.

    Raises:
        ValueError: a factor that is not lower triangular with a positive diagonal.

    Source: Kingma and Welling 2019, "An introduction to variational autoencoders", section 2.5.1.

    Example:
        >>> round(MultivariateNormal(2)().log_prob(torch.zeros(2)).item(), 4)
        -1.8379
    """

    def __init__(
        self, dim: int, loc: float | Tensor = 0.0, scale_tril: Tensor | None = None, learned: bool = False
    ) -> None:
        factor = torch.eye(check_size("dim", dim)) if scale_tril is None else scale_tril
        super().__init__(dist.MultivariateNormal, dim, learned, loc=loc, scale_tril=factor)
