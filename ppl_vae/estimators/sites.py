"""What an estimator looks at: the sample sites of guide and model for one batch, and the log-densities they add up to.

    log w_k = log p(x | z_k) + beta (log p(z_k) - log q(z_k | x)),   z_k ~ q(z | x),   k = 1 ... K

for every datum of the one data plate. Particles are vectorised in a plate ``particles`` to the left of all others. A
scale common to all sites (sub-sampling, ``poutine.scale``) is kept aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Program = Callable[..., Any]
Site = dict[str, Any]
PARTICLES = "particles"  # name of the particle plate


@dataclass(frozen=True)
class Weights:
    """Log-densities of every particle and datum, (K, B) each, in nats, at beta = 1 but for ``log_w``.

    Attributes:
        log_likelihood: log p(x | z).
        log_prior: log p(z).
        log_q: log q(z | x).
        log_w: log p(x | z) + beta (log p(z) - log q(z | x)).
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_q: Tensor
    log_w: Tensor


@dataclass(frozen=True)
class Sites:
    """Model and guide traces of one batch, particles in front.

    Attributes:
        model: sample sites of the model by name.
        guide: sample sites of the guide by name.
        num_particles: K.
        plate: frame of the data plate.
        rerun: the guide's sites at given values of its latent sites, distributions made anew.
    """

    model: dict[str, Site]
    guide: dict[str, Site]
    num_particles: int
    plate: Any
    rerun: Callable[[Mapping[str, Tensor]], dict[str, Site]]

    @property
    def size(self) -> int:
        """B, the data in the batch."""
        return self.plate.size

    @property
    def observed(self) -> list[Site]:
        """Observed sites of the model."""
        return [site for site in self.model.values() if site["is_observed"]]

    @property
    def latent(self) -> list[Site]:
        """Unobserved sites of the model."""
        return [site for site in self.model.values() if not site["is_observed"]]

    @property
    def drawn(self) -> dict[str, Site]:
        """Unobserved sites of the guide by name."""
        return {name: site for name, site in self.guide.items() if not site["is_observed"]}

    @property
    def scale(self) -> float | Tensor:
        """The scale that all sites share, without the N/B of sub-sampled plates; beta never enters."""
        site = self.observed[0]
        return site["scale"] / subsampling_of(frames_of(site).values())

    @property
    def subsampling(self) -> float:
        """N/B of the data plate."""
        return subsampling_of([self.plate])

    def is_local(self, site: Site) -> bool:
        """Whether a site is inside the data plate."""
        return self.plate.name in frames_of(site)

    def log_prob(self, site: Site, shared: bool = True) -> Tensor:
        """Log-probability of a site at its value, as ``per_datum`` gives it."""
        return self.per_datum(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), shared)

    def per_datum(self, site: Site, value: Tensor, shared: bool = True) -> Tensor:
        """A site's tensor over its plates, masked, summed over all plates but data and particles: (K, B) or (1, B).

        A site outside the data plate belongs to all N data: each carries 1/N of it, or all of it if not ``shared``.
        """
        if site["mask"] is not None:
            value = torch.where(torch.as_tensor(site["mask"], device=value.device), value, value.new_zeros(()))
        frames = frames_of(site)
        rank = max([value.dim(), *(-frame.dim for frame in frames.values())])
        value = value.reshape((1,) * (rank - value.dim()) + tuple(value.shape))
        particles, data = frames.pop(PARTICLES, None), frames.pop(self.plate.name, None)
        if frames:
            value = value.sum(dim=[frame.dim for frame in frames.values()], keepdim=True)
            value = value * subsampling_of(frames.values())
        if particles is not None:
            value = value.movedim(particles.dim, 0)
        value = value.reshape(1 if particles is None else len(value), -1)
        if data is not None:
            return value
        return value.expand(-1, self.size) / ((self.plate.full_size or self.size) if shared else 1)

    def weights(self, pathwise: bool = False) -> Weights:
        """Log-densities of all sites, (K, B) each.

        Args:
            pathwise: leave out the gradient of log q(z | x) with respect to its parameters at fixed z, the score,
                whose mean is 0; the gradient through z remains.
        """
        fixed = self.fixed() if pathwise else {}
        log_likelihood = self._total(self.log_prob(site) for site in self.observed)
        log_p, log_q, log_w = [], [], [log_likelihood]
        for name, site in self.guide.items():
            q, p = self.log_prob(site), self.log_prob(self.model[name]) if name in self.model else None
            if name in fixed:
                score = self.log_prob(fixed[name])
                q = q - (score - score.detach())
            log_q.append(q)
            log_p += [] if p is None else [p]
            log_w.append(site["infer"].get("beta", 1.0) * (-q if p is None else p - q))
        return Weights(log_likelihood, *(self._total(terms) for terms in (log_p, log_q, log_w)))

    def score(self) -> Tensor | None:
        """Sum of log q over the sites that the guide cannot reparameterise, (K, B); None if it has no such site.

        A site outside the data plate is not shared out: every datum's log-weight depends on it.
        """
        scores = [self.log_prob(site, shared=False) for site in self.drawn.values() if not site["fn"].has_rsample]
        return self._total(scores) if scores else None

    def fixed(self) -> dict[str, Site]:
        """The guide's sites at its own values, cut from the graph: gradients of their log q are scores."""
        values = {name: site["value"].detach() for name, site in self.drawn.items()}
        if len(values) == 1:  # nothing in the guide can depend on it
            return {name: {**self.guide[name], "value": value} for name, value in values.items()}
        return self.rerun(values)

    def scale_paths(self, coefficients: Tensor, beta_coefficients: Tensor | None = None) -> None:
        """Multiply every gradient that will reach the guide through the log-weights (K, B).

        The trace must have been made with ``through=torch.clone``, so that no path inside the guide is scaled twice.

        Args:
            coefficients: (K, B).
            beta_coefficients: (K, B), times the site's beta, added to them.
        """
        for site in self.drawn.values():
            total = coefficients
            if beta_coefficients is not None:
                total = coefficients + site["infer"].get("beta", 1.0) * beta_coefficients
            if site["value"].requires_grad:
                site["value"].register_hook(_Scaled(self._spread(site, total)))

    def _spread(self, site: Site, per_datum: Tensor) -> Tensor:
        """A tensor (K, B) laid out over the plates of a site's value."""
        frames = frames_of(site)
        event = site["fn"].event_dim
        particles, data = frames.get(PARTICLES), frames[self.plate.name]
        shape = [1] * (site["value"].dim() - event)
        shape[data.dim] = self.size
        if particles is None:
            out = per_datum.reshape(shape)
        else:
            shape[particles.dim] = self.num_particles
            out = (per_datum if particles.dim < data.dim else per_datum.T).reshape(shape)
        return out.reshape(*shape, *(1,) * event)

    def _total(self, terms: Iterable[Tensor]) -> Tensor:
        total: Any = sum(terms)
        return torch.as_tensor(total).expand(self.num_particles, self.size)


class _Scaled:
    """Gradient hook that multiplies."""

    def __init__(self, by: Tensor) -> None:
        self.by = by.detach()

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient * self.by


def frames_of(site: Site) -> dict[str, Any]:
    """Plates that a site is in, by name."""
    return {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}


def subsampling_of(frames: Iterable[Any]) -> float:
    """N/B over the plates."""
    return math.prod((frame.full_size or frame.size) / frame.size for frame in frames)
