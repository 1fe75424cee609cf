"""One sample site of a trace: its density, its plates and its scale.

A site's scale is the product of N/B of its sub-sampled plates, beta, and the factors of ``poutine.scale``, which
``tracing`` records as ``site["scales"]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

Program = Callable[..., Any]
Site = dict[str, Any]
Scale = float | Tensor


class _ParticlePlate(str):
    """A plate name that equals only itself, so that no user's plate can have the same name."""

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


PARTICLES = _ParticlePlate("ppl_vae.particles")  # name of the particle plate


def density(site: Site) -> Tensor:
    """Log-density of a site at its value, over its plates."""
    return site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])


def frames_of(site: Site) -> dict[Any, Any]:
    """Vectorised plates of a site by name, outermost first, without the particle plate."""
    frames = (frame for frame in site["cond_indep_stack"] if frame.vectorized)
    return {frame.name: frame for frame in frames if not isinstance(frame.name, _ParticlePlate)}


def particles_of(site: Site) -> Any:
    """The particle plate of a site, or None."""
    return next((f for f in site["cond_indep_stack"] if isinstance(f.name, _ParticlePlate)), None)


def subsampling_of(frames: Iterable[Any]) -> float:
    """N/B over the plates."""
    return math.prod((frame.full_size or frame.size) / frame.size for frame in frames)


def common_scale(site: Site) -> Scale:
    """Product of the factors of ``poutine.scale`` at a site, without beta and the N/B of plates."""
    return math.prod(site["scales"])


def same_scale(a: Site, b: Site) -> bool:
    """Whether two sites in the same plates are known to have one scale: the same numbers and the same tensors."""
    if not (isinstance(a["scale"], Tensor) or isinstance(b["scale"], Tensor)):
        return math.isclose(a["scale"], b["scale"], rel_tol=1e-6)
    betas = a["infer"].get("beta", 1.0), b["infer"].get("beta", 1.0)
    pairs = [betas, *zip(a["scales"], b["scales"], strict=False)]
    return len(a["scales"]) == len(b["scales"]) and all(same(*pair) for pair in pairs)


def same(a: Scale, b: Scale) -> bool:
    """Whether two scales are the same number or the same tensor; tensors are not read."""
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and math.isclose(a, b, rel_tol=1e-6))
