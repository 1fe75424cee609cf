"""What the ELBO is made of, always at beta = 1: elbo = reconstruction - kl, in nats per example.

An active unit is a code dimension with Var_x(E_q[z_j]) > 0.01 (Burda et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ..distributions.means import mean_and_variance
from ..estimators import MeanFieldELBO
from ..estimators.program_layout import program_layout
from ..models import VAE, Codec, Discrete, Pair, SemiSupervisedVAE
from ..statistics.finite import check_codes
from . import doors
from .coding import codes
from .discrete import bound
from .doors import batches, check_data, check_density, check_real_codes, evaluating, filled_labels, in_pieces

ACTIVE = 0.01  # variance of a code's posterior mean above which it is an active unit


@dataclass(frozen=True)
class ELBO:
    """Terms of every datum, each (B,), in nats at beta = 1.

    Attributes:
        elbo: reconstruction - kl.
        reconstruction: E_q log p(x | z).
        kl: KL(q(z | x) || p(z)).
    """

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor

    def __repr__(self) -> str:
        elbo, reconstruction, kl = (term.mean().item() for term in (self.elbo, self.reconstruction, self.kl))
        parts = f"reconstruction {reconstruction:.3f} - kl {kl:.3f}"
        return f"ELBO({elbo:.3f} = {parts} nats per example, n={len(self.elbo)})"


def elbo(model: Pair | Discrete, x: Tensor, y: Tensor | None = None, *, num_particles: int = 1, seed: int = 0) -> ELBO:
    """ELBO of every datum and its terms; the KL in closed form where Pyro knows it.

    Of a model with integer codes c, such as a VQ-VAE, it is log p(x | c) + log p(c), the KL being the rate -log p(c).

    Args:
        model: a module with Pyro programs ``model`` and ``guide``, or with integer codes. The KL of latent sites
            outside the data plate is shared out among the N data that the plate stands for.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: samples of z for every datum.
        seed: of the samples.

    Raises:
        ValueError: no data, data outside the likelihood's support, or labels that do not fit.

    Source: Kingma and Welling 2014.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> terms = elbo(vae, torch.ones(5, 6))
        >>> torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
        True
    """
    if isinstance(model, Discrete):
        reconstruction, rate = bound(model, x, y)
        return ELBO(reconstruction - rate, reconstruction, rate)
    check_density(model, "elbo")
    x, y = check_data(model, x, y)
    with evaluating(model, seed) as device:
        found = program_layout(model, x, y, device)
        # Of global latents one draw at a time: the layers of a program need not take particles in front of them.
        runs, k = (1, num_particles) if found.vectorised and not found.shared else (num_particles, 1)
        estimator = MeanFieldELBO(num_particles=k, max_plate_nesting=max(1, found.nesting))
        parts = []
        for batch in batches(device, found.piece(doors.PIECE // k, len(x)), x, y):
            drawn = [estimator.terms(model.model, model.guide, *batch) for _ in range(runs)]
            columns = zip(*((t.elbo, t.reconstruction, t.kl) for t in drawn), strict=True)
            parts.append([torch.stack(column).mean(0).cpu() for column in columns])
    return ELBO(*(torch.cat(column) for column in zip(*parts, strict=True)))


def active_units(model: Codec, x: Tensor, y: Tensor | None = None, *, threshold: float = ACTIVE) -> Tensor:
    """Which code dimensions depend on the data: Var_x(E_q[z_j]) > threshold, bool (*code_shape).

    Raises:
        TypeError: a model with integer codes.
        ValueError: as ``codes``, or codes that are NaN or infinite.

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
    """
    check_real_codes(model, "active_units", "evaluation.code_usage, which counts the codes that are used")
    return check_codes(codes(model, x, y), "x").var(0, correction=0) > threshold


def kl_by_dimension(
    model: VAE | SemiSupervisedVAE, x: Tensor, y: Tensor | None = None, *, num_particles: int = 100, seed: int = 0
) -> Tensor:
    """Mean over x of KL(q(z_j | x) || p(z_j)) for every code dimension, (dim,), in nats.

    In closed form where both factorise over dimensions; otherwise the KL between Normals with the mean and variance
    (sampled where they are not known) of each dimension and the prior's: it describes the marginals and does not add
    up to the KL. ``num_particles`` samples are taken for each moment that is not known; other arguments and errors as
    of ``elbo``, for a VAE. Of a ``SemiSupervisedVAE`` it is KL(q(z_j | x, y) || p(z_j | y)) at the most probable y
    where y is not known.
    """
    check_real_codes(model, "kl_by_dimension", "evaluation.elbo, whose kl is the rate of all codes of an example")

    def divergence(part: Tensor, label: Tensor | None) -> Tensor:
        q, p = model.posterior(part, label), model.prior(label)
        try:
            by_dimension = kl_divergence(q.base_dist, p.expand(q.batch_shape).base_dist)
            if by_dimension.shape == (len(part), *model.code_shape):
                return by_dimension.sum(0, keepdim=True)
        except (NotImplementedError, AttributeError):
            pass
        (q_mean, q_var), (p_mean, p_var) = mean_and_variance(q, num_particles), mean_and_variance(p, 10000)
        by_dimension = 0.5 * ((q_var + (q_mean - p_mean) ** 2) / p_var - 1 - (q_var / p_var).log())
        return by_dimension.sum(0, keepdim=True)

    x, y = check_data(model, x, y)
    y = filled_labels(model, x, y)
    return in_pieces(model, divergence, x, y, seed=seed, size=doors.PIECE).sum(0) / len(x)
