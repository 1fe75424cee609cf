"""The posterior family that goes with a prior when none is named: its own where there is one, else its support's."""

from __future__ import annotations

import importlib
from typing import Any

from .. import supports
from ..priors import Given

# By support, for priors without a posterior family of their own name. On the reals a Normal serves every prior: the
# exact posterior of a smooth likelihood is near one.
BY_SUPPORT = {
    supports.REALS: "Normal",
    supports.POSITIVE: "LogNormal",
    supports.UNIT_INTERVAL: "Beta",
    supports.SIMPLEX: "Dirichlet",
    supports.SPHERE: "Hyperspherical",
    supports.ONE_HOT: "OneHotCategorical",
    supports.BINARY: "Bernoulli",
}


def natural(prior: Any = None) -> type[Any]:
    """The posterior class on a prior's support to take when none is named; Normal without a prior.

    Raises:
        ValueError: no exported posterior lives there.

    Example:
        >>> from ppl_vae import priors
        >>> [natural(p).__name__ for p in (priors.Laplace(2), priors.Gamma(2), priors.Dirichlet(3))]
        ['Normal', 'Gamma', 'Dirichlet']
    """
    posteriors = importlib.import_module("ppl_vae.posteriors")
    if prior is None:
        return posteriors.Normal
    space, own = supports.of(prior.support), type(prior.prior if isinstance(prior, Given) else prior).__name__
    name = own if space != supports.REALS and own in posteriors.__all__ and own != "Of" else BY_SUPPORT.get(space)
    if name is None:
        raise ValueError(
            f"no posterior of ppl_vae lives on {space.name}, the support of prior {own}; posteriors.Of with a "
            "distribution there fits"
        )
    return getattr(posteriors, name)
