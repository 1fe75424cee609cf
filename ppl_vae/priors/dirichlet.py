"""Dirichlet prior on the simplex: p(z) = G(sum a) / prod_k G(a_k) prod_k z_k^(a_k - 1).

A density over the first dim - 1 entries. Concentrations below 1 favour sparse z, as in topic models.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from ..checks import check_size
from ..distributions.family import SPARSE
from .of import FamilyPrior


class Dirichlet(FamilyPrior):
    """Dirichlet over codes of ``dim`` entries that sum to 1; uniform by default.

    Args:
        dim: size of the code, at least 2.
        concentration: positive, one number or one for every entry.
        learned: learn one for every entry, from these values.

    Raises:
        ValueError: dim below 2, or a concentration that is not positive.

    Source: Blei et al. 2003; as a VAE's prior: Joo et al. 2020, "Dirichlet variational autoencoder".

    Example:
        >>> Dirichlet(4, concentration=0.1)().sample().sum()
        tensor(1.)
    """

    def __init__(self, dim: int, concentration: float | Sequence[float] | Tensor = 1.0, learned: bool = False) -> None:
        check_size("dim", dim, least=2)
        super().__init__(dist.Dirichlet, dim, learned, SPARSE, concentration=torch.as_tensor(concentration))
