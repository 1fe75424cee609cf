"""What the ELBO is made of, always at beta = 1: elbo = reconstruction - kl, in nats per example.

An active unit is a code dimension with Var_x(E_q[z_j]) > 0.01 (Burda et al. 2016). Bits per dimension are
-log2 p(x) / D; for x de-quantized from L levels to [0, 1] the density is that of x L, D log L nats lower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ..estimators import MeanFieldELBO
from ..parts import check_size
from .importance import check_data, evaluating, in_pieces, log_likelihood

PIECE = 1000  # examples at a time


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


def elbo(model: nn.Module, x: Tensor, y: Tensor | None = None, num_particles: int = 1, seed: int = 0) -> ELBO:
    """ELBO of every datum and its terms; the KL in closed form where Pyro knows it.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: samples of z for every datum.
        seed: of the samples.

    Raises:
        ValueError: no data, or data outside the likelihood's support.

    Source: Kingma and Welling 2014.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> terms = elbo(vae, torch.ones(5, 6))
        >>> torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
        True
    """
    check_data(model, x)
    estimator = MeanFieldELBO(num_particles=num_particles)
    size = max(1, PIECE // num_particles)
    with evaluating(model, seed) as device:
        parts = []
        for i in range(0, len(x), size):
            batch = [t[i : i + size].to(device) for t in (x, y) if t is not None]
            terms = estimator.terms(model.model, model.guide, *batch)
            parts.append((terms.elbo.cpu(), terms.reconstruction.cpu(), terms.kl.cpu()))
    return ELBO(*(torch.cat(column) for column in zip(*parts, strict=True)))


def codes(model: nn.Module, x: Tensor, num_particles: int = 100, seed: int = 0) -> Tensor:
    """Posterior means E_q[z] (B, dim), sampled where the family has none in closed form; an autoencoder's codes.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> codes(ae, torch.ones(5, 6)).shape
        torch.Size([5, 2])
    """

    def mean(part: Tensor) -> Tensor:
        if not hasattr(model, "posterior"):
            return model.encode(part).cpu()
        q = model.posterior(part)
        try:
            return q.mean.cpu()
        except (NotImplementedError, AttributeError):
            return q.sample((num_particles,)).mean(0).cpu()

    with evaluating(model, seed) as device:
        return torch.cat(in_pieces(x, PIECE, lambda part: mean(part.to(device))))


def active_units(model: nn.Module, x: Tensor, threshold: float = 0.01) -> Tensor:
    """Which code dimensions depend on the data: Var_x(E_q[z_j]) > threshold, bool (dim,).

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
    """
    return codes(model, x).var(0, correction=0) > threshold


def kl_by_dimension(model: Any, x: Tensor, num_particles: int = 10, seed: int = 0) -> Tensor:
    """Mean over x of KL(q(z_j | x) || p(z_j)) for every code dimension, (dim,), in nats.

    In closed form where both factorise over dimensions; otherwise the KL between Normals with the sampled mean and
    variance of each dimension and the prior's, a description of the marginals and not a split of the KL.
    """

    def normal_kl(q: Any, p: Any) -> Tensor:
        qs, ps = q.sample((max(num_particles, 100),)), p.sample((10000,))
        q_mean, q_var = qs.mean(0), qs.var(0)
        p_mean, p_var = ps.mean(0), ps.var(0)
        return 0.5 * ((q_var + (q_mean - p_mean) ** 2) / p_var - 1 - (q_var / p_var).log())

    def divergence(part: Tensor) -> Tensor:
        q, p = model.posterior(part), model.prior()
        try:
            by_dimension = kl_divergence(q.base_dist, p.base_dist)
        except (NotImplementedError, AttributeError):
            by_dimension = None
        if by_dimension is None or by_dimension.shape[-1:] != (model.dim,) or by_dimension.dim() != 2:
            by_dimension = normal_kl(q, p)
        return by_dimension.sum(0).cpu()

    with evaluating(model, seed) as device:
        return sum(in_pieces(x, PIECE, lambda part: divergence(part.to(device)))) / len(x)


def reconstruction_error(model: Any, x: Tensor) -> Tensor:
    """Squared error |x - x'|^2 of every datum, summed over its entries, (B,); x' is the mean of p(x | E_q[z]).

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> reconstruction_error(ae, torch.ones(5, 6)).shape
        torch.Size([5])
    """

    def error(part: Tensor) -> Tensor:
        z = codes(model, part).to(device)
        out = model.likelihood(z).mean if hasattr(model, "likelihood") else model.decode(z)
        return (part.to(device) - out).square().flatten(1).sum(1).cpu()

    with evaluating(model, 0) as device:
        return torch.cat(in_pieces(x, PIECE, error))


def bits_per_dim(log_likelihood: Any, shape: Sequence[int], levels: int | None = None) -> Any:
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


def evaluate(
    model: Any,
    data: Any,
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    memory: int = 2**28,
) -> dict[str, Any]:
    """The figures of a trained model on one split, in nats per example at beta = 1.

    Args:
        model: a VAE or an autoencoder.
        data: a split of ``ppl_vae.data``.
        num_particles: K of the log-likelihood.
        limit: only the first so many examples.
        seed: of the samples.
        memory: bytes for the intermediate tensors of the log-likelihood.

    Returns:
        for a VAE: log_likelihood, log_likelihood_stderr (Monte Carlo), elbo, reconstruction, kl, bits_per_dim,
        active_units, n, num_particles, ess and khat (medians) and reconstruction_error; for an autoencoder the last
        and n.

    Raises:
        ValueError: no data, a limit below 1, or data outside the likelihood's support.
    """
    n = len(data) if limit is None else min(check_size("limit", limit), len(data))
    batch = data.take(slice(0, n))
    x, y = batch[0], batch[1] if len(batch) > 1 else None
    error = reconstruction_error(model, x).mean().item()
    if not hasattr(model, "guide"):
        return {"reconstruction_error": error, "n": n}
    terms = elbo(model, x, y, seed=seed)
    likelihood = log_likelihood(model, x, num_particles, seed=seed, y=y, memory=memory)
    levels = getattr(data, "dequantized_levels", None)
    return {
        "log_likelihood": likelihood.mean,
        "log_likelihood_stderr": likelihood.mean_stderr,
        "elbo": terms.elbo.mean().item(),
        "reconstruction": terms.reconstruction.mean().item(),
        "kl": terms.kl.mean().item(),
        "bits_per_dim": bits_per_dim(likelihood.mean, tuple(x.shape[1:]), levels),
        "active_units": int(active_units(model, x).sum()),
        "n": n,
        "num_particles": num_particles,
        "ess": likelihood.ess.median().item(),
        "khat": likelihood.khat.median().item(),
        "reconstruction_error": error,
    }
