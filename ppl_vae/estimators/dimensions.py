"""Check that programs treat the extra dimensions of discrete values correctly.

Enum puts the values of a discrete site in a dimension of their own. A program may mistake it for a plate: sum over it,
flatten it, move it; if the shapes still fit, its densities are silently wrong. So the first batch is run with the
dimension of one site at a time, at a size that no plate has, and again at single values of that site without the
dimension: the densities must agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .elimination import MOST, check_inside, masked, shown, too_many
from .layouts import Layout, changing, every, spread, values
from .particles import try_particles
from .site import Program, Site, frames_of
from .sites import Sites
from .tracing import sites

Given = Mapping[str, Tensor | Callable[[dict[str, Any]], Tensor]]  # values of sites, or functions that compute them
MOST_SITES = 48  # with a dimension each; tensors have at most 64


def try_layout(layout: Layout, traced: Sites, model: Program, guide: Program, args: Any, kwargs: Any) -> None:
    """ValueError unless the programs run under a layout and give the same densities as without it.

    Args:
        layout: found from ``traced``.
        traced: sites of a run without the layout, with as many particles as there will be samples.
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        kwargs: keyword arguments of both programs.
    """
    how: Any = {"kwargs": kwargs, "marginal": True}
    count = layout.count(traced.num_particles)
    if layout.listed:
        if count > 1:
            instead = "TraceELBO, with every latent site in the guide"
            how |= {"draw": layout.messenger(), "instead": instead}
            try_particles(model, guide, args, count, layout.nesting, traced.size, **how)
        return
    if len(layout.sizes) > MOST_SITES:
        raise ValueError(
            f"{len(layout.sizes)} discrete sites, {', '.join(list(layout.sizes)[:3])} and so on, need a dimension "
            f"each, but {MOST_SITES} is the most; use VIMCO, NVIL or RWS, with every latent site in the guide"
        )

    def run(given: Given) -> Sites:
        return sites(model, guide, args, count, layout.nesting, draw=_Given(given), **how)

    _Trial(layout, traced, run).check()


class _Trial:
    """Runs of programs at given values of their latent sites.

    Args:
        layout: gives every discrete site its own dimension.
        traced: sites of a run without these dimensions.
        run: function from values of latent sites to the programs' sites.
    """

    def __init__(self, layout: Layout, traced: Sites, run: Callable[[Given], Sites]) -> None:
        self.layout, self.run = layout, run
        self.latents = {site["name"]: site for site in (*traced.latent, *traced.drawn.values())}
        self.drawn = {name: site["value"] for name, site in self.latents.items()}
        taken = {traced.num_particles} | {frame.size for site in every(traced) for frame in frames_of(site).values()}
        self.size = next(n for n in range(2, len(taken) + 3) if n not in taken)
        once, again = (_densities(run(self.drawn)) for _ in range(2))
        if once.keys() != again.keys() or not {site for site, _ in once} >= layout.sizes.keys():
            raise ValueError(changing(layout))
        self.steady = [key for key in once if _close(once[key], again[key])]  # the others contain other noise

    def check(self) -> None:
        """Check the dimension of every site."""
        depends: dict[str, dict[str, int]] = {}
        for name, dim in self.layout.dims.items():
            table = values(self.latents[name]["fn"], name)
            table = table[torch.arange(self.size, device=table.device) % len(table)]
            discrete = {key: self.drawn[key] for key in self.layout.sizes}
            found = self._try(name, discrete | {name: partial(spread, table, dim)})
            for site in every(found):
                if self._shows(name, site):
                    depends.setdefault(site["name"], {})[name] = self.layout.sizes[name]
            follow = [key for key, site in found.drawn.items() if key not in discrete and _has(site, dim)]
            self._compare(name, table, {key: self._repeated(key, dim) for key in follow})
        for sizes in depends.values():
            if math.prod(sizes.values()) > MOST:
                raise ValueError(too_many(sizes))

    def _shows(self, name: str, site: Site) -> bool:
        """Whether a site's density has the dimension of site ``name``; ValueError if it was moved."""
        log, dim = masked(site), self.layout.dims[name]
        moved = [-i for i in range(self.layout.nesting + 2, log.dim() + 1) if log.shape[-i] > 1 and -i != dim]
        if moved:
            raise ValueError(self._fails(name, f"site {site['name']} has it at dim {moved[0]}"))
        if not shown(log, {name: dim}):
            return False
        check_inside(site, self.latents[name], name in self.layout.alone)
        return True

    def _compare(self, name: str, table: Tensor, follow: dict[str, Tensor]) -> None:
        """Compare densities at all values of site ``name`` side by side with those at two single values."""
        dim = self.layout.dims[name]
        together = _densities(self._try(name, self.drawn | follow | {name: partial(spread, table, dim)}))
        for i in (0, 1):
            alone = _densities(self._try(name, self.drawn | {name: table[i].expand(self.drawn[name].shape)}))
            for key in self.steady:
                log = together.get(key)
                log = log.narrow(dim, i, 1) if log is not None and shown(log, {name: dim}) else log
                if log is None or key not in alone or not _close(log, alone[key]):
                    raise ValueError(self._fails(name, f"site {key[0]} at one value of {name} depends on the others"))

    def _try(self, name: str, given: Given) -> Sites:
        try:
            return self.run(given)
        except Exception as error:
            said = str(error).strip().split("\n")[0].split(";")[0]
            raise ValueError(self._fails(name, f"{type(error).__name__}: {said}")) from error

    def _repeated(self, name: str, dim: int) -> Tensor:
        """A site's drawn value, repeated along a batch dimension that it lacks."""
        value, dim = self.drawn[name], dim - self.latents[name]["fn"].event_dim
        return value.reshape((1,) * (-dim - value.dim()) + tuple(value.shape)).expand(self.size, *(-1,) * (-dim - 1))

    def _fails(self, name: str, said: str) -> str:
        return (
            f"the values of site {name} are in a dimension of their own, dim {self.layout.dims[name]}; the programs "
            f"run without it and fail with it ({said}); let them take leading dimensions, as ppl_vae.networks do, and "
            f"put sites that depend on {name} into its plates, or use TraceELBO, with every latent site in the guide"
        )


class _Given(Messenger):
    """Gives latent sites fixed values, or values computed from the site."""

    def __init__(self, held: Given) -> None:
        super().__init__()
        self.held = held

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.held and not (msg["done"] or msg["is_observed"]):
            given = self.held[msg["name"]]
            msg["value"], msg["done"] = given if isinstance(given, Tensor) else given(msg), True


def _densities(traced: Sites) -> dict[tuple[str, str], Tensor]:
    """Masked log-density of every site, by (name, program)."""
    programs = ("model", traced.model), ("guide", traced.guide)
    return {(name, which): masked(site).detach() for which, found in programs for name, site in found.items()}


def _close(a: Tensor, b: Tensor) -> bool:
    """Whether two log-densities are equal up to rounding."""
    a, b = torch.broadcast_tensors(a, b)
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)


def _has(site: Site, dim: int) -> bool:
    """Whether a site's value has a batch dimension."""
    dim -= site["fn"].event_dim
    return site["value"].dim() >= -dim and site["value"].shape[dim] > 1
