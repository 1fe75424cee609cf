"""The ELBO with its sums over discrete latents done exactly, all their values side by side in the particle plate.

    sum_d q(d | x) E_{q(c | d, x)} [log sum_m p(x, c, d, m) - log q(c, d | x)]

over the discrete sites d of guide and model, the discrete sites m of the model alone, which are summed out, and the
continuous sites c, which are sampled. Gradients need no score function: q(d | x) is differentiated as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .base import Estimator, Terms
from .site import Program, particles_of
from .sites import Sites

MOST = 4096  # joint values of all discrete sites


class Enum(Estimator):
    """ELBO with an exact sum over discrete latents, those that only the model has included.

    Unbiased, and without variance where all latents are discrete. Costs as many particles as the discrete sites have
    joint values: 2^D for a vector of D Bernoulli variables. For discrete sites in further plates, or outside the data
    plate, use pyro.infer.TraceEnum_ELBO.

    Args:
        num_particles: K, samples of the continuous sites at each joint value of the discrete ones.
        max_plate_nesting: plates inside one another, particles apart; found by one run where it is None.

    Needs discrete sites with finite support inside one data plate, 4096 joint values at most. Any beta where every
    latent site of the model is in the guide; 1 otherwise, as beta cannot enter a sum over the model's own sites.

    Raises:
        ValueError: when run, a discrete site of another kind, or too many joint values.

    Source: Obermeyer et al. 2019, "Tensor variable elimination for plated factor graphs" (the general case).

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.OneHotCategorical(4),
        ...     posteriors.OneHotCategorical(networks.MLP(6, [8]), 4),
        ...     likelihoods.Bernoulli(networks.MLP(4, [8]), 6),
        ... )
        >>> a, b = (Enum().loss(vae.model, vae.guide, torch.ones(3, 6)) for _ in range(2))
        >>> a == b
        True
    """

    per_datum = True
    own_scales = True

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; exact where all latents are discrete."""
        sizes, alone = self._sizes(model, guide, args, kwargs)
        count, summed = self.num_particles * math.prod(sizes.values()), math.prod(sizes[name] for name in alone)
        draw = _Listed(sizes, summed)
        traced = self._trace(model, guide, args, kwargs, num_particles=count, draw=draw, marginal=True)
        weights, log_d = traced.weights(), traced.score()
        # Particles in the order (samples, values in the guide, values in the model alone).
        shape = self.num_particles, -1, summed, traced.size
        q = torch.ones(()) if log_d is None else log_d.reshape(shape)[:, :, 0].exp()
        log_likelihood, kl = weights.log_likelihood, weights.log_q - weights.log_prior
        if alone:
            refuse_beta(traced)
            # The prior of the guide's sites may depend on those summed out: it belongs under the sum.
            own: Any = sum(traced.log_prob(traced.model[name]) for name in alone)
            joint = (log_likelihood + weights.log_prior + own).reshape(shape)
            surrogate = elbo = joint.logsumexp(2) - weights.log_q.reshape(shape)[:, :, 0]
            reconstruction = (joint.softmax(2) * log_likelihood.reshape(shape)).sum(2)
        else:
            surrogate, reconstruction, kl = (t.reshape(shape)[:, :, 0] for t in (weights.log_w, log_likelihood, kl))
            elbo = reconstruction - kl
        surrogate, elbo, reconstruction = ((q * term).sum(1).mean(0) for term in (surrogate, elbo, reconstruction))
        return Terms(surrogate, elbo, reconstruction, reconstruction - elbo, traced.scale, traced.subsampling)

    def _sizes(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, int], list[str]]:
        """How many values every discrete site has, those of the model alone last; and the names of these."""
        with torch.no_grad():
            traced = self._trace(model, guide, args, kwargs, num_particles=1, marginal=True)
        alone = [site for site in traced.latent if site["name"] not in traced.guide]
        discrete = [site for site in traced.drawn.values() if not site["fn"].has_rsample] + alone
        sizes = {site["name"]: len(_values(site["fn"], site["name"])) for site in discrete}
        for site in discrete:
            if len(site["cond_indep_stack"]) > 1:
                raise ValueError(
                    f"site {site['name']} is discrete and in a plate besides {traced.plate.name}; "
                    "pyro.infer.TraceEnum_ELBO will serve"
                )
        if math.prod(sizes.values()) > MOST:
            raise ValueError(_too_many(" x ".join(f"{size} of {name}" for name, size in sizes.items())))
        return sizes, [site["name"] for site in alone]


class _Listed(Messenger):
    """Gives discrete sites all their values in turn along the particle plate, the last site's fastest.

    Args:
        sizes: how many values each site has.
        summed: joint values of the sites that only the model has: what the guide samples is the same for all of them.
    """

    def __init__(self, sizes: Mapping[str, int], summed: int) -> None:
        super().__init__()
        self.sizes, self.summed = sizes, summed

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        fn, plate = msg["fn"], particles_of(msg)
        if msg["done"] or msg["is_observed"] or plate is None or type(fn).__name__ == "_Subsample":
            return
        count, axis = plate.size, plate.dim - len(fn.event_shape)
        particle = torch.arange(count)
        if msg["name"] in self.sizes:
            names = list(self.sizes)
            faster = math.prod(self.sizes[name] for name in names[names.index(msg["name"]) + 1 :])
            table = _values(fn, msg["name"])
            values = table[(particle // faster % len(table)).to(table.device)]
            values = values.reshape(count, *(1,) * (-plate.dim - 1), *fn.event_shape)
            msg["value"], msg["done"] = values.expand(fn.shape()), True
        elif self.summed > 1:
            drawn = fn(*msg["args"], **msg["kwargs"])
            msg["value"] = drawn.index_select(axis, (particle // self.summed * self.summed).to(drawn.device))
            msg["done"] = True


def _values(fn: Any, name: str) -> Tensor:
    """All values of a discrete distribution, (N, *event): of a vector, every combination of its entries' values."""
    base = fn
    while type(base).__name__ in ("Independent", "ExpandedDistribution", "MaskedDistribution"):
        base = base.base_dist
    try:
        support = base.enumerate_support(expand=False)
    except NotImplementedError:
        raise ValueError(
            f"site {name} is a {type(base).__name__}, whose values cannot be listed; VIMCO, NVIL, RWS or TraceELBO "
            "will serve for a site that the guide samples"
        ) from None
    support = support.reshape(len(support), *base.event_shape)
    entries = math.prod(fn.event_shape) // math.prod(base.event_shape)
    if len(support) ** entries > MOST:
        raise ValueError(_too_many(f"{len(support)}^{entries} of {name}"))
    digits = torch.cartesian_prod(*[torch.arange(len(support), device=support.device)] * entries)
    return support[digits].reshape(-1, *fn.event_shape)


def _too_many(listed: str) -> str:
    return f"the discrete sites have more than {MOST} joint values ({listed}); VIMCO, NVIL or RWS will serve"


def refuse_beta(traced: Sites) -> None:
    """ValueError if a latent site has a beta while the model has sites of its own, which are summed out."""
    alone = [site["name"] for site in traced.latent if site["name"] not in traced.guide]
    for site in traced.latent if alone else ():
        beta = site["infer"].get("beta", 1.0)
        if isinstance(beta, Tensor) or beta != 1:
            raise ValueError(
                f"beta has no meaning for site {alone[0]}, which is summed out of the model alone; leave beta at 1, or "
                "give the guide that site too"
            )
