"""Tracing: the guide run, the model replayed against it, and their sites checked before an estimator adds them up.

Particles are vectorised in a plate ``particles`` to the left of all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro import poutine
from torch import Tensor

from ..checks import check_size
from .sites import PARTICLES, Program, Site, Sites, frames_of, subsampling_of


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


def _data_plate(model: Mapping[str, Site]) -> Any:
    """The plate called ``data``, else the outermost of those that all observed sites share."""
    observed = {name: frames_of(site) for name, site in model.items() if site["is_observed"]}
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
        scale = scale / beta / subsampling_of(frames_of(site).values())
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
        >>> import torch
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
