"""The default posterior of a prior: the family of the same name if there is one, else one with the same support."""

from __future__ import annotations

import importlib
from typing import Any

from .. import supports
from ..priors import Given

# By support, for priors without a posterior of the same name. On the reals it is the Normal, which is near the exact
# posterior of a smooth likelihood, whatever the prior.
BY_SUPPORT = {
    supports.REALS: "Normal",
    supports.POSITIVE: "LogNormal",
    supports.UNIT_INTERVAL: "Beta",
    supports.SIMPLEX: "Dirichlet",
    supports.SPHERE: "Hyperspherical",
    supports.ONE_HOT: "OneHotCategorical",
    supports.BINARY: "Bernoulli",
}

OF_GROUPS = {supports.SIMPLEX: "RelaxedOneHotCategorical", supports.ONE_HOT: "OneHotCategorical"}


def natural(prior: Any = None) -> type[Any]:
    """The default posterior class for a prior; Normal without a prior. It takes the prior's ``groups``, if it has some.

    Raises:
        ValueError: no exported posterior has this support.

    Example:
        >>> from ppl_vae import priors
        >>> [natural(p).__name__ for p in (priors.Laplace(2), priors.Gamma(2), priors.Dirichlet(3))]
        ['Normal', 'Gamma', 'Dirichlet']
    """
    posteriors = importlib.import_module("ppl_vae.posteriors")
    if prior is None:
        return posteriors.Normal
    supports.check_stated("prior", prior)
    one, groups = supports.ungrouped(prior.support)
    space, own = supports.of(one), type(prior.prior if isinstance(prior, Given) else prior).__name__
    named = space != supports.REALS and own in posteriors.__all__ and own != "Of"
    name = own if named else (BY_SUPPORT if groups == 1 else OF_GROUPS).get(space)
    if name is None:
        raise ValueError(
            f"no posterior of ppl_vae has the support {supports.name(prior.support)} of prior {own}; use posteriors.Of "
            "with a distribution on it"
        )
    return getattr(posteriors, name)
