"""Tracing: run the guide, replay the model against it, and check the plates and shapes of their sites.

Particles are vectorised in a plate of their own to the left of all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro import poutine
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.scale_messenger import ScaleMessenger
from torch import Tensor

from ..checks import check_size
from .plates import data_plate, settle
from .site import PARTICLES, Program, Site
from .sites import Sites


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
        nesting: number of nested plates of model and guide, without the particle plate.
        kwargs: keyword arguments of both programs.
        through: function applied to the latent values before densities are computed at them: ``torch.clone`` separates
            the paths of their gradients, ``torch.Tensor.detach`` cuts them.
        draw: handler around both programs, outside the particle plate, that sets values of sites in its own way.
        marginal: allow latent sites of the model that the guide does not have.

    Raises:
        ValueError: no observed site, more than one data plate, latent sites that differ between model and guide, in
            name or shape, dimensions that no plate declares, or a latent site scaled in only one program.
    """
    kwargs = dict(kwargs or {})
    widest = nesting + 1 if num_particles > 1 or draw is not None else None
    if num_particles > 1:
        plate = pyro.plate(PARTICLES, num_particles, dim=-1 - nesting)
        model, guide = plate(model), plate(guide)
    around: Callable[[Any], Any] = draw if draw is not None else lambda program: program

    def again(values: Mapping[str, Tensor]) -> dict[str, Site]:
        # Replay keeps the sub-samples; substituting values, unlike conditioning, keeps the sites latent.
        return guide_sites(poutine.replay(guide, trace=trace), values, args, kwargs)

    def rerun(values: Mapping[str, Tensor]) -> dict[str, Site]:
        found = again(values)
        settle({}, found, sizes, widest)
        return found

    trace = _traced(around(guide), args, kwargs)
    if through is not None:
        _pass_through(trace, through, again)
    in_guide = _samples(trace)
    in_model = _samples(_traced(around(poutine.replay(model, trace=trace)), args, kwargs))
    _drop_observed_by_messenger(in_model, in_guide)
    _check_names(in_model, in_guide, marginal)
    sizes = settle(in_model, in_guide, {}, widest)
    _check_scales(in_model, in_guide)
    return Sites(in_model, in_guide, num_particles, data_plate(in_model), rerun)


def guide_sites(
    guide: Program, values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Site]:
    """The guide's sample sites for a batch, with given values of its latent sites."""
    return _samples(poutine.trace(_Substitute(values)(guide), graph_type="flat").get_trace(*args, **kwargs))


def _pass_through(trace: Any, through: Callable[[Tensor], Tensor], rerun: Callable[..., dict[str, Site]]) -> None:
    """Apply a function to the guide's latent values and recompute its distributions at the results."""
    found = _samples(trace)
    values = {name: through(site["value"]) for name, site in found.items() if not site["is_observed"]}
    again = rerun(values) if len(found) > 1 else {}  # a single site depends on no other
    for name, site in found.items():
        site["value"], site["fn"] = values.get(name, site["value"]), again.get(name, site)["fn"]


class _Substitute(poutine.messenger.Messenger):
    """Gives latent sites fixed values."""

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


def _traced(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A program's trace, with ``scales`` at every site; an error about plate sizes gets one line."""
    try:
        return poutine.trace(_Scales()(program), graph_type="flat").get_trace(*args, **kwargs)
    except ValueError as error:
        said, *more = str(error).split("\n")
        if not more:
            raise
        raise ValueError(f"{said}; give sites and plates of model and guide the same sizes, as in len(x)") from None


class _Scales(poutine.messenger.Messenger):
    """Records at every site the factors of ``poutine.scale``, without those of plates and beta."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        msg["scales"] = tuple(handler.scale for handler in _PYRO_STACK if isinstance(handler, ScaleMessenger))


def _check_names(model: Mapping[str, Site], guide: Mapping[str, Site], marginal: bool) -> None:
    latent = {name for name, site in model.items() if not site["is_observed"]}
    sampled = {
        name for name, site in guide.items() if not (site["is_observed"] or site["infer"].get("is_auxiliary", False))
    }
    for found, missing, which in ((latent, sampled, ("model", "guide")), (sampled, latent, ("guide", "model"))):
        if found - missing and not (marginal and found is latent):
            mend = "mark an auxiliary site of a guide with infer={'is_auxiliary': True}"
            if found is latent:
                mend = (
                    "sum discrete ones out with estimators.Enum or pyro.infer.TraceEnum_ELBO, or sample them there too"
                )
            raise ValueError(
                f"the {which[0]} samples {', '.join(sorted(found - missing))}, but the {which[1]} does not; both must "
                f"sample the same latent sites ({mend})"
            )


def _drop_observed_by_messenger(model: Mapping[str, Site], guide: dict[str, Site]) -> None:
    """Remove observed sites of the model from a guide that is a messenger around the model, and so runs them too."""
    if any("prior" in site["infer"] for site in guide.values()):
        for name in [name for name, site in guide.items() if site["is_observed"]]:
            if name in model and model[name]["is_observed"]:
                del guide[name]


def _check_scales(model: Mapping[str, Site], guide: Mapping[str, Site]) -> None:
    """Refuse a latent site scaled in only one program; tensors are not read, to avoid synchronising with the device."""
    for name in guide.keys() & model.keys():
        if model[name]["is_observed"]:
            continue
        p, q = model[name]["scale"], guide[name]["scale"]
        if isinstance(p, Tensor) != isinstance(q, Tensor):
            raise ValueError(f"site {name} is scaled by a tensor in only one of model and guide; scale both")
        if not isinstance(p, Tensor) and not math.isclose(p, q, rel_tol=1e-6):
            raise ValueError(
                f"site {name} has scale {p:g} in the model and {q:g} in the guide; wrap all of model and guide in "
                "poutine.scale, or in handlers.scale_latents for a beta"
            )


def log_weights(model: Program, guide: Program, x: Tensor, y: Tensor | None = None, num_particles: int = 1) -> Tensor:
    """log p(x, z_k) - log q(z_k | x) for new draws z_k ~ q: (K, B), in nats, without beta and scales.

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
                f"site {site['name']} is outside the plate {traced.plate.name}; log-weights of single data "
                "need every site inside it"
            )
    weights = traced.weights()
    return weights.log_likelihood + weights.log_prior - weights.log_q
