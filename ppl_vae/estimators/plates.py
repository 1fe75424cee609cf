"""Plates and shapes of a traced model and guide: find the data plate and check every site's shape.

The data plate is the one called ``data``, else the outermost plate that all observed sites share. A program without
plates gets a data plate of size one: its data are one datum. A plate without a size takes its size from its sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from .site import Site, frames_of, particles_of
from .sites import Plate, Sites


def data_plate(model: Mapping[str, Site]) -> Plate:
    """The data plate of a model's sites.

    Raises:
        ValueError: no observed site, or more than one candidate for the data plate.
    """
    every = {name: site for name, site in model.items() if site["is_observed"]}
    if not every:
        raise ValueError("the model has no observed site; write pyro.sample(..., obs=x)")
    data = {name: site for name, site in every.items() if type(site["fn"]).__name__ != "Unit"}  # without pyro.factor
    stacks = {name: [f for f in site["cond_indep_stack"] if not _is_ours(f)] for name, site in (data or every).items()}
    found = next((f for stack in stacks.values() for f in stack if f.name == "data" and f.vectorized), None)
    if found is None and any(stacks.values()):
        found = _outermost(stacks)
    if found is None or not found.vectorized:  # a sequential plate: all its data are one datum
        return Plate(None, None, 1, 1)
    return Plate(found.name, found.dim, found.size, found.full_size or found.size)


def _outermost(stacks: Mapping[str, list[Any]]) -> Any:
    """The plate that all observed sites open first."""
    names = [[frame.name for frame in stack] for stack in stacks.values()]
    shared = [name for name in names[0] if all(name in other for other in names)]
    if not shared:
        plates = dict.fromkeys(name for stack in names for name in stack)
        raise ValueError(
            f"the observed sites {' and '.join(stacks)} share no plate (their plates are {' and '.join(plates)}); "
            "put the data in one plate, or name the plate of the examples 'data'"
        )
    first = {next(name for name in stack if name in shared) for stack in names}
    if len(first) > 1:
        raise ValueError(
            f"the observed sites {' and '.join(stacks)} open the plates {' and '.join(sorted(first))} in different "
            "orders; name the plate of the examples 'data'"
        )
    return next(frame for frame in next(iter(stacks.values())) if frame.name == shared[0])


def codes_of_single_data(traced: Sites, parameters: list[Tensor]) -> str | None:
    """A site for which the guide has one entry of a parameter for every datum, in the order of the data; or None.

    The density of one datum then depends on one entry of such a parameter, and that of the next datum on another.
    """
    lengths = {traced.plate.size, traced.plate.full_size}
    candidates = [p for p in parameters if p.requires_grad and lengths & set(p.shape)]
    for name, site in traced.drawn.items():
        if not (candidates and traced.size > 1 and traced.plate.name in frames_of(site)):
            continue
        value = site["value"].float()
        value = value.reshape(*value.shape[: value.dim() - site["fn"].event_dim], -1).sum(-1)
        told = traced.log_prob({**site, "value": site["value"].detach()}) + traced.per_datum(site, value)
        if not told.requires_grad:
            continue
        first, second = (
            torch.autograd.grad(told[0, i], candidates, retain_graph=True, allow_unused=True) for i in (0, 1)
        )
        for a, b in zip(first, second, strict=True):
            for dim, length in enumerate(() if a is None or b is None else a.shape):
                one, other = (g.movedim(dim, 0).reshape(length, -1).any(1).nonzero().flatten().tolist() for g in (a, b))
                if length in lengths and len(one) == len(other) == 1 and one != other:
                    return name
    return None


def settle(
    model: dict[str, Site], guide: dict[str, Site], sizes: Mapping[str, int], widest: int | None
) -> dict[str, int]:
    """Give plates without a size the size of their sites, and check every site's shape.

    Args:
        model: sample sites of the model; their plates are replaced.
        guide: those of the guide.
        sizes: known sizes of plates that have none.
        widest: how many dimensions belong to plates; those further left belong to enumeration. None: all.

    Returns:
        the sizes of the plates that had none.

    Raises:
        ValueError: a shape that no plate declares, or that differs between model and guide.
    """
    every = [*model.values(), *guide.values()]
    sizes = dict(sizes) or _sizes(every)
    for site in every if sizes else ():
        site["cond_indep_stack"] = tuple(_sized(frame, sizes) for frame in site["cond_indep_stack"])
    for site in every:
        _check_declared(site, sizes, widest)
    for name in guide.keys() & model.keys():
        if not model[name]["is_observed"]:
            _check_same_shape(model[name], guide[name], sizes, widest)
    return sizes


def _sizes(sites: list[Site]) -> dict[str, int]:
    """Sizes of the plates that have none: the largest among their sites."""
    found: dict[str, int] = {}
    for site in sites:
        for frame in frames_of(site).values():
            if frame.size == -1:
                shape = _batch_shape(site)
                size = shape[frame.dim] if len(shape) >= -frame.dim else 1
                found[frame.name] = max(size, found.get(frame.name, 1))
    return found


def _sized(frame: Any, sizes: Mapping[str, int]) -> Any:
    return frame._replace(size=sizes[frame.name], full_size=sizes[frame.name]) if frame.size == -1 else frame


def _batch_shape(site: Site) -> torch.Size:
    """Batch shape of a site's log-density."""
    if not isinstance(site["fn"], TorchDistributionMixin):
        raise ValueError(
            f"site {site['name']} has a {type(site['fn']).__name__} where a distribution of pyro.distributions belongs"
        )
    value, event = site["value"], len(site["fn"].event_shape)
    given = value.shape[: value.dim() - event] if isinstance(value, Tensor) else ()
    try:
        return torch.broadcast_shapes(site["fn"].batch_shape, given)
    except RuntimeError:
        raise ValueError(
            f"site {site['name']} has a distribution of batch shape {tuple(site['fn'].batch_shape)} and a value of "
            f"batch shape {tuple(given)}; give both the sizes of their plates"
        ) from None


def _check_declared(site: Site, sizes: Mapping[str, int], widest: int | None) -> None:
    """ValueError unless plates declare the batch dimensions of the site and of its scale."""
    declared = {frame.dim: frame for frame in site["cond_indep_stack"] if frame.vectorized}
    shape = _batch_shape(site)
    for i, size in enumerate(reversed(shape), 1):
        frame = declared.get(-i)
        if size == 1 or (widest is not None and i > widest):
            continue
        if frame is None:
            raise ValueError(
                f"site {site['name']} has a batch dimension of size {size} at dim {-i} that no plate declares; put it "
                f"in pyro.plate('data', {size}, dim={-i}), or make it part of the event with .to_event({i})"
            )
        if frame.size != size:
            raise ValueError(
                f"site {site['name']} has size {size} at dim {-i}, where plate {frame.name} has size {frame.size}; "
                f"write pyro.plate({str(frame.name)!r}, {size})"
            )
    for frame in declared.values():
        if frame.name in sizes and frame.size > 1 and (len(shape) < -frame.dim or shape[frame.dim] == 1):
            raise ValueError(
                f"site {site['name']} has one value for all {frame.size} of plate {frame.name}, which has no size; "
                f"write pyro.plate({str(frame.name)!r}, len(x))"
            )
    scale = site["scale"]
    for i, size in enumerate(reversed(scale.shape if isinstance(scale, Tensor) else ()), 1):
        if size > 1 and (-i not in declared or declared[-i].size != size):
            raise ValueError(
                f"site {site['name']} is scaled by a tensor of size {size} at dim {-i}, where it has no plate of that "
                "size; scale it by one number, or by a tensor over its plates"
            )


def _check_same_shape(model: Site, guide: Site, sizes: Mapping[str, int], widest: int | None) -> None:
    """ValueError unless a latent site has one shape and the same plates in model and guide."""
    name, p, q = model["name"], model["fn"], guide["fn"]
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"site {name} has event shape {tuple(p.event_shape)} in the model and {tuple(q.event_shape)} in the guide; "
            "give both the same, with .to_event(n)"
        )
    plates = frames_of(model)
    drawn = _batch_shape(guide)
    here, there = (list(reversed(shape))[:widest] for shape in (p.batch_shape, drawn))
    free = {-frame.dim for frame in plates.values() if frame.name in sizes}  # plates without a size expand nothing
    for i, (a, b) in enumerate(zip_longest(here, there, fillvalue=1), 1):
        if a != b and not (i in free and a == 1):
            raise ValueError(
                f"site {name} has batch shape {tuple(p.batch_shape)} in the model and {tuple(drawn)} in the "
                "guide; give both the same plates and sizes"
            )
    others = frames_of(guide)
    if plates.keys() != others.keys():
        said = [" and ".join(map(str, names)) or "no plate" for names in (plates, others)]
        raise ValueError(
            f"site {name} is in {said[0]} in the model and in {said[1]} in the guide; give both the same plates"
        )


def _is_ours(frame: Any) -> bool:
    return particles_of({"cond_indep_stack": (frame,)}) is not None
