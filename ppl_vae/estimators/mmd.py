"""Maximum mean discrepancy between the aggregate posterior and the prior, over the data of a batch.

    L = E log p(x | z) - (1 - alpha) KL(q(z | x) || p(z)) - weight MMD^2(q(z), p(z))

alpha = 1 is the Wasserstein autoencoder with MMD (InfoVAE without its KL), alpha = 0 the ELBO with a penalty. MMD^2
is the U-statistic of z_i ~ q(z | x_i), i = 1 ... B, and as many draws of the prior, under the kernel

    k(z, z') = sum_s s C / (s C + |z - z'|^2),   C = mean |z - z'|^2 under the prior,   s from 0.1 to 10.

C is estimated from separate draws, so that the statistic has mean 0 if q(z) is the prior.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..checks import check_weight
from .base import Estimator, Terms, summed_up
from .site import Program, Site, frames_of
from .sites import Sites

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class MMD(Estimator):
    """InfoVAE and WAE-MMD: all or part of the KL is replaced by the MMD of the aggregate posterior to the prior.

    Not a bound on log p(x). The MMD is of the whole batch, not a sum over data: splitting a batch changes it.
    Beta multiplies KL and MMD alike. Unlike Pyro's Trace_MMD it compares codes of different data, not particles of one.

    Args:
        num_particles: K, samples of z for every datum; one MMD for each, which are averaged.
        weight: of the MMD, in nats per example.
        alpha: share of the KL that is left out, at most 1.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs one latent site, reparameterised and only in the data plate, a prior that is fixed or has reparameterised
    draws, and at least two data a batch.

    Raises:
        ValueError: a negative weight or alpha above 1; when run, a batch of one, or other programs than these.

    Source: Zhao, Song and Ermon 2019, "InfoVAE"; Tolstikhin et al. 2018, "Wasserstein auto-encoders" (the kernel);
        Gretton et al. 2012 (the statistic).

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> MMD(weight=10.0).terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    pathwise_only = True
    per_datum = True
    batchwise = True

    def __init__(
        self, num_particles: int = 1, weight: float = 10.0, alpha: float = 1.0, max_plate_nesting: int | None = None
    ) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha <= 1:
            raise ValueError(f"alpha, the share of the KL left out, must be a number of at most 1, not {alpha!r}")
        self.weight, self.alpha = check_weight("weight", weight), alpha

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; every datum's surrogate includes the batch's MMD."""
        traced = self._trace(model, guide, args, kwargs)
        if traced.size < 2:
            raise ValueError("MMD compares the codes of a batch with one another, but this batch has only one example")
        weights = traced.weights()
        plain = weights.log_likelihood + (1 - self.alpha) * (weights.log_w - weights.log_likelihood)
        return summed_up(traced, weights, plain.mean(0) - self.weight * self._discrepancy(traced))

    def _discrepancy(self, traced: Sites) -> Tensor:
        """beta MMD^2 of the latent site, mean over particles: a scalar."""
        names = [name for name in traced.drawn if name in traced.model]  # the others are auxiliary
        if len(names) != 1:
            raise ValueError(f"MMD compares one latent site with its prior, but the model has {len(names)}")
        name, site = names[0], traced.guide[names[0]]
        if frames_of(site).keys() - {traced.plate.name}:
            raise ValueError(
                f"MMD compares the codes of data with their prior, but site {name} is in a plate besides "
                f"{traced.plate.name}; use TraceELBO, MeanFieldELBO or STL"
            )
        prior = traced.model[name]["fn"].expand(site["fn"].batch_shape)  # for a plate without a size
        if not prior.has_rsample and prior.log_prob(site["value"].detach()).requires_grad:
            raise ValueError(
                f"the prior of site {name} has parameters to learn, but its draws are not reparameterised, so MMD "
                "cannot train them; use a fixed prior, or one with reparameterised draws, such as a Normal or a flow"
            )
        draws = prior.rsample() if prior.has_rsample else prior.sample()
        with torch.no_grad():
            others = _rows(traced, site, prior.sample())
            scale = 2 * (others - others.mean(1, keepdim=True)).square().sum((1, 2)) / (traced.size - 1)
        squared = mmd(_rows(traced, site, site["value"]), _rows(traced, site, draws), scale)
        return site["infer"].get("beta", 1.0) * squared.mean()


def mmd(z: Tensor, draws: Tensor, scale: Tensor) -> Tensor:
    """Unbiased MMD^2 between two samples under the module's kernel, (...); it may be negative.

    Args:
        z: (..., B, D).
        draws: (..., B, D).
        scale: C, (...).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> z, c = torch.randn(500, 2), torch.tensor(4.0)
        >>> bool(mmd(z, torch.randn(500, 2), c) < 0.05 < mmd(z + 1, torch.randn(500, 2), c))
        True
    """
    n = z.shape[-2]
    scale = scale[..., None, None]
    off_diagonal = 1 - torch.eye(n, dtype=z.dtype, device=z.device)

    def kernel(squared: Tensor) -> Tensor:
        return torch.stack([s * scale / (s * scale + squared) for s in SCALES]).sum(0)

    same = (kernel(_squared_distances(z, z)) + kernel(_squared_distances(draws, draws))) * off_diagonal
    return same.sum((-1, -2)) / (n * (n - 1)) - 2 * kernel(_squared_distances(z, draws)).mean((-1, -2))


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1)


def _rows(traced: Sites, site: Site, value: Tensor) -> Tensor:
    """A site's value as (K, B, D)."""
    event = site["fn"].event_dim
    entries = value.flatten(value.dim() - event).unbind(-1) if event else [value]
    return torch.stack([traced.per_datum({**site, "mask": None}, entry) for entry in entries], -1)
