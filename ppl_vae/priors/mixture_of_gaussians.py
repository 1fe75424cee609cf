"""Mixture-of-Gaussians prior: p(z) = sum_c w_c N(z; m_c, diag s_c^2), all learned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..distributions.gaussian_mixture import GaussianMixture
from ..distributions.softplus import inverse_softplus
from .base import Prior

SCALE_FLOOR = 1e-6  # keeps the density finite when the softplus underflows
START = math.sqrt(0.5)  # standard deviation of the means about 0, and of each component about its mean


class MixtureOfGaussians(Prior):
    """Diagonal Normals with learned weights, means and scales: clusters in the code.

    It starts with equal weights, means drawn from N(0, 1/2) and scales sqrt(1/2), so the mixture starts with about the
    mean and variance of N(0, I), as encoders do, and no two components are equal.

    Args:
        dim: size of the code.
        components: number of Normals.

    Raises:
        ValueError: fewer than one component.

    Source: Dilokthanakul et al. 2016; Jiang et al. 2017, "Variational deep embedding"; Tomczak and Welling 2018.

    Example:
        >>> prior = MixtureOfGaussians(2, components=3)
        >>> prior.responsibilities(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim: int, components: int = 10) -> None:
        super().__init__(dim)
        self.components = check_size("components", components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(START * torch.randn(components, dim))
        self.raw_scales = nn.Parameter(torch.full((components, dim), inverse_softplus(START - SCALE_FLOOR)))

    def forward(self, y: Tensor | None = None) -> GaussianMixture:
        """The mixture, event shape (dim,); ``y`` is not used."""
        return GaussianMixture(self.logits, self.means, F.softplus(self.raw_scales) + SCALE_FLOOR)

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(c | z) of codes z (..., dim): (..., components), which sum to 1."""
        return self().responsibilities(z)

    def extra_repr(self) -> str:  # noqa: D102
        return f"dim={self.dim}, components={self.components}"
