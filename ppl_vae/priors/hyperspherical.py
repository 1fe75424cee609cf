"""Hyperspherical prior: uniform on the unit sphere of R^dim, or power spherical, p(z) ~ (1 + m'z)^k.

Densities are with respect to the sphere's surface.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import distributions
from ..checks import check_size
from ..distributions.softplus import inverse_softplus
from .base import Prior


class Hyperspherical(Prior):
    """Codes of length 1: uniform by default, concentrated around the first axis if the concentration is positive.

    Args:
        dim: size of the code, at least 2; the sphere has dim - 1 dimensions.
        concentration: k, not negative; 0 is the uniform distribution.
        learned: learn m and k, starting at the first axis and this value.

    Raises:
        ValueError: dim below 2, or a concentration that is negative or not a number.

    Source: Davidson et al. 2018, "Hyperspherical variational auto-encoders"; De Cao and Aziz 2020.

    Example:
        >>> round(Hyperspherical(3)().sample().square().sum().item(), 4)
        1.0
    """

    support = distributions.SphereUniform.support

    def __init__(self, dim: int, concentration: float = 0.0, learned: bool = False) -> None:
        super().__init__(check_size("dim", dim, least=2))
        number = isinstance(concentration, int | float) and not isinstance(concentration, bool)
        if not number or not 0 <= concentration < math.inf:
            raise ValueError(f"concentration must be a number of at least 0, not {concentration!r}")
        self.learned, self.uniform = learned, not learned and concentration == 0
        first = torch.eye(dim)[0]
        if learned:
            start = max(float(concentration), 0.01)  # at 0 the direction would have no gradient
            self.direction = nn.Parameter(first)
            self.raw_concentration = nn.Parameter(torch.tensor(inverse_softplus(start)))
        else:
            self.register_buffer("direction", first, persistent=False)
            self.register_buffer("concentration", torch.tensor(float(concentration)), persistent=False)

    def forward(self, y: Tensor | None = None) -> distributions.SphereUniform | distributions.PowerSpherical:
        """Distribution of batch shape () and event shape (dim,); ``y`` is not used."""
        if self.uniform:
            return distributions.SphereUniform(self.direction)
        if not self.learned:
            return distributions.PowerSpherical(self.direction, self.concentration)
        return distributions.PowerSpherical(F.normalize(self.direction, dim=-1), F.softplus(self.raw_concentration))
