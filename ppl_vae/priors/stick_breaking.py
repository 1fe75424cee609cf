"""Stick-breaking prior on the simplex: the GEM distribution truncated to dim entries.

    v_k ~ Beta(1, c),    z_k = v_k prod_{j<k} (1 - v_j),    z_dim = what is left

Earlier entries have larger means, so later ones are used only if the data need them.
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..checks import check_size
from ..distributions.family import SPARSE
from ..distributions.softplus import inverse_softplus
from .base import Prior


class StickBreaking(Prior):
    """Weights of a Dirichlet process, truncated to ``dim``.

    Args:
        dim: size of the code, at least 2.
        concentration: c, positive; a larger c spreads the mass over more entries.
        learned: learn c.

    Raises:
        ValueError: dim below 2, or a concentration that is not a positive number.

    Source: Sethuraman 1994; Nalisnick and Smyth 2017, "Stick-breaking variational autoencoders".

    Example:
        >>> StickBreaking(4)().mean
        tensor([0.5000, 0.2500, 0.1250, 0.1250])
    """

    support = constraints.simplex
    concentration: Tensor

    def __init__(self, dim: int, concentration: float = 1.0, learned: bool = False) -> None:
        super().__init__(check_size("dim", dim, least=2))
        number = isinstance(concentration, int | float) and not isinstance(concentration, bool)
        if not number or not 0 < concentration < math.inf:
            raise ValueError(f"concentration must be a positive number, not {concentration!r}")
        self.learned = learned
        start = torch.tensor(float(concentration))
        if learned:
            self.raw_concentration = nn.Parameter(inverse_softplus((start - SPARSE).clamp(min=SPARSE)))
        else:
            self.register_buffer("concentration", start, persistent=False)

    def forward(self, y: Tensor | None = None) -> distributions.StickBreaking:
        """Stick-breaking distribution of event shape (dim,); ``y`` is not used."""
        c = F.softplus(self.raw_concentration) + SPARSE if self.learned else self.concentration
        c = c.unsqueeze(-1).expand(*c.shape, self.dim - 1)
        return distributions.StickBreaking(dist.Beta(torch.ones_like(c), c))
