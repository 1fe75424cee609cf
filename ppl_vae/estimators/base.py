"""What every estimator does: trace the guide, replay the model, and turn the sites into log-weights.

    log w_k = log p(x, z_k) - log q(z_k | x),   z_k ~ q(z | x),   k = 1 ... K

for every datum of the one data plate. Particles are vectorised in a plate ``particles`` to the left of all others. A
scale common to all sites (sub-sampling, ``poutine.scale``) is kept aside and multiplies the datum's loss at the end.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor

from ..checks import check_size
from ..parts import Recorded

Program = Callable[..., Any]
Site = dict[str, Any]
PARTICLES = "particles"  # name of the particle plate


@dataclass(frozen=True)
class Terms:
    """Per-datum results of an estimator, all of shape (B,), in nats, beta = 1 but for ``surrogate``.

    Attributes:
        surrogate: the quantity to maximise; its value carries beta, its gradient is the estimator's.
        elbo: reconstruction - kl.
        reconstruction: E_q log p(x | z).
        kl: E_q [log q(z | x) - log p(z)].
        scale: the sites' common scale, sub-sampling left out.
        subsampling: N/B of the data plate.
    """

    surrogate: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    scale: float | Tensor
    subsampling: float = 1.0


class Estimator(Recorded, ELBO):
    """Base of the estimators: subclasses say how log-weights become ``Terms``.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: plates of model and guide, particles apart; 1 for the models of this package.
    """

    def __init__(self, num_particles: int = 1, max_plate_nesting: int = 1) -> None:
        super().__init__(
            num_particles=check_size("num_particles", num_particles),
            max_plate_nesting=check_size("max_plate_nesting", max_plate_nesting),
            vectorize_particles=True,
        )
        self.max_plate_nesting = max_plate_nesting  # to which Pyro adds one for particles

    @abstractmethod
    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, differentiable."""

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """Scalar loss summed over the data, in nats, whose gradient is the estimator's."""
        terms = self.terms(model, guide, *args, **kwargs)
        return -(terms.subsampling * terms.scale * terms.surrogate).sum()

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Loss summed over the data, in nats."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Loss summed over the data, in nats; adds its gradients to the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        raise AssertionError("estimators trace through sites()")


@dataclass(frozen=True)
class Sites:
    """Model and guide traces of one batch, particles in front.

    Attributes:
        model: sample sites of the model by name.
        guide: sample sites of the guide by name.
        num_particles: K.
        plate: frame of the data plate.
    """

    model: dict[str, Site]
    guide: dict[str, Site]
    num_particles: int
    plate: Any

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
    def scale(self) -> float | Tensor:
        """The scale that all sites share, without the N/B of sub-sampled plates; beta never enters."""
        site = self.observed[0]
        return site["scale"] / _subsampling(_frames(site).values())

    @property
    def subsampling(self) -> float:
        """N/B of the data plate."""
        return _subsampling([self.plate])

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


def sites(
    model: Program, guide: Program, args: tuple[Any, ...], num_particles: int, nesting: int = 1, **kwargs: Any
) -> Sites:
    """Trace the guide and replay the model against it, with ``num_particles`` samples of every latent.

    Raises:
        ValueError: no observed site inside a plate, latent sites that model and guide do not share, or scales that
            differ between sites.
    """
    if num_particles > 1:
        plate = pyro.plate(PARTICLES, num_particles, dim=-1 - nesting)
        model, guide = plate(model), plate(guide)
    guide_trace = poutine.trace(guide, graph_type="flat").get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace), graph_type="flat").get_trace(*args, **kwargs)
    in_model, in_guide = _samples(model_trace), _samples(guide_trace)
    frames = {
        name: frame
        for site in in_model.values()
        if site["is_observed"]
        for name, frame in _frames(site).items()
        if name != PARTICLES
    }
    if not frames:
        raise ValueError("the model has no observed site inside a plate; put the data in pyro.plate('data', len(x))")
    data = frames.get("data") or max(frames.values(), key=lambda frame: frame.dim)
    _check_names(in_model, in_guide)
    _check_scales(in_model, in_guide)
    return Sites(in_model, in_guide, num_particles, data)


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


def _check_names(model: dict[str, Site], guide: dict[str, Site]) -> None:
    latent = {name for name, site in model.items() if not site["is_observed"]}
    sampled = {
        name for name, site in guide.items() if not (site["is_observed"] or site["infer"].get("is_auxiliary", False))
    }
    for found, missing, which in ((latent, sampled, ("model", "guide")), (sampled, latent, ("guide", "model"))):
        if found - missing:
            raise ValueError(
                f"the {which[0]} samples {', '.join(sorted(found - missing))}, but the {which[1]} does not; both must "
                "sample the same latent sites (a guide's helper site says infer={'is_auxiliary': True})"
            )


def _check_scales(model: dict[str, Site], guide: dict[str, Site]) -> None:
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
        if traced.plate.name not in _frames(site):
            raise ValueError(
                f"site {site['name']} is outside the plate {traced.plate.name}; log-weights of single data exist only "
                "where every site is inside it"
            )
    total: Any = sum(traced.log_prob(site) for site in traced.model.values())
    total = total - sum(traced.log_prob(site) for site in traced.guide.values())
    return total.expand(num_particles, traced.size)
