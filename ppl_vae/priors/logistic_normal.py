"""Logistic-Normal prior on the simplex: z = softmax(e), e_k ~ N(0, s^2) independent, k = 1 ... dim."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..checks import check_size
from ..distributions.softplus import inverse_softplus
from .base import Prior


class LogisticNormal(Prior):
    """Softmax of independent Normals, or with mean and scales learned in an orthonormal basis of the log-ratios.

    Args:
        dim: size of the code, at least 2.
        scale: s, positive.
        learned: learn the mean (dim - 1,) and the scales (dim - 1,) of the log-ratios, from 0 and s.

    Raises:
        ValueError: dim below 2, or a scale that is not a positive number.

    Source: Aitchison and Shen 1980; in topic models: Blei and Lafferty 2007.

    Example:
        >>> prior = LogisticNormal(4)
        >>> prior().sample().shape
        torch.Size([4])
    """

    support = constraints.simplex
    scale: Tensor

    def __init__(self, dim: int, scale: float = 1.0, learned: bool = False) -> None:
        super().__init__(check_size("dim", dim, least=2))
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise ValueError(f"scale must be a positive number, not {scale!r}")
        self.learned = learned
        if learned:
            self.loc = nn.Parameter(torch.zeros(dim - 1))
            self.raw_scale = nn.Parameter(torch.full((dim - 1,), inverse_softplus(float(scale))))
        else:
            self.register_buffer("loc", torch.zeros(dim - 1), persistent=False)
            self.register_buffer("scale", torch.full((dim - 1,), float(scale)), persistent=False)

    def forward(self, y: Tensor | None = None) -> distributions.LogisticNormal:
        """Logistic-Normal of event shape (dim,); ``y`` is not used."""
        return distributions.LogisticNormal(self.loc, F.softplus(self.raw_scale) if self.learned else self.scale)
