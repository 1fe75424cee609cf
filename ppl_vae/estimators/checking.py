"""Checks of the sites of a trace that estimators share: scales, observations and reparameterisation."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.distribution import Distribution
from pyro.distributions.score_parts import ScoreParts
from torch import Tensor
from torch.distributions import kl_divergence

from ..distributions.wrappers import unwrapped
from .site import Site, common_scale, density, frames_of, same, same_scale, subsampling_of
from .sites import Sites


def family(site: Site) -> str:
    """Class name of a site's distribution, without what is wrapped around it."""
    return type(unwrapped(site["fn"])).__name__


def reparameterised_in_part(fn: Any) -> bool:
    """Whether draws carry a gradient that a score must complete, as those of Pyro's ``Rejector``."""
    while fn is not None:
        fn = unwrapped(fn)
        if _has_parts(fn):
            return True
        fn = getattr(fn, "base_dist", None)  # of torch's TransformedDistribution and its like
    return False


def _has_parts(fn: Any) -> bool:
    """Whether the class itself, not one that it is built of, says what its score is."""
    return getattr(type(fn), "score_parts", Distribution.score_parts) is not Distribution.score_parts


def divergence(q: Any, p: Any) -> Tensor | None:
    """KL(q || p) over the plates of both, or None where it has no closed form that is known."""
    if q.batch_shape != p.batch_shape:  # a plate without a size expands nothing
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        q, p = q.expand(shape), p.expand(shape)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def needs_score(fn: Any) -> bool:
    """Whether the gradient of a mean over draws needs a score, wholly or in part."""
    return not fn.has_rsample or reparameterised_in_part(fn)


def score_parts(site: Site) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Log-density of a site, its score if there is one, and the part of it that is differentiated, over its plates.

    Raises:
        ValueError: a distribution reparameterised in part inside another, whose parts are not known.
    """
    fn, value = site["fn"], site["value"]
    if not reparameterised_in_part(fn):
        log_q = density(site)
        return (log_q, None, log_q) if fn.has_rsample else (log_q, log_q, None)
    if not _has_parts(unwrapped(fn)):
        raise ValueError(
            f"site {site['name']} is a {family(site)} of a distribution that is reparameterised in part, whose score "
            "is not known; sample that distribution itself and transform its value"
        )
    parts = _parts(fn, value)
    return parts.log_prob, parts.score_function, parts.entropy_term


def _parts(fn: Any, value: Tensor) -> ScoreParts:
    if type(fn).__name__ != "Independent":  # of which Pyro drops the score
        return fn.score_parts(value)
    n = fn.reinterpreted_batch_ndims
    return ScoreParts(*(part.flatten(part.dim() - n).sum(-1) if n else part for part in _parts(fn.base_dist, value)))


def check_factors(traced: Sites) -> None:
    """ValueError for a ``pyro.factor`` in the guide that does not say, or denies, that its samples carry a gradient.

    With has_rsample=False its gradient is multiplied by the log-weight, as that of a density of what was drawn: for a
    term of the loss that is not its own gradient.
    """
    for name, site in traced.guide.items():
        said = vars(site["fn"]).get("has_rsample") if type(site["fn"]).__name__ == "Unit" else True
        if said is None:
            raise ValueError(
                f"pyro.factor({name!r}) in the guide does not say whether its samples are reparameterised; write "
                f"pyro.factor({name!r}, ..., has_rsample=True)"
            )
        if not said:
            raise ValueError(
                f"pyro.factor({name!r}) in the guide has has_rsample=False, so that its gradient would be that of a "
                f"density, multiplied by log-weights; write pyro.factor({name!r}, ..., has_rsample=True) for a term "
                "of the loss"
            )


def uncommon_scale(traced: Sites) -> str | None:
    """Name two sites whose scales differ, besides beta and N/B, or a scale that varies inside a datum; None if none do.

    Tensors are compared by what they are, not by value, which would wait for the device.
    """
    every = (*traced.model.values(), *traced.guide.values())
    first = every[0]
    for site in every:
        pairs = list(zip(site["scales"], first["scales"], strict=False))
        if len(site["scales"]) != len(first["scales"]) or not all(same(*pair) for pair in pairs) or not _told(site):
            return f"site {site['name']} has scale {_said(site)} and site {first['name']} {_said(first)}"
    scale = common_scale(first)
    for i, size in enumerate(reversed(scale.shape if isinstance(scale, Tensor) else ()), 1):
        if size > 1 and -i != traced.plate.dim:
            return f"the scale of shape {tuple(scale.shape)} varies inside a datum, at dim {-i}"
    return None


def check_weighable(traced: Sites, estimator: str) -> None:
    """ValueError unless log-weights can stand in a logarithm.

    All sites share one scale besides beta, no plate inside the datum is sub-sampled, and the guide observes no data.
    """
    for name, site in traced.guide.items():
        if site["is_observed"] and type(site["fn"]).__name__ != "Unit":
            raise ValueError(
                f"site {name} is observed in the guide, so it is no part of q(z | x), and {estimator} weighs samples "
                "by q; use TraceELBO, MeanFieldELBO or STL, or leave it out of the guide"
            )
    inner = subsampled_inside(traced)
    if inner is not None:
        raise ValueError(
            f"site {inner[0]} is in the sub-sampled plate {inner[1]} inside the datum, and {estimator} would hold its "
            "N/B inside a logarithm; use TraceELBO, MeanFieldELBO or STL, or the whole plate"
        )
    uncommon = uncommon_scale(traced)
    if uncommon is not None:
        raise ValueError(
            f"{uncommon}, and {estimator} takes one scale for all sites; wrap model and guide whole in one "
            "poutine.scale, use handlers.scale_latents for a beta, or TraceELBO, MeanFieldELBO or STL, which scale "
            "each site by itself"
        )


def loose_helper(traced: Sites) -> str | None:
    """An auxiliary site of the guide that is more than another way to write its latent sites, or None.

    Those of Pyro's autoguides are: each latent is then a Delta at a function of them that has no fewer entries.
    """
    helpers = [site for name, site in traced.drawn.items() if name not in traced.model]
    fixed = [site for name, site in traced.drawn.items() if name in traced.model and family(site) == "Delta"]
    if sum(s["value"].numel() for s in helpers) <= sum(s["value"].numel() for s in fixed):
        return None
    return helpers[0]["name"]


def subsampled_inside(traced: Sites) -> tuple[str, str] | None:
    """A site and its plate inside the datum that is sub-sampled, or None."""
    for site in (*traced.model.values(), *traced.guide.values()):
        for frame in site["cond_indep_stack"]:  # sequential plates too
            if frame.name != traced.plate.name and subsampling_of([frame]) != 1 and traced.is_local(site):
                return site["name"], frame.name
    return None


def _told(site: Site) -> bool:
    """Whether the site's scale is what ``poutine.scale``, its vectorised plates and beta say, where all are numbers."""
    beta, scale = site["infer"].get("beta", 1.0), site["scale"]
    if isinstance(scale, Tensor) or isinstance(beta, Tensor) or beta == 0:
        return True
    return math.isclose(scale, beta * common_scale(site) * subsampling_of(frames_of(site).values()), rel_tol=1e-6)


def _said(site: Site) -> str:
    """The site's scale without beta and N/B, as far as it is a number."""
    beta, scale = site["infer"].get("beta", 1.0), site["scale"]
    if isinstance(scale, Tensor):
        return "of a tensor" if any(isinstance(s, Tensor) for s in site["scales"]) else f"{common_scale(site):g}"
    return f"{scale / subsampling_of(frames_of(site).values()) / (beta or 1.0):g}"


def check_scales_agree(traced: Sites, why: str) -> None:
    """ValueError for a latent site that tensors scale, not known to be the same in model and guide."""
    for name, site in traced.drawn.items():
        if name in traced.model and not same_scale(site, traced.model[name]):
            raise ValueError(f"site {name} is scaled by different tensors in model and guide, and {why}")
