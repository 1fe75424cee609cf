"""Checks of the sites of a trace that estimators share: scales, observations and reparameterisation."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.distribution import Distribution
from pyro.distributions.score_parts import ScoreParts
from torch import Tensor
from torch.distributions import OneHotCategoricalStraightThrough, kl_divergence

from ..distributions.wrappers import unwrapped
from .site import Site, common_scale, density, frames_of, same, same_scale, subsampling_of
from .sites import Sites


def family(site: Site) -> str:
    """Class name of a site's distribution, without its wrappers."""
    return type(unwrapped(site["fn"])).__name__


def reparameterised_in_part(fn: Any) -> bool:
    """Whether the gradient through a draw needs a score term as well, as with Pyro's ``Rejector``."""
    while fn is not None:
        fn = unwrapped(fn)
        if _has_parts(fn):
            return True
        fn = getattr(fn, "base_dist", None)  # as in torch's TransformedDistribution
    return False


def _has_parts(fn: Any) -> bool:
    """Whether the class itself defines ``score_parts``, rather than inheriting Pyro's default."""
    return getattr(type(fn), "score_parts", Distribution.score_parts) is not Distribution.score_parts


def divergence(q: Any, p: Any) -> Tensor | None:
    """KL(q || p) over the plates of both, or None if no closed form is known."""
    if q.batch_shape != p.batch_shape:  # a plate without a size does not expand its sites
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        q, p = q.expand(shape), p.expand(shape)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def straight_through(site: Site) -> bool:
    """Whether draws are one-hot with a straight-through gradient, which log-probabilities at them do not have."""
    return isinstance(unwrapped(site["fn"]), OneHotCategoricalStraightThrough)


def without_gradient(site: Site, estimator: str) -> ValueError:
    """The refusal of a straight-through site by an estimator that takes log q at its draws, or has no KL for it."""
    return ValueError(
        f"site {site['name']} of the guide is a {family(site)}, whose log-probabilities have no gradient through its "
        f"straight-through samples, and {estimator} would need it; use MeanFieldELBO with a prior whose KL is known, "
        "such as OneHotCategorical, or the posterior OneHotCategorical"
    )


def needs_score(fn: Any) -> bool:
    """Whether the gradient of a mean over draws needs a score, wholly or in part."""
    return not fn.has_rsample or reparameterised_in_part(fn)


def score_parts(site: Site) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Log-density of a site, its score (or None), and the part of log q to differentiate, each over the site's plates.

    Raises:
        ValueError: a transformed distribution whose base is partly reparameterised, so its score is unknown.
    """
    fn, value = site["fn"], site["value"]
    if not reparameterised_in_part(fn):
        log_q = density(site)
        return (log_q, None, log_q) if fn.has_rsample else (log_q, log_q, None)
    if not _has_parts(unwrapped(fn)):
        raise ValueError(
            f"site {site['name']} is a {family(site)} of a distribution that is partly reparameterised, so its score "
            "is unknown; sample that distribution itself and transform its value"
        )
    parts = _parts(fn, value)
    return parts.log_prob, parts.score_function, parts.entropy_term


def _parts(fn: Any, value: Tensor) -> ScoreParts:
    if type(fn).__name__ != "Independent":  # Pyro drops the score of an Independent
        return fn.score_parts(value)
    n = fn.reinterpreted_batch_ndims
    return ScoreParts(*(part.flatten(part.dim() - n).sum(-1) if n else part for part in _parts(fn.base_dist, value)))


def check_factors(traced: Sites) -> None:
    """ValueError for a ``pyro.factor`` in the guide without ``has_rsample=True``.

    With has_rsample=False it counts as the log-density of a draw: its gradient would be multiplied by the log-weight,
    which is wrong for a term of the loss.
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
                f"pyro.factor({name!r}) in the guide has has_rsample=False, so its gradient would be multiplied by the "
                f"log-weights, like that of a density; for a term of the loss write "
                f"pyro.factor({name!r}, ..., has_rsample=True)"
            )


def uncommon_scale(traced: Sites) -> str | None:
    """Why the sites share no scale (beta and N/B apart): two differ, or one varies inside a datum; None if they do.

    Tensors are compared by identity, since reading their values would synchronise with the device.
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
    """ValueError unless the log-weights may be put inside a logarithm.

    This needs one scale for all sites (beta apart), no sub-sampled plate inside a datum, no observed guide site.
    """
    for name, site in traced.guide.items():
        if site["is_observed"] and type(site["fn"]).__name__ != "Unit":
            raise ValueError(
                f"site {name} is observed in the guide, so it is not part of q(z | x), but {estimator} weights samples "
                "by q; use TraceELBO, MeanFieldELBO or STL, or remove it from the guide"
            )
    inner = subsampled_inside(traced)
    if inner is not None:
        raise ValueError(
            f"site {inner[0]} is in the sub-sampled plate {inner[1]} inside the datum, but {estimator} would have its "
            "N/B inside a logarithm; use TraceELBO, MeanFieldELBO or STL, or the whole plate"
        )
    uncommon = uncommon_scale(traced)
    if uncommon is not None:
        raise ValueError(
            f"{uncommon}, but {estimator} needs one scale for all sites; wrap all of model and guide in one "
            "poutine.scale, use handlers.scale_latents for a beta, or use TraceELBO, MeanFieldELBO or STL, which scale "
            "each site separately"
        )


def loose_helper(traced: Sites) -> str | None:
    """An auxiliary site of the guide that is not a reparameterisation of its latent sites, or None.

    In Pyro's autoguides every latent is a Delta at a function of the auxiliary sites, with no fewer entries.
    """
    helpers = [site for name, site in traced.drawn.items() if name not in traced.model]
    fixed = [site for name, site in traced.drawn.items() if name in traced.model and family(site) == "Delta"]
    if sum(s["value"].numel() for s in helpers) <= sum(s["value"].numel() for s in fixed):
        return None
    return helpers[0]["name"]


def subsampled_inside(traced: Sites) -> tuple[str, str] | None:
    """A site and its sub-sampled plate inside the datum, or None."""
    for site in (*traced.model.values(), *traced.guide.values()):
        for frame in site["cond_indep_stack"]:  # sequential plates too
            if frame.name != traced.plate.name and subsampling_of([frame]) != 1 and traced.is_local(site):
                return site["name"], frame.name
    return None


def _told(site: Site) -> bool:
    """Whether the site's scale is the product of ``poutine.scale``, vectorised plates and beta (if all are numbers)."""
    beta, scale = site["infer"].get("beta", 1.0), site["scale"]
    if isinstance(scale, Tensor) or isinstance(beta, Tensor) or beta == 0:
        return True
    return math.isclose(scale, beta * common_scale(site) * subsampling_of(frames_of(site).values()), rel_tol=1e-6)


def _said(site: Site) -> str:
    """The site's scale without beta and N/B, in words."""
    beta, scale = site["infer"].get("beta", 1.0), site["scale"]
    if isinstance(scale, Tensor):
        return "of a tensor" if any(isinstance(s, Tensor) for s in site["scales"]) else f"{common_scale(site):g}"
    return f"{scale / subsampling_of(frames_of(site).values()) / (beta or 1.0):g}"


def check_scales_agree(traced: Sites, why: str) -> None:
    """ValueError for a latent site whose scale is not known to be the same in model and guide."""
    for name, site in traced.drawn.items():
        if name in traced.model and not same_scale(site, traced.model[name]):
            raise ValueError(f"site {name} is scaled by different tensors in model and guide, and {why}")
