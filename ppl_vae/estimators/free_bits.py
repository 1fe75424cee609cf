"""Free bits: every code dimension may carry some nats at no cost, so that none is switched off early.

    reconstruction - beta sum_j max(nats, mean over the batch of KL(q(z_j | x) || p(z_j)))

The floor belongs to the batch, and only to what is trained: the terms reported have none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from .base import Estimator, Terms, summed_up
from .sites import Program, Site, Sites


class FreeBits(Estimator):
    """ELBO with a floor under each dimension's KL, averaged over the batch.

    Dimensions are those of an independent family whose KL is known in closed form, else the whole site is one. Above
    the floor the gradient is MeanFieldELBO's; below it the KL has none. The value is no bound on log p(x) once a floor
    is met, and, like batch normalisation, not a sum over data.

    Args:
        num_particles: K, samples of z for every datum.
        nats: floor under the KL of each dimension, in nats per example.
        max_plate_nesting: plates of model and guide, particles apart.

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

    def __init__(self, num_particles: int = 1, nats: float = 0.1, max_plate_nesting: int = 1) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if isinstance(nats, bool) or not isinstance(nats, int | float) or not nats >= 0:
            raise ValueError(f"nats must be a number of at least 0, the floor under each dimension's KL, not {nats!r}")
        self.nats = nats

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; every datum's surrogate carries the batch's KL."""
        traced = self._trace(model, guide, args, kwargs)
        weights = traced.weights()
        floored: Any = 0.0
        for name, site in traced.drawn.items():
            p = traced.model.get(name)
            divergence = None if p is None else _by_dimension(traced, site, p)
            if divergence is None:
                log_p = 0.0 if p is None else traced.log_prob(p)
                divergence = (traced.log_prob(site) - log_p)[..., None]
            batch = divergence.mean((0, 1)).clamp(min=self.nats).sum()
            floored = floored + site["infer"].get("beta", 1.0) * batch
        surrogate = weights.log_likelihood.mean(0) - floored
        return summed_up(traced, weights, surrogate)


def _by_dimension(traced: Sites, q: Site, p: Site) -> Tensor | None:
    """KL of every dimension, (K or 1, B, D), of independent families whose KL is known; None of others."""
    fns = q["fn"], p["fn"]
    if q["mask"] is not p["mask"] or not all(type(fn).__name__ == "Independent" for fn in fns):
        return None
    try:
        divergence = kl_divergence(*(fn.base_dist for fn in fns))
    except NotImplementedError:
        return None
    event = q["fn"].reinterpreted_batch_ndims
    entries = divergence.flatten(divergence.dim() - event).unbind(-1)
    return torch.stack([traced.per_datum(q, entry) for entry in entries], -1)
