"""Where an estimator that sums over discrete sites has all their values.

Where every discrete site is in the data plate alone, their joint values are listed along the particle plate, which asks
no more of programs than particles do. Where one is in further plates, or the joint values are too many, each site has a
dimension of its own to the left of plates and particles: what depends on it has that dimension, nothing else does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .elimination import MOST, masked, shown, too_many
from .particles import try_particles
from .sites import Program, Site, Sites, frames_of, particles_of
from .tracing import sites

MOST_SITES = 48  # with dimensions of their own: tensors have 64 at most


@dataclass(frozen=True)
class Layout:
    """Where the values of discrete sites are.

    Attributes:
        sizes: how many values each has, those of the model alone last.
        alone: the sites that only the model has.
        listed: along the particle plate, the last site's fastest; otherwise each in a dimension of its own.
        nesting: plates inside one another.
    """

    sizes: dict[str, int]
    alone: tuple[str, ...]
    listed: bool
    nesting: int

    @property
    def dims(self) -> dict[str, int]:
        """Each site's own dimension."""
        return {name: -self.nesting - 2 - i for i, name in enumerate(self.sizes)}

    @property
    def summed(self) -> int:
        """Joint values of the sites that only the model has."""
        return math.prod(self.sizes[name] for name in self.alone)

    def count(self, num_particles: int) -> int:
        """Size of the particle plate for ``num_particles`` samples of what is continuous."""
        return num_particles * math.prod(self.sizes.values()) if self.listed else num_particles

    def messenger(self) -> Listed | Own:
        """What gives the sites their values in one run of guide and model."""
        return Listed(self.sizes, self.summed) if self.listed else Own(self.dims, self.sizes)


def layout_of(traced: Sites, nesting: int | None, sizes: Mapping[str, int] | None = None) -> Layout:
    """The layout of a trace's discrete sites.

    Args:
        traced: guide and model.
        nesting: plates inside one another; None counts them.
        sizes: how many values the sites have, where they are known.

    Raises:
        ValueError: a site whose values cannot be listed.
    """
    alone = {site["name"]: site for site in traced.latent if site["name"] not in traced.guide}
    discrete = {name: site for name, site in traced.drawn.items() if not site["fn"].has_rsample} | alone
    if sizes is None:
        sizes = {name: len(values(site["fn"], name)) for name, site in discrete.items()}
    sizes = {name: sizes.get(name, 0) for name in discrete}
    inner = any(set(frames_of(site)) - {traced.plate.name} for site in discrete.values())
    if nesting is None:
        nesting = max((-frame.dim for site in _every(traced) for frame in frames_of(site).values()), default=0)
    return Layout(sizes, tuple(alone), not inner and math.prod(sizes.values()) <= MOST, nesting)


def try_layout(layout: Layout, traced: Sites, model: Program, guide: Program, args: Any, kwargs: Any) -> None:
    """ValueError unless the programs, which run without, run with a layout too.

    Args:
        layout: found from ``traced``.
        traced: sites of a run without it, with as many particles as there will be samples.
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        kwargs: keyword arguments of both programs.
    """
    how: Any = {"kwargs": kwargs, "marginal": True}
    count = layout.count(traced.num_particles)
    if not layout.listed:
        _try_dimensions(layout, traced, lambda draw: sites(model, guide, args, count, layout.nesting, draw=draw, **how))
    elif count > 1:
        how |= {"draw": layout.messenger(), "instead": "TraceELBO, with every latent site in the guide"}
        try_particles(model, guide, args, count, layout.nesting, traced.size, **how)


def _try_dimensions(layout: Layout, traced: Sites, run: Any) -> None:
    """Try the sites' dimensions one at a time, the other sites at their first value.

    The size is one that no plate has: a dimension that a program moves, or takes for a plate, does not fit there.
    """
    if len(layout.sizes) > MOST_SITES:
        raise ValueError(
            f"{len(layout.sizes)} discrete sites, {', '.join(list(layout.sizes)[:3])} and so on, need a dimension each "
            f"and {MOST_SITES} is the most; use VIMCO, NVIL or RWS, with every latent site in the guide"
        )
    taken = {traced.num_particles} | {frame.size for site in _every(traced) for frame in frames_of(site).values()}
    size = next(n for n in range(2, len(taken) + 3) if n not in taken)
    depends: dict[str, dict[str, int]] = {}
    for name, dim in layout.dims.items():
        try:
            for site in _every(run(Own(layout.dims, dict.fromkeys(layout.sizes, 1) | {name: size}))):
                log = masked(site)
                moved = [-i for i in range(layout.nesting + 2, log.dim() + 1) if log.shape[-i] > 1 and -i != dim]
                if moved:
                    raise ValueError(f"site {site['name']} has it at dim {moved[0]}")
                if shown(log, {name: dim}):
                    depends.setdefault(site["name"], {})[name] = layout.sizes[name]
        except Exception as error:
            said = str(error).strip().split("\n")[0].split(";")[0]
            raise ValueError(
                f"the values of site {name} are in a dimension of their own, dim {dim}, and the programs, which run "
                f"without, fail with it ({type(error).__name__}: {said}); let them take leading dimensions, as "
                f"ppl_vae.networks do, and put what depends on {name} into its plates, or use TraceELBO, with every "
                "latent site in the guide"
            ) from error
    for sizes in depends.values():
        if math.prod(sizes.values()) > MOST:
            raise ValueError(too_many(sizes))


def _every(traced: Sites) -> list[Site]:
    return [*traced.model.values(), *traced.guide.values()]


class Own(Messenger):
    """Gives discrete sites all their values in dimensions of their own, of size 1 elsewhere.

    Args:
        dims: each site's dimension, without those of events.
        sizes: its size there; values are repeated or left out where they are not so many.

    Attributes:
        found: how many values each site has.
    """

    def __init__(self, dims: Mapping[str, int], sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.dims, self.sizes = dims, sizes
        self.found: dict[str, int] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if msg["done"] or msg["is_observed"] or name not in self.dims:
            return
        table, size = values(msg["fn"], name), self.sizes[name]
        self.found[name] = len(table)
        if size != len(table):
            table = table[torch.arange(size, device=table.device) % len(table)]
        msg["value"] = table.reshape(size, *(1,) * (-self.dims[name] - 1), *msg["fn"].event_shape)
        msg["done"] = True


class Listed(Messenger):
    """Gives discrete sites all their values in turn along the particle plate, the last site's fastest.

    Args:
        sizes: how many values each site has.
        summed: joint values of the sites that only the model has: what the guide samples is the same for all of them.

    Attributes:
        found: how many values each site has.
    """

    def __init__(self, sizes: Mapping[str, int], summed: int) -> None:
        super().__init__()
        self.sizes, self.summed = sizes, summed
        self.found: dict[str, int] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name, fn, plate = msg["name"], msg["fn"], particles_of(msg)
        if msg["done"] or msg["is_observed"] or type(fn).__name__ == "_Subsample":
            return
        table = values(fn, name) if name in self.sizes else None
        if table is not None:
            self.found[name] = len(table)
        if plate is None:
            return
        particle = torch.arange(plate.size)
        if table is not None:
            names = list(self.sizes)
            faster = math.prod(self.sizes[name] for name in names[names.index(name) + 1 :])
            value = table[(particle // faster % len(table)).to(table.device)]
            value = value.reshape(plate.size, *(1,) * (-plate.dim - 1), *fn.event_shape)
            msg["value"], msg["done"] = value.expand(fn.shape()), True
        elif self.summed > 1:
            drawn = fn(*msg["args"], **msg["kwargs"])
            kept = (particle // self.summed * self.summed).to(drawn.device)
            msg["value"], msg["done"] = drawn.index_select(plate.dim - len(fn.event_shape), kept), True


def values(fn: Any, name: str) -> Tensor:
    """All values of a discrete distribution, (N, *event): of a vector, every combination of its entries' values.

    Args:
        fn: the distribution.
        name: its site, for errors.

    Raises:
        ValueError: values that cannot be listed, or more than 4096.

    Example:
        >>> import pyro.distributions as dist
        >>> values(dist.Bernoulli(torch.full((2,), 0.5)).to_event(1), "z").tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    base = fn
    while type(base).__name__ in ("Independent", "ExpandedDistribution", "MaskedDistribution"):
        base = base.base_dist
    try:
        support = base.enumerate_support(expand=False)
    except NotImplementedError:
        raise ValueError(
            f"site {name} is a {type(base).__name__}, whose values cannot be listed; use VIMCO, NVIL, RWS or "
            "TraceELBO, with a guide that samples it"
        ) from None
    support = support.reshape(len(support), *base.event_shape)
    entries = math.prod(fn.event_shape) // math.prod(base.event_shape)
    if len(support) ** entries > MOST:
        raise ValueError(too_many({name: f"{len(support)}^{entries}"}))
    digits = torch.cartesian_prod(*[torch.arange(len(support), device=support.device)] * entries)
    return support[digits].reshape(-1, *fn.event_shape)
