"""The sample sites of guide and model for one batch, and the log-weights that they add up to.

    log w_k = log p(x | z_k) + beta (log p(z_k) - log q(z_k | x)),   z_k ~ q(z | x),   k = 1 ... K

for every datum of the one data plate. Particles are vectorised in a plate of their own to the left of all others.

A site's scale is the product of N/B of its sub-sampled plates, beta, and the factors of ``poutine.scale``. An ELBO is
linear in the log-densities, so each site may have its own scale. Inside a logarithm only beta is defined; the rest must
be the same for all sites and multiplies the logarithm from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .site import (
    Scale,
    Site,
    common_scale,
    density,
    frames_of,
    particles_of,
    same_scale,
    subsampling_of,
)


@dataclass(frozen=True)
class Plate:
    """The data plate.

    Attributes:
        name: its name; None for the plate of size one around a program without plates.
        dim: its dimension, negative; None for a program without plates.
        size: B, the data in the batch.
        full_size: N, the data that the batch stands for.
    """

    name: str | None
    dim: int | None
    size: int
    full_size: int

    @property
    def subsampling(self) -> float:
        """N/B."""
        return self.full_size / self.size


@dataclass(frozen=True)
class Weights:
    """Log-densities of every particle and datum, (K, B) each, in nats, at beta = 1 except for ``log_w``.

    Attributes:
        log_likelihood: log p(x | z).
        log_prior: log p(z).
        log_q: log q(z | x).
        log_w: log p(x | z) + beta (log p(z) - log q(z | x)); with ``own_scales`` every term has its site's scale.
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
        plate: the data plate.
        rerun: runs the guide again at given values of its latent sites and returns its sites.
        own_scales: whether ``log_w`` includes every site's own scale, or beta alone.
    """

    model: dict[str, Site]
    guide: dict[str, Site]
    num_particles: int
    plate: Plate
    rerun: Callable[[Mapping[str, Tensor]], dict[str, Site]]
    own_scales: bool = False

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
    def scale(self) -> Scale:
        """The scale that all sites share, without beta and N/B, a number or (B,); 1 with own scales."""
        scale = 1.0 if self.own_scales else common_scale(self.observed[0])
        return scale.expand(self._data_shape(scale)).reshape(-1) if isinstance(scale, Tensor) and scale.dim() else scale

    @property
    def subsampling(self) -> float:
        """N/B of the data plate."""
        return self.plate.subsampling

    def is_local(self, site: Site) -> bool:
        """Whether a site (if latent: the model's site of that name) is inside the data plate."""
        return self.plate.name is None or self.plate.name in frames_of(self.model.get(site["name"], site))

    def factor(self, site: Site) -> Scale:
        """Factor of the site's log-density in ``log_w``: its own scale without N/B, or beta alone."""
        if not self.own_scales:
            return site["infer"].get("beta", 1.0)
        subsampling = subsampling_of(frames_of(site).values())
        return site["scale"] if subsampling == 1 else site["scale"] / subsampling

    def log_prob(self, site: Site, shared: bool = True) -> Tensor:
        """Log-probability of a site at its value, as ``per_datum`` gives it."""
        return self.per_datum(site, density(site), shared)

    def scaled(self, site: Site, value: Tensor, plain: Tensor | None = None) -> Tensor:
        """``per_datum`` of a site's tensor over its plates, times its ``factor``; ``plain``: without the factor."""
        factor = self.factor(site)
        if isinstance(factor, Tensor) and factor.dim():
            return self.per_datum(site, value * factor)
        plain = self.per_datum(site, value) if plain is None else plain
        return plain if isinstance(factor, float | int) and factor == 1 else factor * plain

    def scaled_ratio(self, prior: Site, log_p: Tensor, site: Site, value: Tensor, log_q: Tensor) -> Tensor:
        """log p(z) - log q(z | x) of a latent site, each times its factor.

        Args:
            prior: the site in the model.
            log_p: its log-density, (K, B).
            site: the site in the guide.
            value: its log-density over its plates.
            log_q: the same, (K, B).
        """
        factor = self.factor(site)
        if same_scale(site, prior) and not (isinstance(factor, Tensor) and factor.dim()):
            return factor * (log_p - log_q)
        return self.scaled(prior, density(prior), log_p) - self.scaled(site, value, log_q)

    def per_datum(self, site: Site, value: Tensor, shared: bool = True) -> Tensor:
        """A site's tensor over its plates, masked, summed over all plates but data and particles: (K, B) or (1, B).

        Args:
            site: the site.
            value: its tensor, such as its log-probability.
            shared: a site outside the data plate gives each of the N data 1/N of its value; a sub-sampled plate inside
                the datum is scaled by N/B. Without ``shared`` every datum gets the whole value, unscaled and unmasked,
                as scores need it: whatever is drawn affects every datum's log-weight.
        """
        if site["mask"] is not None and shared:
            value = torch.where(torch.as_tensor(site["mask"], device=value.device), value, value.new_zeros(()))
        frames, particles = frames_of(site), particles_of(site)
        dims = [frame.dim for frame in frames.values()] + ([] if particles is None else [particles.dim])
        rank = max([value.dim(), *(-dim for dim in dims)])
        value = value.reshape((1,) * (rank - value.dim()) + tuple(value.shape))
        data = frames.pop(self.plate.name, None)
        if frames:
            value = value.sum(dim=[frame.dim for frame in frames.values()], keepdim=True)
            subsampling = subsampling_of(frames.values())
            value = value * subsampling if shared and subsampling != 1 else value
        if particles is not None:
            value = value.movedim(particles.dim, 0)
        value = value.reshape(1 if particles is None else len(value), -1)
        if data is not None:
            return value if value.shape[1] == self.size else value.expand(-1, self.size)
        return value.expand(-1, self.size) / (self.plate.full_size if shared else 1)

    def weights(self, pathwise: bool = False) -> Weights:
        """Log-densities of all sites, (K, B) each.

        Args:
            pathwise: leave out the gradient of log q(z | x) with respect to its parameters at fixed z, the score,
                whose mean is 0; the gradient through z remains.
        """
        fixed = self.fixed() if pathwise else {}
        log_likelihood, log_p, log_q, log_w = [], [], [], []
        for site in self.observed:
            value = density(site)
            log_likelihood.append(self.per_datum(site, value))
            log_w.append(self.scaled(site, value, log_likelihood[-1]))
        for name, site in self.guide.items():
            value = density(site)
            if name in fixed:
                score = density(fixed[name])
                value = value - (score - score.detach())
            log_q.append(self.per_datum(site, value))
            if site["is_observed"] or name not in self.model:
                log_w.append(-self.scaled(site, value, log_q[-1]))
                continue
            prior = self.model[name]
            log_p.append(self.per_datum(prior, density(prior)))
            log_w.append(self.scaled_ratio(prior, log_p[-1], site, value, log_q[-1]))
        return Weights(*(self._total(terms) for terms in (log_likelihood, log_p, log_q, log_w)))

    def unmasked(self) -> Tensor | float:
        """1 for data with an unmasked site, 0 for others, (B,)."""
        sites = [*self.model.values(), *self.guide.values()]
        if any(site["mask"] is None for site in sites):
            return 1.0
        counts = (self.per_datum(site, torch.ones((), device=site["value"].device)) for site in sites)
        return (self._total(counts).sum(0) > 0).to(sites[0]["value"].dtype)

    def score(self) -> Tensor | None:
        """Sum of log q over the sites that the guide cannot reparameterise, (K, B); None if it has no such site.

        Every datum gets the whole score of a site outside the data plate, since its log-weight depends on it.
        """
        scores = [self.log_prob(site, shared=False) for site in self.guide.values() if not site["fn"].has_rsample]
        return self._total(scores) if scores else None

    def fixed(self) -> dict[str, Site]:
        """The guide's sites at its own values, detached: the gradients of their log q are scores."""
        values = {name: site["value"].detach() for name, site in self.drawn.items()}
        if len(values) == 1:  # no other site can depend on it
            return {name: {**self.guide[name], "value": value} for name, value in values.items()}
        found = self.rerun(values)
        return {name: found[name] for name in values}

    def scale_paths(self, coefficients: Tensor, beta_coefficients: Tensor | None = None) -> None:
        """Multiply the gradients that reach the guide through the samples, per log-weight (K, B).

        The trace must have been made with ``through=torch.clone``, otherwise a path through two sites is scaled twice.

        Args:
            coefficients: (K, B).
            beta_coefficients: (K, B); multiplied by the site's beta and added to ``coefficients``.
        """
        for site in self.drawn.values():
            total = coefficients
            if beta_coefficients is not None:
                total = coefficients + site["infer"].get("beta", 1.0) * beta_coefficients
            if site["value"].requires_grad:
                site["value"].register_hook(_Scaled(self._spread(site, total)))

    def _spread(self, site: Site, per_datum: Tensor) -> Tensor:
        """A tensor (K, B) laid out over the plates of a site's value."""
        event = site["fn"].event_dim
        particles, data = particles_of(site), self.plate.dim
        shape = [1] * max(site["value"].dim() - event, -(data or 0))
        if data is not None:
            shape[data] = self.size
        if particles is None:
            out = per_datum.reshape(tuple(shape))
        else:
            shape[particles.dim] = self.num_particles
            out = (per_datum if data is None or particles.dim < data else per_datum.T).reshape(tuple(shape))
        return out.reshape((*shape, *(1,) * event))

    def _data_shape(self, scale: Tensor) -> list[int]:
        """Shape of a scale over plates, with the data plate written out."""
        shape = [1] * max(scale.dim(), -(self.plate.dim or 0))
        if self.plate.dim is not None:
            shape[self.plate.dim] = self.size
        return shape

    def _total(self, terms: Iterable[Tensor]) -> Tensor:
        total: Any = sum(terms, 0.0)
        return torch.as_tensor(total).expand(self.num_particles, self.size)


class _Scaled:
    """Gradient hook that multiplies."""

    def __init__(self, by: Tensor) -> None:
        self.by = by.detach()

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient * self.by
