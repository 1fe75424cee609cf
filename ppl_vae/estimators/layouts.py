"""The dimensions in which an estimator that sums over discrete sites puts their values.

If the data plate is the only plate of every discrete site, their joint values are listed along the particle plate; any
program that runs with particles runs with these. If one is in further plates, or there are too many joint values, or
one says ``infer={"own_dimension": True}``, each site gets its own dimension to the left of plates and particles; only
sites that depend on it have that dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..distributions.wrappers import unwrapped
from .elimination import MOST, too_many
from .site import Site, frames_of, particles_of
from .sites import Sites


@dataclass(frozen=True)
class Layout:
    """The dimensions of the values of discrete sites.

    Attributes:
        sizes: number of values of each site; sites of the model alone come last.
        alone: the sites that only the model has.
        listed: joint values along the particle plate, the last site varying fastest; else each site in its own
            dimension.
        nesting: number of nested plates.
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
        """Size of the particle plate for ``num_particles`` samples of the continuous sites."""
        return num_particles * math.prod(self.sizes.values()) if self.listed else num_particles

    def messenger(self) -> Listed | Own:
        """A handler that sets the values of the discrete sites in one run of guide and model."""
        return Listed(self.sizes, self.summed) if self.listed else Own(self.dims)


def layout_of(traced: Sites, nesting: int | None, sizes: Mapping[str, int] | None = None) -> Layout:
    """The layout of a trace's discrete sites.

    Args:
        traced: guide and model.
        nesting: number of nested plates; None counts them.
        sizes: number of values of each site, if known.

    Raises:
        ValueError: a discrete site outside the data plate, or one whose values cannot be listed.
    """
    alone = {site["name"]: site for site in traced.latent if site["name"] not in traced.guide}
    discrete = {name: site for name, site in traced.drawn.items() if not site["fn"].has_rsample} | alone
    for name, site in discrete.items():
        if not traced.is_local(site):
            raise ValueError(
                f"site {name} is outside the plate {traced.plate.name} and discrete, but Enum sums over the sites of "
                "each datum separately; use pyro.infer.TraceEnum_ELBO, with infer={'enumerate': 'parallel'} there"
            )
    if sizes is None:
        sizes = {name: len(values(site["fn"], name)) for name, site in discrete.items()}
    sizes = {name: sizes.get(name, 0) for name in discrete}
    inner = any(set(frames_of(site)) - {traced.plate.name} for site in discrete.values())
    apart = inner or any(site["infer"].get("own_dimension") for site in discrete.values())
    if nesting is None:
        nesting = max((-frame.dim for site in every(traced) for frame in frames_of(site).values()), default=0)
    return Layout(sizes, tuple(alone), not apart and math.prod(sizes.values()) <= MOST, nesting)


def changing(layout: Layout) -> str:
    """The message that refuses programs whose sites change between runs."""
    return (
        f"the discrete sites of the programs were {', '.join(layout.sizes) or 'none'}, and change from run to run; "
        "Enum needs the same sites, with the same numbers of values, in every run"
    )


def every(traced: Sites) -> list[Site]:
    """The sites of model and guide."""
    return [*traced.model.values(), *traced.guide.values()]


def spread(table: Tensor, dim: int, msg: dict[str, Any]) -> Tensor:
    """A site's values along a batch dimension to the left of all others, with size 1 in its plates.

    A plate without a size is expanded, since it takes its size from its sites' values.

    Args:
        table: the values, (N, *event).
        dim: the dimension, without those of events.
        msg: the site.
    """
    shape, batch = [1] * (-dim - 1), msg["fn"].batch_shape
    for frame in msg["cond_indep_stack"]:
        if frame.vectorized and frame.size == -1 and len(batch) >= -frame.dim:
            shape[frame.dim] = batch[frame.dim]
    event = table.shape[1:]
    return table.reshape(-1, *(1,) * len(shape), *event).expand(-1, *shape, *event)


class Own(Messenger):
    """Gives every discrete site all its values, each site in its own dimension.

    Args:
        dims: each site's dimension, without those of events.

    Attributes:
        found: number of values of each site.
    """

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = dims
        self.found: dict[str, int] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if msg["done"] or msg["is_observed"] or name not in self.dims:
            return
        table = values(msg["fn"], name)
        self.found[name] = len(table)
        msg["value"], msg["done"] = spread(table, self.dims[name], msg), True


class Listed(Messenger):
    """Lists the joint values of discrete sites along the particle plate, the last site varying fastest.

    Args:
        sizes: number of values of each site.
        summed: number of joint values of the sites that only the model has; the guide's samples are repeated for them.

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
    """All values of a discrete distribution, (N, *event); for a vector all combinations of its entries' values.

    Args:
        fn: the distribution.
        name: name of its site, for errors.

    Raises:
        ValueError: values that cannot be listed, or more than 4096.

    Example:
        >>> import pyro.distributions as dist
        >>> values(dist.Bernoulli(torch.full((2,), 0.5)).to_event(1), "z").tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    base = unwrapped(fn)
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
