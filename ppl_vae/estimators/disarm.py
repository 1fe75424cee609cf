"""DisARM: the score-function gradient of Bernoulli latents from antithetic pairs, u integrated out given the pair.

For b = [u < s(a)] and b' = [1 - u < s(a)], u uniform, s the logistic function and a the logits,

    grad_a E[f(b)] = E[ 1/2 (f(b) - f(b')) (-1)^b' [b != b'] s(|a|) ].
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..distributions.wrappers import unwrapped
from .base import Estimator, Terms, summed_up, with_gradient_of
from .checking import family
from .site import Program, Site, density, particles_of
from .sites import Sites


class DisARM(Estimator):
    """ELBO for one vector of Bernoulli latents: an antithetic pair of samples, unbiased and without a baseline.

    Args:
        num_particles: samples of z for every datum, an even number: half as many pairs, which are averaged.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs a guide with one latent site, a Bernoulli (with any event shape), inside one data plate. Any beta.

    Raises:
        ValueError: an odd number of samples; when run, a guide of another kind.

    Source: Dong, Mnih and Tucker 2020, "DisARM: an antithetic gradient estimator for binary latent variables".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Bernoulli(4),
        ...     posteriors.Bernoulli(networks.MLP(6, [8]), 4),
        ...     likelihoods.Bernoulli(networks.MLP(4, [8]), 6),
        ... )
        >>> DisARM().terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    per_datum = True
    own_scales = True
    least_particles = 2

    def __init__(self, num_particles: int = 2, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if num_particles % 2:
            raise ValueError(f"num_particles must be even, since samples come in pairs, not {num_particles}")

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the ELBO."""
        traced = self._trace(model, guide, args, kwargs, draw=_Antithetic())
        site, weights = self._site(traced), traced.weights()
        # Without the score of q, whose mean is 0, the decoder's gradient remains.
        log_q = traced.scaled(site, density(site))
        value = weights.log_w + (log_q - log_q.detach())
        half = self.num_particles // 2
        signal = 0.5 * (weights.log_w - weights.log_w.roll(half, 0)).detach()
        surrogate = value + signal * traced.per_datum(site, _slope(site, half), shared=False)
        return summed_up(traced, weights, with_gradient_of(value.mean(0), surrogate.mean(0)))

    def _site(self, traced: Sites) -> Site:
        found = list(traced.drawn.values())
        if len(found) == 1 and _logits(found[0]["fn"]) is not None:
            return found[0]
        listed = " and ".join(f"{site['name']} ({family(site)})" for site in found) or "none"
        raise ValueError(
            f"DisARM needs a guide with one latent site, a Bernoulli, but this one has {listed}; use VIMCO, NVIL "
            "or TraceELBO"
        )


class _Antithetic(Messenger):
    """Draws the particles of Bernoulli sites in antithetic pairs: particle k with particle k + K/2."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        logits = None if msg["done"] or msg["is_observed"] else _logits(msg["fn"])
        frame = particles_of(msg)
        if logits is None or frame is None:
            return
        half = torch.rand_like(logits.narrow(frame.dim - msg["fn"].event_dim, 0, frame.size // 2))
        u = torch.cat([half, 1 - half], frame.dim - msg["fn"].event_dim)
        msg["value"], msg["done"] = (u < logits.sigmoid()).to(logits.dtype), True


def _slope(site: Site, half: int) -> Tensor:
    """(-1)^b' [b != b'] s(|a|) a, summed over the event: the factor of the difference of the pair's values."""
    logits: Any = _logits(site["fn"])
    particles: Any = particles_of(site)
    value, event = site["value"], site["fn"].event_dim
    other = value.roll(half, particles.dim - event)
    slope = (1 - 2 * other) * (value != other) * logits.detach().abs().sigmoid() * logits
    return slope.flatten(slope.dim() - event).sum(-1) if event else slope


def _logits(fn: Any) -> Tensor | None:
    """Logits of a Bernoulli over its batch and event shape; None for another family."""
    base = unwrapped(fn, masks=False)
    return base.logits.expand(fn.shape()) if isinstance(base, torch.distributions.Bernoulli) else None
