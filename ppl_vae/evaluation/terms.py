"""What the ELBO is made of, always at beta = 1: elbo = reconstruction - kl, in nats per example.

An active unit is a code dimension with Var_x(E_q[z_j]) > 0.01 (Burda et al. 2016). Bits per dimension are
-log2 p(x) / D over the D entries that were seen. A mass is taken as it is; for x de-quantized from L levels to [0, 1]
a density p(x) stands for that of x L, D log L nats lower, which bounds the mass of the levels (Theis et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ..estimators import MeanFieldELBO
from ..models import VAE, Codec, Pair
from . import doors
from .coding import check_codes, codes
from .doors import batches, check_data, evaluating, in_pieces
from .layout import layout
from .moments import mean_and_variance

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


def elbo(model: Pair, x: Tensor, y: Tensor | None = None, *, num_particles: int = 1, seed: int = 0) -> ELBO:
    """ELBO of every datum and its terms; the KL in closed form where Pyro knows it.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``. The KL of latent sites outside the data plate is
            shared out among the N data that the plate stands for.
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
    x, y = check_data(model, x, y)
    with evaluating(model, seed) as device:
        found = layout(model, x, y, device)
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
        ValueError: as ``codes``, or codes that are NaN or infinite.

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
    """
    return check_codes(codes(model, x, y), "x").var(0, correction=0) > threshold


def kl_by_dimension(
    model: VAE, x: Tensor, y: Tensor | None = None, *, num_particles: int = 100, seed: int = 0
) -> Tensor:
    """Mean over x of KL(q(z_j | x) || p(z_j)) for every code dimension, (dim,), in nats.

    In closed form where both factorise over dimensions; otherwise the KL between Normals with the mean and variance
    (sampled where they are not known) of each dimension and the prior's: it describes the marginals and does not add
    up to the KL.

    Args:
        model: a VAE.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: samples for each moment that is not known.
        seed: of the samples.

    Raises:
        ValueError: no data, data outside the likelihood's support, or labels that do not fit.
    """

    def divergence(part: Tensor, label: Tensor | None) -> Tensor:
        q, p = model.posterior(part, label), model.prior(label)
        try:
            by_dimension = kl_divergence(q.base_dist, p.expand(q.batch_shape).base_dist)
            if by_dimension.shape == (len(part), model.dim):
                return by_dimension.sum(0, keepdim=True)
        except (NotImplementedError, AttributeError):
            pass
        (q_mean, q_var), (p_mean, p_var) = mean_and_variance(q, num_particles), mean_and_variance(p, 10000)
        by_dimension = 0.5 * ((q_var + (q_mean - p_mean) ** 2) / p_var - 1 - (q_var / p_var).log())
        return by_dimension.sum(0, keepdim=True)

    x, y = check_data(model, x, y)
    return in_pieces(model, divergence, x, y, seed=seed, size=doors.PIECE).sum(0) / len(x)


def bits_per_dim(log_likelihood: Any, shape: Sequence[float], levels: int | None = None) -> Any:
    """Bits per dimension of a log-likelihood in nats.

    Args:
        log_likelihood: number or tensor, nats per example.
        shape: event shape of the data.
        levels: for data de-quantized from so many levels to [0, 1]: the volume of one level is taken out, so that the
            figure bounds that of the discrete data (Theis et al. 2016). None: as it is.

    Example:
        >>> round(bits_per_dim(-784 * math.log(2), (1, 28, 28)), 6)
        1.0
    """
    size = math.prod(shape)
    nats = log_likelihood - (size * math.log(levels) if levels else 0.0)
    return -nats / (size * math.log(2))
