"""The ELBO with exact sums over discrete latents.

    sum_d q(d | x) E_{q(c | d, x)} [log sum_m p(x, c, d, m) - log q(c, d | x)]

d: discrete sites of guide and model; m: discrete sites of the model alone, which are summed out; c: continuous sites,
which are sampled. Gradients need no score function: q(d | x) is differentiated directly.

The weights q(d | x) ignore masks: a mask removes a site's log-density from the bound, but its values are still drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..trials import trial
from .base import Estimator, Terms
from .checking import subsampled_inside, uncommon_scale
from .dimensions import try_layout
from .elimination import Elimination, as_drawn, score_of_observed, scored, subsampled_in_a_sum
from .layouts import Layout, changing, layout_of
from .site import Program
from .sites import Sites


class Enum(Estimator):
    """ELBO with an exact sum over discrete latents, including those that only the model has.

    Unbiased, and without variance if all latents are discrete. Sites whose only plate is the data plate cost one
    particle for each joint value: 2^D for a vector of D Bernoulli variables. Sites in further plates, such as the topic
    of every word, are summed element by element; this needs programs that take extra dimensions to the left of all
    plates. A site with ``infer={"own_dimension": True}`` is treated so too: what does not depend on it, such as a
    decoder, then runs once, not once for each of its values.

    Args:
        num_particles: K, samples of the continuous sites at each joint value of the discrete ones.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs discrete sites with finite support inside the data plate, with at most 4096 joint values in one term. A site
    that depends on a site in further plates must be in these plates too. Continuous sites may be outside the data
    plate. Any beta and scales if the guide has every latent site of the model; otherwise beta = 1 and one scale for all
    sites, since beta and scales cannot enter the sum over the model's own sites.

    Raises:
        ValueError: when run, a discrete site of another kind, too many joint values, or a sum that does not factorise.

    Source: Obermeyer et al. 2019, "Tensor variable elimination for plated factor graphs".

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

    own_scales = True

    def __init__(self, num_particles: int = 1, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)
        self._layouts: dict[Any, Layout] = {}

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; exact if all latents are discrete."""
        layout, traced = self._run(model, guide, args, kwargs)
        if layout.alone:
            refuse_beta(traced)
            _refuse_scales(traced, layout.alone[0])
        if layout.listed:
            return _listed_terms(layout, traced, self.num_particles)
        return Elimination(traced, layout.dims, layout.alone).terms()

    def _run(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Layout, Sites]:
        """The layout, cached by kind of batch, and the sites with all values of the discrete ones."""
        kind = tuple(map(_kind, args)), tuple((name, _kind(kwargs[name])) for name in sorted(kwargs))
        kept = self._layouts.get(kind)
        if kept is not None:
            try:
                return kept, self._laid_out(kept, model, guide, args, kwargs)
            except Exception:
                layout = self._find(model, guide, args, kwargs)
                if layout == kept:
                    raise
        else:
            layout = self._find(model, guide, args, kwargs)
        self._layouts[kind] = layout
        return layout, self._laid_out(layout, model, guide, args, kwargs)

    def _find(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Layout:
        """The layout of the programs, checked by trial runs that leave no trace."""
        with trial(*args):
            traced = self._trace(model, guide, args, kwargs, marginal=True)
            layout = layout_of(traced, self.max_plate_nesting)
            try_layout(layout, traced, model, guide, args, kwargs)
        return layout

    def _laid_out(self, layout: Layout, model: Program, guide: Program, args: Any, kwargs: Any) -> Sites:
        """The sites under a layout; ValueError if the programs no longer have this layout."""
        self._found_nesting, draw, count = layout.nesting, layout.messenger(), layout.count(self.num_particles)
        traced = self._trace(model, guide, args, kwargs, num_particles=count, draw=draw, marginal=True)
        if layout_of(traced, self.max_plate_nesting, draw.found) != layout:
            raise ValueError(changing(layout))
        return traced


def _kind(argument: Any) -> Any:
    """Cache key of an argument: with labels a program may have other sites than without them."""
    return argument if argument is None or isinstance(argument, bool | str) else "given"


def _listed_terms(layout: Layout, traced: Sites, num_particles: int) -> Terms:
    """Terms with the values listed along the particle plate: (samples, values in guide, values in model alone)."""
    weights, score = traced.weights(), score_of_observed(traced, {})
    shape = num_particles, -1, layout.summed, traced.size
    log_d: Any = sum(_weight(traced, traced.guide[name]) for name in layout.sizes if name not in layout.alone)
    log_likelihood, kl = weights.log_likelihood, weights.log_q - weights.log_prior
    q = log_d.reshape(shape)[:, :, 0].exp() if isinstance(log_d, Tensor) else log_likelihood.new_ones(())
    if layout.alone:
        inner = subsampled_inside(traced)
        if inner is not None:
            raise ValueError(subsampled_in_a_sum(*inner, layout.alone[0]))
        # The prior of the guide's sites may depend on the summed-out sites, so it is inside the sum.
        own: Any = sum(_weight(traced, traced.model[name]) for name in layout.alone)
        joint = (log_likelihood + weights.log_prior + own).reshape(shape)
        surrogate = elbo = joint.logsumexp(2) - weights.log_q.reshape(shape)[:, :, 0]
        reconstruction = (joint.softmax(2) * log_likelihood.reshape(shape)).sum(2)
    else:
        surrogate, reconstruction, kl = (t.reshape(shape)[:, :, 0] for t in (weights.log_w, log_likelihood, kl))
        elbo = reconstruction - kl
    if score is not None:
        surrogate = scored(surrogate, score.expand_as(log_likelihood).reshape(shape)[:, :, 0])
    surrogate, elbo, reconstruction = (
        (q * torch.where(q > 0, term, 0.0)).sum(1).mean(0) for term in (surrogate, elbo, reconstruction)
    )
    return Terms(surrogate, elbo, reconstruction, reconstruction - elbo, traced.scale, traced.subsampling)


def _weight(traced: Sites, site: Any) -> Tensor:
    """Log-density of a site without its mask, (K, B)."""
    return traced.per_datum({**site, "mask": None}, as_drawn(site), shared=False)


def refuse_beta(traced: Sites) -> None:
    """ValueError if a latent site has a beta and the model has sites of its own, which are summed out."""
    alone = [site["name"] for site in traced.latent if site["name"] not in traced.guide]
    for site in traced.latent if alone else ():
        beta = site["infer"].get("beta", 1.0)
        if isinstance(beta, Tensor) or beta != 1:
            raise ValueError(
                f"beta is not defined for site {alone[0]}, which only the model has and which is summed out; leave "
                "beta at 1, or give the guide that site too"
            )


def _refuse_scales(traced: Sites, alone: str) -> None:
    uncommon = uncommon_scale(traced)
    if uncommon is not None:
        raise ValueError(
            f"{uncommon}, but site {alone} of the model alone is summed out, which needs one scale for all sites; "
            f"wrap all of model and guide in one poutine.scale, or give the guide site {alone} too"
        )
