"""Bernoulli prior over binary codes: p(z) = prod_j r^z_j (1 - r)^(1 - z_j), z_j in {0, 1}."""

from __future__ import annotations

import pyro.distributions as dist

from .of import FamilyPrior


class Bernoulli(FamilyPrior):
    """Independent binary entries. A probability mass.

    Args:
        dim: size of the code.
        probs: r, between 0 and 1.
        learned: learn one for every entry, from this value.

    Raises:
        ValueError: dim below 1, or a probability outside [0, 1].

    Source: binary codes: Mnih and Gregor 2014, "Neural variational inference and learning in belief networks".

    Example:
        >>> Bernoulli(3)().log_prob(Bernoulli(3)().sample()).exp()
        tensor(0.1250)
    """

    def __init__(self, dim: int, probs: float = 0.5, learned: bool = False) -> None:
        super().__init__(dist.Bernoulli, dim, learned, probs=probs)
