"""Estimators that drop the score of q and reweight the pathwise gradient.

log w = log p(x, z) - log q_phi(z | x) depends on phi through the sample z(phi) and through q_phi at fixed z. The
gradient of the latter is the score, whose mean is 0; these estimators drop it and reweight the former. The score is
removed as log q(z) - log q(sg z) + sg log q(sg z), sg stopping the gradient. A guide with more than one latent site is
run again at the fixed values, so that gradients from one site through another remain; it must return the same
distributions both times (no dropout).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Estimator, Terms, summed_up, with_gradient_of
from .importance import log_mean_exp
from .site import Program
from .sites import Sites


class STL(Estimator):
    """Sticking the landing: the ELBO without the score of q in its gradient.

    Unbiased in value and gradient for every K; the gradient has no variance if q is the true posterior.

    Args:
        num_particles: K, samples of z for every datum, which are averaged.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites. Any beta.

    Source: Roeder, Wu and Duvenaud 2017, "Sticking the landing".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> STL().terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    pathwise_only = True
    own_scales = True

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, the KL sampled."""
        traced = self._trace(model, guide, args, kwargs)
        weights = traced.weights(pathwise=True)
        return summed_up(traced, weights, weights.log_w.mean(0))


class DReG(Estimator):
    """Doubly reparameterised gradient of the IWAE bound: sum_k w~_k^2 grad_z log w_k dz_k/dphi, w~ normalised weights.

    Value and mean gradient are IWAE's; the guide's signal-to-noise ratio grows with K instead of falling. At another
    beta the coefficients are (1 - beta) w~ + beta w~^2. The decoder's gradient is IWAE's, sum_k w~_k grad log p.

    Args:
        num_particles: K; at 1 it is STL.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate. Unbiased at any beta, if all latent sites have the same.

    Raises:
        ValueError: K below 1; when run, latent sites with different betas.

    Source: Tucker et al. 2019, "Doubly reparameterized gradient estimators for Monte Carlo objectives".

    Example:
        >>> DReG(num_particles=50).num_particles
        50
    """

    pathwise_only = True
    per_datum = True

    def __init__(self, num_particles: int = 5, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the IWAE bound."""
        traced = self._trace(model, guide, args, kwargs, through=torch.clone)
        _check_one_beta(traced)
        weights = traced.weights(pathwise=True)
        normalised = weights.log_w.detach().softmax(0)
        traced.scale_paths(torch.ones_like(normalised), normalised - 1)
        surrogate = with_gradient_of(log_mean_exp(weights.log_w), (normalised * weights.log_w).sum(0))
        return summed_up(traced, weights, surrogate)


def _check_one_beta(traced: Sites) -> None:
    """Refuse betas that are different numbers: a path through two sites would need both coefficients."""
    betas = {name: site["infer"].get("beta", 1.0) for name, site in traced.drawn.items()}
    numbers = {name: beta for name, beta in betas.items() if not isinstance(beta, Tensor)}
    if len(set(numbers.values())) > 1:
        listed = " and ".join(f"{beta:g} at {name}" for name, beta in numbers.items())
        raise ValueError(f"beta is {listed}, but DReG needs one beta for all latent sites; use IWAE")


class TailAdaptive(Estimator):
    """Tail-adaptive f-divergence: pathwise gradients weighted by the inverse tail probability of their own weight.

    The guide follows sum_k gamma_k grad_z log w_k dz_k/dphi with gamma_k proportional to K / #{j: w_j >= w_k}: mass
    covering, yet finite. It uses only ranks, so it is not the gradient of the ELBO or of any fixed bound; value and
    decoder's gradient are the ELBO's. Ranks are per datum, and equal weights have equal ranks.

    Args:
        num_particles: K, at least 2, to rank.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate, and beta = 1.

    Source: Wang, Liu and Liu 2018, "Variational inference with tail-adaptive f-divergence".

    Example:
        >>> TailAdaptive(num_particles=10).num_particles
        10
    """

    pathwise_only = True
    per_datum = True
    unit_beta = "it fits q to the posterior, and another beta changes that target"
    least_particles = 2

    def __init__(self, num_particles: int = 5, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the ELBO."""
        traced = self._trace(model, guide, args, kwargs, through=torch.clone)
        weights = traced.weights(pathwise=True)
        traced.scale_paths(self.num_particles * tail_weights(weights.log_w.detach()))
        return summed_up(traced, weights, weights.log_w.mean(0))


def tail_weights(log_w: Tensor) -> Tensor:
    """gamma_k proportional to K / #{j: w_j >= w_k}, which sum to 1 over k: (K, B) from (K, B).

    Example:
        >>> (19 * tail_weights(torch.tensor([[0.0], [3.0], [1.0], [3.0]]))).flatten().round().tolist()
        [3.0, 6.0, 4.0, 6.0]
    """
    tail = (log_w[:, None] >= log_w).to(log_w.dtype).mean(0)  # entry k: the share of j with w_j >= w_k
    return (1 / tail) / (1 / tail).sum(0)
