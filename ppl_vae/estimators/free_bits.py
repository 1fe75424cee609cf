"""Free bits: the first nats of KL of every code dimension are free, so that no dimension is switched off early.

    reconstruction - beta sum_j max(nats, mean over the batch of KL(q(z_j | x) || p(z_j)))

The floor applies to the batch and to the training loss only: reported terms have no floor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ..checks import check_weight
from ..distributions.wrappers import is_delta
from .base import Estimator, Terms, summed_up
from .site import Program, Site
from .sites import Sites


class FreeBits(Estimator):
    """ELBO with a floor under each dimension's KL, averaged over the batch.

    An independent family with a closed-form KL is split into its dimensions; any other site counts as one dimension,
    its KL in closed form or sampled, as in MeanFieldELBO. While every KL is above the floor the gradient is
    MeanFieldELBO's; a KL below the floor has no gradient. Because of the floor the loss is not a sum over data.

    Args:
        num_particles: K, samples of z for every datum.
        nats: floor under the KL of each dimension, in nats per example.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate. Any beta.

    Raises:
        ValueError: a negative floor.

    Source: Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow", appendix C.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> terms = FreeBits(nats=100.0).terms(vae.model, vae.guide, torch.ones(3, 6))
        >>> torch.allclose(terms.surrogate, terms.reconstruction - 2 * 100.0)
        True
    """

    pathwise_only = True
    per_datum = True
    batchwise = True

    def __init__(self, num_particles: int = 1, nats: float = 0.1, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)
        self.nats = check_weight("nats", nats)

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; every datum's surrogate includes the batch's KL."""
        traced = self._trace(model, guide, args, kwargs)
        weights = traced.weights()
        # A closed form needs model and guide to sample every site's parents before the site.
        known = [site["name"] for site in traced.latent] == [name for name in traced.guide if name in traced.model]
        floored: Any = 0.0
        for name, site in traced.drawn.items():
            p = traced.model.get(name)
            divergence = _closed_form(traced, site, p) if known and p is not None else None
            if divergence is None:
                log_p = 0.0 if p is None else traced.log_prob(p)
                divergence = (traced.log_prob(site) - log_p)[..., None]
            batch = divergence.mean((0, 1)).clamp(min=self.nats).sum()
            floored = floored + site["infer"].get("beta", 1.0) * batch
        surrogate = weights.log_likelihood.mean(0) - floored
        for site in traced.guide.values():
            surrogate = surrogate - traced.log_prob(site).mean(0) if site["is_observed"] else surrogate
        return summed_up(traced, weights, surrogate)


def _closed_form(traced: Sites, q: Site, p: Site) -> Tensor | None:
    """KL of every dimension of independent families, (K or 1, B, D), D = 1 for others; None if unknown."""
    fns, event = (q["fn"], p["fn"]), 0
    if q["mask"] is not p["mask"] or is_delta(fns[0]):
        return None  # Pyro's KL from a Delta ignores its log-density
    if all(type(fn).__name__ == "Independent" for fn in fns):
        event = fns[0].reinterpreted_batch_ndims
        fns = fns[0].base_dist, fns[1].base_dist
    try:
        divergence = kl_divergence(*fns)
    except NotImplementedError:
        return None
    if not event:
        return traced.per_datum(q, divergence)[..., None]
    entries = divergence.flatten(divergence.dim() - event).unbind(-1)
    return torch.stack([traced.per_datum(q, entry) for entry in entries], -1)
