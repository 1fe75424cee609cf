"""Reweighted wake-sleep: model and guide have different objectives.

    wake-theta   sum_k w~_k grad_theta log p_theta(x, z_k)        w~ the normalised weights of z_k ~ q(z | x)
    wake-phi     sum_k w~_k grad_phi log q_phi(z_k | x)           towards the posterior at the data
    sleep-phi    grad_phi log q_phi(z | x),  (x, z) ~ p_theta     towards the posterior at draws of the model (dreams)

No gradient passes through a sample, so any latent site is allowed. Wake-theta is the gradient of the IWAE bound;
wake-phi minimises an estimate of KL(p(z | x) || q(z | x)) that is biased at finite K, more so for poor guides;
sleep-phi minimises E_p(x) KL(p(z | x) || q(z | x)) without bias, but over the model's data instead of the real data.
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
    """Reweighted wake-sleep: wake-theta for the model, wake-phi or sleep-phi for the guide; weights are per datum.

    The value and the model's gradient are those of the IWAE bound. The guide's gradient is biased if ``phi`` is "wake";
    a parameter shared by model and guide gets the sum of both gradients.

    Args:
        num_particles: K, at least 2.
        phi: "wake" or "sleep", the guide's phase.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs every site inside one data plate, and beta = 1; for "sleep" also a model that samples x, its first argument,
    when x is not observed, and a guide without auxiliary sites. Dreams have no missing entries, even if the data do.

    Raises:
        ValueError: K below 2, or an unknown phase; when run, programs that "sleep" cannot use.

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
    unit_beta = "both phases fit the guide to the posterior, and another beta changes that target"
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
        """log q(z | x) of B draws (x, z) of the model, (B,)."""
        extra = [name for name in traced.drawn if name not in traced.model]
        if extra:
            raise ValueError(
                f"RWS(phi='sleep') needs a guide that samples only the model's latent sites, but this one also "
                f"samples {' and '.join(extra)}; use phi='wake'"
            )
        with torch.no_grad():
            dream: Any = poutine.trace(poutine.uncondition(model)).get_trace(*args, **kwargs).nodes
        seen = [site["name"] for site in traced.observed]
        x = args[0] if args else None
        if len(seen) != 1 or not isinstance(x, Tensor) or dream[seen[0]]["value"].shape != x.shape:
            raise ValueError(
                "RWS(phi='sleep') needs a model with one observed site, whose value is its whole first argument; "
                f"this one observes {' and '.join(seen)}, so use phi='wake'"
            )
        values = {name: dream[name]["value"] for name in traced.drawn}
        drawn = guide_sites(guide, values, (dream[seen[0]]["value"], *args[1:]), kwargs)
        return torch.stack([traced.log_prob(site)[0] for site in drawn.values()]).sum(0)
