"""The evidence lower bound, ELBO = E_q [log p(x | z)] - beta KL(q(z | x) || p(z)), by Monte Carlo or in closed form.

Gradients are pathwise where the guide's site is reparameterised, and score-function elsewhere:

    grad E_q[f] = E_q[grad f + f grad log q(z)]     (f = the datum's own log-weight)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..distributions.wrappers import is_delta
from .base import Estimator, Terms, with_gradient_of
from .checking import divergence, needs_score, score_parts, straight_through, without_gradient
from .site import Program, Site, density, same_scale
from .sites import Sites


class TraceELBO(Estimator):
    """ELBO with every term sampled: Pyro's ``Trace_ELBO``, but per datum and capturable as a graph.

    Unbiased in value and gradient for every K. Needs one data plate; takes any latent site.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Source: Ranganath et al. 2014, "Black box variational inference"; Kingma and Welling 2014.

    Example:
        >>> import pyro
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), TraceELBO())
        >>> svi.step(torch.ones(5, 6)) > 0
        True
    """

    own_scales = True
    partly_pathwise = True

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, the KL sampled."""
        return _terms(self._trace(model, guide, args, kwargs), closed_form=False)


class MeanFieldELBO(Estimator):
    """ELBO with KL(q || p) in closed form for every site whose pair Pyro knows, sampled for the others.

    Unbiased in value and gradient for every K; less noisy than ``TraceELBO`` until q nears the true posterior. Unlike
    Pyro's ``TraceMeanField_ELBO`` it keeps the score-function term of guide sites that are not reparameterised.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Source: Kingma and Welling 2014, appendix B.

    Example:
        >>> MeanFieldELBO(num_particles=4).num_particles
        4
    """

    closed_form = True
    own_scales = True
    partly_pathwise = True

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, the KL in closed form where it is known."""
        return _terms(self._trace(model, guide, args, kwargs), closed_form=True)


def _terms(traced: Sites, closed_form: bool) -> Terms:
    # A closed form needs model and guide to sample every site's parents before the site.
    closed_form = closed_form and [s["name"] for s in traced.latent] == [n for n in traced.drawn if n in traced.model]
    reconstruction: Any = 0.0
    kl: Any = 0.0
    value: Any = 0.0
    score: Any = 0.0
    for site in traced.observed:
        log_p = density(site)
        plain = traced.per_datum(site, log_p)
        reconstruction = reconstruction + plain
        value = value + traced.scaled(site, log_p, plain)
    for name, site in traced.guide.items():
        prior = None if site["is_observed"] else traced.model.get(name)
        exact = _closed_form(site, prior) if closed_form and prior is not None else None
        if exact is None and straight_through(site):
            raise without_gradient(site, "MeanFieldELBO without a closed form")
        if exact is None or needs_score(site["fn"]):
            log_q, own_score, entropy = score_parts(site)
            if own_score is not None:
                # Every datum's log-weight depends on a site outside the data plate, so each gets its whole score.
                score = score + traced.per_datum(site, own_score, shared=False)
            log_q = log_q.detach() if entropy is None else with_gradient_of(log_q, entropy)  # E_q[grad log q] = 0
        if exact is not None:
            plain = traced.per_datum(site, exact)
            kl, value = kl + plain, value - traced.scaled(site, exact, plain)
            continue
        of_q = traced.per_datum(site, log_q)
        if prior is None:
            kl, value = kl + of_q, value - traced.scaled(site, log_q, of_q)
        else:
            of_p = traced.log_prob(prior)
            kl, value = kl + (of_q - of_p), value + traced.scaled_ratio(prior, of_p, site, log_q, of_q)
    surrogate = value
    if isinstance(score, Tensor):
        surrogate = value + value.detach() * (score - score.detach())
    elbo = reconstruction - kl
    return Terms(
        *(_mean(t, traced) for t in (surrogate, elbo, reconstruction, kl)),
        scale=traced.scale,
        subsampling=traced.subsampling,
    )


def _mean(value: Any, traced: Sites) -> Tensor:
    value = torch.as_tensor(value)
    return value.mean(0) if value.dim() == 2 else value.expand(traced.size)


def _closed_form(guide: Site, model: Site) -> Tensor | None:
    """KL(q || p) over the site's plates, or None if unknown or if q and p have different scales or masks."""
    # Pyro's KL from a Delta ignores its log-density; a sample includes it.
    if is_delta(guide["fn"]) or not same_scale(guide, model):
        return None
    if guide["mask"] is not model["mask"]:
        return None
    return divergence(guide["fn"], model["fn"])
