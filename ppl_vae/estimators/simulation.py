"""Draws from a model and its guide, for any pair of Pyro programs with one data plate.

Data and latents come from the model with its observations set free, (z*, x*) ~ p(z) p(x | z), and the guide is then run
on x* with many particles. A latent outside the data plate belongs to all data at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..distributions.given_total import GivenTotal
from .program_layout import prepare
from .site import PARTICLES, Site, frames_of
from .tracing import sites


@dataclass(frozen=True)
class Structure:
    """Where the sites of a model and its guide stand.

    Attributes:
        plate: frame of the data plate.
        nesting: plates of model and guide.
        latent: latent sites, in the model's order.
        outside: those of them outside the data plate.
        observed: observed sites.
        arguments: for each observed site, which of the batch's tensors it observes, or None.
    """

    plate: Any
    nesting: int
    latent: tuple[str, ...]
    outside: tuple[str, ...]
    observed: tuple[str, ...]
    arguments: dict[str, int | None]


def structure(model: Any, batch: tuple[Tensor, ...]) -> Structure:
    """The structure of a module with Pyro programs ``model`` and ``guide``, from one run on a batch.

    Raises:
        ValueError: no observed site inside a plate, or latent sites that model and guide do not share.
    """
    prepare(model, *batch)
    found = sites(model.model, model.guide, batch, 1)
    every = (*found.model.values(), *found.guide.values())
    if found.plate.name is None:
        raise ValueError("the model has no plate for its data; put them in pyro.plate('data', len(x))")
    nesting = max(-frame.dim for site in every for frame in frames_of(site).values())
    latent = {site["name"]: found.is_local(site) for site in found.latent}
    arguments = {site["name"]: _argument(site["value"], batch) for site in found.observed}
    outside = tuple(name for name, inside in latent.items() if not inside)
    return Structure(found.plate, nesting, tuple(latent), outside, tuple(arguments), arguments)


def _argument(value: Tensor, batch: tuple[Tensor, ...]) -> int | None:
    """Position of the batch's tensor that is observed here."""
    same = [i for i, given in enumerate(batch) if value is given]
    equal = [i for i, given in enumerate(batch) if value.shape == given.shape and _equal(value, given)]
    return next(iter(same + equal), None)


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | ((a != a) & (b != b))).all())


def run(program: Callable[..., Any], batch: tuple[Tensor, ...], count: int, nesting: int) -> dict[str, Site]:
    """Sample sites of one run of a program with ``count`` particles in front."""
    plate = pyro.plate(PARTICLES, count, dim=-1 - nesting)
    nodes: Any = poutine.trace(plate(program)).get_trace(*batch).nodes
    return nodes


def looks(guide: Callable[..., Any], batch: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    """Whether the guide gives another density on another batch: not, if it has codes of its own or ignores x."""
    trace = poutine.trace(guide).get_trace(*batch)
    again = poutine.trace(poutine.replay(guide, trace=trace)).get_trace(*other)
    return not torch.equal(torch.as_tensor(trace.log_prob_sum()), torch.as_tensor(again.log_prob_sum()))


def simulate(model: Any, batch: tuple[Tensor, ...], where: Structure) -> tuple[dict[str, Site], tuple[Tensor, ...]]:
    """One run of the model with its observations set free: its sample sites, and the batch they make.

    Entries that are missing (NaN) in the batch are missing in the data made; counts given their total are drawn at
    that of every datum. What is not observed, as labels that are given, stays as it is.

    Raises:
        ValueError: an observed site whose value is not one of the batch's tensors.
    """
    for name, argument in where.arguments.items():
        if argument is None:
            raise ValueError(
                f"site {name} does not observe the batch's x as it is, so no data can be simulated for the guide; let "
                "the model observe its first argument, of the same shape, as in pyro.sample('x', ..., obs=x)"
            )
    if 0 not in where.arguments.values():
        raise ValueError("the model observes no site with the batch's x; give pyro.sample('x', ..., obs=x)")
    with _KeepTotals(batch, where.arguments):
        nodes: Any = poutine.trace(poutine.uncondition(model.model)).get_trace(*batch).nodes
    made = list(batch)
    for name, argument in where.arguments.items():
        given, value = batch[argument or 0], nodes[name]["value"].to(batch[argument or 0].dtype)
        made[argument or 0] = torch.where(given.isnan(), given, value) if given.is_floating_point() else value
    return nodes, tuple(made)


class _KeepTotals(Messenger):
    """Draws of a distribution given its total, such as the multinomial, are made at the totals of the batch."""

    def __init__(self, batch: tuple[Tensor, ...], arguments: dict[str, int | None]) -> None:
        super().__init__()
        self.batch, self.arguments = batch, arguments

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.arguments and isinstance(msg["fn"], GivenTotal):
            x = self.batch[self.arguments[msg["name"]] or 0]
            msg["fn"] = msg["fn"].at_total(msg["fn"].totals_of(x))


def per_datum(site: Site, where: Structure, particles: bool = False) -> Tensor:
    """Values of a latent site inside the data plate, flattened: (B, d), or (K, B, d) with particles."""
    value = site["value"]
    rank = value.dim() - site["fn"].event_dim
    value = value.movedim(rank + where.plate.dim, 0)
    if not particles:
        return value.reshape(len(value), -1).double()
    value = value.movedim(rank - 1 - where.nesting + 1, 0)  # one to the right: the data dimension went in front
    return value.reshape(*value.shape[:2], -1).double()


def entry_names(site: Site, where: Structure) -> list[str]:
    """Names of the flattened entries of a site: ``z``, or ``z[0]``, ``z[1]``, ..."""
    value = site["value"]
    shape = list(value.shape)
    del shape[value.dim() - site["fn"].event_dim + where.plate.dim]
    shape = [size for size in shape if size > 1]
    name = site["name"]
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)] if shape else [name]
