"""Reweighted wake-sleep: model and guide each climb a bound of their own.

    wake-theta   sum_k w~_k grad_theta log p_theta(x, z_k)        w~ the normalised weights of z_k ~ q(z | x)
    wake-phi     sum_k w~_k grad_phi log q_phi(z_k | x)           towards the posterior at the data
    sleep-phi    grad_phi log q_phi(z | x),  (x, z) ~ p_theta     towards the posterior at data the model dreams up

No gradient passes through a sample, so any latent site will do. Wake-theta is the gradient of the IWAE bound; wake-phi
descends an estimate of KL(p(z | x) || q(z | x)) that is biased at finite K, more so for poor guides; sleep-phi descends
E_p(x) KL(p(z | x) || q(z | x)) without bias, at the model's data instead of the user's.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pyro import poutine
from torch import Tensor

from ..checks import nearest
from .base import Estimator, Terms, summed_up, with_gradient_of
from .importance import log_mean_exp
from .site import Program
from .sites import Sites
from .tracing import guide_sites

PHASES = ("wake", "sleep")


class RWS(Estimator):
    """Reweighted wake-sleep: wake-theta for the model, wake-phi or sleep-phi for the guide; weights datum by datum.

    The value is the IWAE bound, which the model's gradient climbs. Biased for the guide at K > 1 where ``phi`` is
    "wake"; a parameter that model and guide share gets the sum of both gradients.

    Args:
        num_particles: K, at least 2.
        phi: "wake" or "sleep", what the guide learns from.
        max_plate_nesting: plates inside one another, particles apart; found by one run where it is None.

    Needs every site inside one data plate, and beta = 1; for "sleep" a model that draws x, its first argument, when it
    is not observed, and no auxiliary sites in the guide. Dreams are complete, also where data miss entries.

    Raises:
        ValueError: K below 2, or an unknown phase; when run, a program that "sleep" cannot use.

    Source: Bornschein and Bengio 2015, "Reweighted wake-sleep"; Le et al. 2019, "Revisiting reweighted wake-sleep".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Bernoulli(4),
        ...     posteriors.Bernoulli(networks.MLP(6, [8]), 4),
        ...     likelihoods.Bernoulli(networks.MLP(4, [8]), 6),
        ... )
        >>> RWS(num_particles=5, phi="sleep").terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    per_datum = True
    unit_beta = "wake and sleep move the guide to the posterior, which another beta replaces"
    least_particles = 2

    def __init__(
        self, num_particles: int = 5, phi: Literal["wake", "sleep"] = "wake", max_plate_nesting: int | None = None
    ) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if phi not in PHASES:
            raise ValueError(f"phi {phi!r} is unknown; {nearest(str(phi), PHASES)}")
        self.phi = phi

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the IWAE bound."""
        traced = self._trace(model, guide, args, kwargs, through=torch.Tensor.detach)
        weights = traced.weights()
        normalised = weights.log_w.detach().softmax(0)
        climbs = (normalised * (weights.log_likelihood + weights.log_prior)).sum(0)
        if self.phi == "wake":
            climbs = climbs + (normalised * weights.log_q).sum(0)
        else:
            climbs = climbs + self._sleep(model, guide, args, kwargs, traced)
        return summed_up(traced, weights, with_gradient_of(log_mean_exp(weights.log_w), climbs))

    def _sleep(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any], traced: Sites
    ) -> Tensor:
        """log q(z | x) of as many dreams (x, z) of the model as there are data, (B,)."""
        extra = [name for name in traced.drawn if name not in traced.model]
        if extra:
            raise ValueError(
                f"RWS(phi='sleep') needs a guide that samples the model's latent sites alone, and this one also "
                f"samples {' and '.join(extra)}; use phi='wake'"
            )
        with torch.no_grad():
            dream: Any = poutine.trace(poutine.uncondition(model)).get_trace(*args, **kwargs).nodes
        seen = [site["name"] for site in traced.observed]
        x = args[0] if args else None
        if len(seen) != 1 or not isinstance(x, Tensor) or dream[seen[0]]["value"].shape != x.shape:
            raise ValueError(
                "RWS(phi='sleep') needs a model that draws its first argument, all of it, at its one observed site; "
                f"this one observes {' and '.join(seen)}, so use phi='wake'"
            )
        values = {name: dream[name]["value"] for name in traced.drawn}
        drawn = guide_sites(guide, values, (dream[seen[0]]["value"], *args[1:]), kwargs)
        return torch.stack([traced.log_prob(site)[0] for site in drawn.values()]).sum(0)
