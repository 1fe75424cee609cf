"""The evidence lower bound, ELBO = E_q [log p(x | z)] - beta KL(q(z | x) || p(z)), by Monte Carlo or in closed form.

Gradients are pathwise where the guide's site is reparameterised, and score-function elsewhere:

    grad E_q[f] = E_q[grad f + f grad log q(z)]     (f = the datum's own log-weight)
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import kl_divergence

from .base import Estimator, Terms
from .sites import Program, Site, Sites


class TraceELBO(Estimator):
    """ELBO with every term sampled: Pyro's ``Trace_ELBO``, per datum, and capturable.

    Unbiased in value and gradient for every K. Needs one data plate; takes any latent site.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: plates of model and guide, particles apart.

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

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, the KL sampled."""
        return _terms(self._trace(model, guide, args, kwargs), closed_form=False)


class MeanFieldELBO(Estimator):
    """ELBO with KL(q || p) in closed form for every site whose pair Pyro knows, sampled for the others.

    Unbiased in value and gradient for every K; less noisy than ``TraceELBO`` until q nears the true posterior. Unlike
    Pyro's ``TraceMeanField_ELBO`` it keeps the score-function term of guide sites that are not reparameterised.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: plates of model and guide, particles apart.

    Source: Kingma and Welling 2014, appendix B.

    Example:
        >>> MeanFieldELBO(num_particles=4).num_particles
        4
    """

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, the KL in closed form where it is known."""
        return _terms(self._trace(model, guide, args, kwargs), closed_form=True)


def _terms(traced: Sites, closed_form: bool) -> Terms:
    # A closed form needs every site's parents sampled before it in model and guide alike.
    closed_form = closed_form and [s["name"] for s in traced.latent] == [n for n in traced.guide if n in traced.model]
    reconstruction = sum(traced.log_prob(site) for site in traced.observed)
    kl: Any = 0.0
    weighted: Any = 0.0
    score: Any = 0.0
    for name, site in traced.guide.items():
        prior = traced.model.get(name)
        divergence: Any = _closed_form(traced, site, prior) if closed_form and prior is not None else None
        if divergence is None:
            log_q = traced.log_prob(site)
            log_q = log_q if site["fn"].has_rsample else log_q.detach()  # E_q[grad log q] = 0
            divergence = log_q - (0.0 if prior is None else traced.log_prob(prior))
        kl = kl + divergence
        weighted = weighted + site["infer"].get("beta", 1.0) * divergence
        if not site["fn"].has_rsample:
            # Every datum's log-weight depends on a site outside the data plate: its score is not shared out.
            score = score + traced.log_prob(site, shared=False)
    value = reconstruction - weighted
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


def _closed_form(traced: Sites, guide: Site, model: Site) -> Tensor | None:
    # Pyro's KL from a Delta leaves its log-density out, which a sample has exactly.
    if isinstance(getattr(guide["fn"], "base_dist", guide["fn"]), Delta) or guide["mask"] is not model["mask"]:
        return None
    try:
        divergence = kl_divergence(guide["fn"], model["fn"])
    except NotImplementedError:
        return None
    return traced.per_datum(guide, divergence)
