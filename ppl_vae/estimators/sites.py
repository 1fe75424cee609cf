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

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..checks import check_size

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
        return site["scale"] / _subsampling(_frames(site).values())

    @property
    def subsampling(self) -> float:
        """N/B of the data plate."""
        return _subsampling([self.plate])

    def is_local(self, site: Site) -> bool:
        """Whether a site is inside the data plate."""
        return self.plate.name in _frames(site)

    def log_prob(self, site: Site, shared: bool = True) -> Tensor:
        """Log-probability of a site at its value, as ``per_datum`` gives it."""
        return self.per_datum(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), shared)

    def per_datum(self, site: Site, value: Tensor, shared: bool = True) -> Tensor:
        """A site's tensor over its plates, masked, summed over all plates but data and particles: (K, B) or (1, B).

        A site outside the data plate belongs to all N data: each carries 1/N of it, or all of it if not ``shared``.
        """
        if site["mask"] is not None:
            value = torch.where(torch.as_tensor(site["mask"], device=value.device), value, value.new_zeros(()))
        frames = _frames(site)
        rank = max([value.dim(), *(-frame.dim for frame in frames.values())])
        value = value.reshape((1,) * (rank - value.dim()) + tuple(value.shape))
        particles, data = frames.pop(PARTICLES, None), frames.pop(self.plate.name, None)
        if frames:
            value = value.sum(dim=[frame.dim for frame in frames.values()], keepdim=True)
            value = value * _subsampling(frames.values())
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
        frames = _frames(site)
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


def sites(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    num_particles: int,
    nesting: int = 1,
    *,
    kwargs: Mapping[str, Any] | None = None,
    through: Callable[[Tensor], Tensor] | None = None,
    draw: Callable[[Program], Program] | None = None,
    marginal: bool = False,
) -> Sites:
    """Trace the guide and replay the model against it, with ``num_particles`` samples of every latent.

    Args:
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        num_particles: K.
        nesting: plates of model and guide, particles apart.
        kwargs: keyword arguments of both programs.
        through: what the latent values pass before densities are taken at them: ``torch.clone`` to tell the paths of
            gradients apart, ``torch.Tensor.detach`` to cut them.
        draw: handler around both programs, outside the particle plate, that draws in its own way what is not yet done.
        marginal: allow latent sites of the model that the guide lacks.

    Raises:
        ValueError: no observed site inside a plate, more than one data plate, latent sites that model and guide do
            not share, or scales that differ between sites.
    """
    kwargs = dict(kwargs or {})
    if num_particles > 1:
        plate = pyro.plate(PARTICLES, num_particles, dim=-1 - nesting)
        model, guide = plate(model), plate(guide)
    around: Callable[[Any], Any] = draw if draw is not None else lambda program: program

    def rerun(values: Mapping[str, Tensor]) -> dict[str, Site]:
        # Replayed, so that sub-samples stay the same; substituted, not conditioned, so that the sites stay latent.
        return guide_sites(poutine.replay(guide, trace=trace), values, args, kwargs)

    trace: Any = poutine.trace(around(guide), graph_type="flat").get_trace(*args, **kwargs)
    if through is not None:
        _pass_through(trace, through, rerun)
    replayed = around(poutine.replay(model, trace=trace))
    in_guide = _samples(trace)
    in_model = _samples(poutine.trace(replayed, graph_type="flat").get_trace(*args, **kwargs))
    plate = _data_plate(in_model)
    _check_names(in_model, in_guide, marginal)
    _check_scales(in_model, in_guide)
    return Sites(in_model, in_guide, num_particles, plate, rerun)


def guide_sites(
    guide: Program, values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Site]:
    """The guide's sample sites for a batch, with given values of its latent sites."""
    return _samples(poutine.trace(_Substitute(values)(guide), graph_type="flat").get_trace(*args, **kwargs))


def _pass_through(trace: Any, through: Callable[[Tensor], Tensor], rerun: Callable[..., dict[str, Site]]) -> None:
    """Send the guide's latent values through a function, and make its distributions anew at the results."""
    found = _samples(trace)
    values = {name: through(site["value"]) for name, site in found.items() if not site["is_observed"]}
    again = rerun(values) if len(found) > 1 else {}  # one site depends on no other
    for name, site in found.items():
        site["value"], site["fn"] = values.get(name, site["value"]), again.get(name, site)["fn"]


class _Substitute(poutine.messenger.Messenger):
    """Gives latent sites the values it holds."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True


def _samples(trace: poutine.Trace) -> dict[str, Site]:
    nodes: Any = trace.nodes
    return {
        name: site
        for name, site in nodes.items()
        if site["type"] == "sample"
        and type(site["fn"]).__name__ != "_Subsample"
        and not site["infer"].get("_deterministic")
    }


def _frames(site: Site) -> dict[str, Any]:
    return {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}


def _subsampling(frames: Iterable[Any]) -> float:
    """N/B over the plates."""
    return math.prod((frame.full_size or frame.size) / frame.size for frame in frames)


def _data_plate(model: Mapping[str, Site]) -> Any:
    """The plate called ``data``, else the outermost of those that all observed sites share."""
    observed = {name: _frames(site) for name, site in model.items() if site["is_observed"]}
    frames = {name: frame for site in observed.values() for name, frame in site.items() if name != PARTICLES}
    if not frames:
        raise ValueError("the model has no observed site inside a plate; put the data in pyro.plate('data', len(x))")
    if "data" in frames:
        return frames["data"]
    shared = [name for name in frames if all(name in site for site in observed.values())]
    if not shared:
        raise ValueError(
            f"the observed sites {' and '.join(observed)} share no plate, but lie in {' and '.join(frames)}; put the "
            "data in one plate, or call the plate of the examples 'data'"
        )
    return frames[max(shared, key=lambda name: frames[name].dim)]


def _check_names(model: Mapping[str, Site], guide: Mapping[str, Site], marginal: bool) -> None:
    latent = {name for name, site in model.items() if not site["is_observed"]}
    sampled = {
        name for name, site in guide.items() if not (site["is_observed"] or site["infer"].get("is_auxiliary", False))
    }
    for found, missing, which in ((latent, sampled, ("model", "guide")), (sampled, latent, ("guide", "model"))):
        if found - missing and not (marginal and found is latent):
            raise ValueError(
                f"the {which[0]} samples {', '.join(sorted(found - missing))}, but the {which[1]} does not; both must "
                "sample the same latent sites (a guide's helper site says infer={'is_auxiliary': True})"
            )


def _check_scales(model: Mapping[str, Site], guide: Mapping[str, Site]) -> None:
    """Refuse betas and scales that differ between sites; tensors are left unread, which would wait for the device."""
    for name in guide.keys() & model.keys():
        if isinstance(model[name]["scale"], Tensor) != isinstance(guide[name]["scale"], Tensor):
            raise ValueError(f"site {name} is scaled by a tensor in only one of model and guide; scale both")
    first: tuple[str, float] | None = None
    for site in (*model.values(), *guide.values()):
        beta, scale = site["infer"].get("beta", 1.0), site["scale"]
        if isinstance(beta, Tensor) or isinstance(scale, Tensor) or beta == 0:
            continue
        scale = scale / beta / _subsampling(_frames(site).values())
        first = first or (site["name"], scale)
        if not math.isclose(scale, first[1], rel_tol=1e-6):
            raise ValueError(
                f"site {site['name']} has scale {scale:g} and site {first[0]} {first[1]:g}; wrap model "
                "and guide whole in poutine.scale, or in handlers.scale_latents for a beta"
            )


def log_weights(model: Program, guide: Program, x: Tensor, y: Tensor | None = None, num_particles: int = 1) -> Tensor:
    """log p(x, z_k) - log q(z_k | x) for fresh z_k ~ q: (K, B), in nats, beta and scales left out.

    Args:
        model: Pyro model of (x,) or (x, y).
        guide: Pyro guide of the same.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: K.

    Raises:
        ValueError: a site outside the data plate.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> log_weights(vae.model, vae.guide, torch.ones(5, 6), num_particles=3).shape
        torch.Size([3, 5])
    """
    args = (x,) if y is None else (x, y)
    traced = sites(model, guide, args, check_size("num_particles", num_particles))
    for site in (*traced.model.values(), *traced.guide.values()):
        if not traced.is_local(site):
            raise ValueError(
                f"site {site['name']} is outside the plate {traced.plate.name}; log-weights of single data exist only "
                "where every site is inside it"
            )
    weights = traced.weights()
    return weights.log_likelihood + weights.log_prior - weights.log_q
