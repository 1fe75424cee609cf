"""What one run of a program on its first data tells: its plates, its global latents, and how large it is.

A site is local inside the data plate and global outside it. A guide has codes of its own where its plate does not
follow the batch, as Pyro's ``AutoNormal`` of a model with local latents: one code for each datum it was trained on. A
program without plates takes all data at once, as one datum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from ..distributions.wrappers import is_delta
from ..models import Pair
from ..trials import trial
from .checking import loose_helper, subsampled_inside
from .particles import try_particles
from .site import Site, frames_of
from .sites import Plate, Sites
from .tracing import sites

FEW = 2  # data of the run


@dataclass(frozen=True)
class ProgramLayout:
    """Layout of a model and its guide.

    Attributes:
        nesting: plates inside one another, outside of which a plate of particles finds room.
        shared: names of the latent sites outside the data plate.
        own: for how many data the guide has codes of its own; None where it takes any batch.
        whole: whether the program has no plate for its data, which are then one datum.
        vectorised: whether the programs take particles in front of the batch.
        most: data that one run takes: N where the data plate is sub-sampled from N.
        entries: numbers observed in one datum.
        bytes: of module outputs behind one log-weight, with room for copies.
        doubt: why log-weights of single data do not exist, or None.
    """

    nesting: int
    shared: tuple[str, ...]
    own: int | None
    whole: bool
    vectorised: bool
    most: int | None
    entries: int
    bytes: int
    doubt: str | None

    def check_weights(self) -> None:
        """ValueError if the guide's draws inside the data plate have no density of their own."""
        if self.doubt is not None:
            raise ValueError(self.doubt)

    def piece(self, wanted: int, count: int) -> int:
        """How many examples to run at a time, of ``count``; ValueError if the guide has codes for another number."""
        if self.own is not None and self.own != count:
            raise ValueError(
                f"the guide has codes of its own for {self.own} data and was given {count}; evaluate it on the data it "
                "was trained on, or use a guide that computes q(z | x) from x"
            )
        if self.own is not None or self.whole:
            return count
        return max(1, min(wanted, count, self.most or count))


def prepare(model: Any, *batch: Tensor) -> None:
    """Let a program that has not been run find its parameters on the batch."""
    if isinstance(model, Pair) and not model.prepared:
        model.prepare(*batch)


def check_whole(plate: Plate, taken: int, given: int) -> None:
    """ValueError unless the data plate holds all data that the program was given."""
    if plate.name is not None and plate.size != taken:
        raise ValueError(
            f"the plate {plate.name} holds {plate.size} of the {given} examples given; the program must take every "
            "example it is given, as in pyro.plate('data', N, subsample_size=len(x))"
        )


def program_layout(model: Any, x: Tensor, y: Tensor | None, device: torch.device) -> ProgramLayout:
    """Run guide and model once on the first data, or on all where they do not take fewer.

    A program that waits for its first batch is shown all data first.

    Raises:
        ValueError: programs that run on neither, or take only a part of what they are given.
    """
    every = tuple(t.to(device) for t in (x, y) if t is not None)
    prepare(model, *every)
    args = tuple(t[:FEW] for t in every)
    with trial(*every):
        try:
            sizes, (guide, traced) = _measured(model, lambda: _first(model, args))
            alone = traced.plate.name is not None
        except (RuntimeError, IndexError, ValueError):
            alone = False
        if not alone:
            args, (sizes, (guide, traced)) = every, _measured(model, lambda: _all(model, every))
    plate = traced.plate
    given = len(args[0])
    check_whole(plate, given, len(x))
    held = {frames_of(site)[plate.name].size for site in guide.values() if plate.name in frames_of(site)}
    own = next(iter(held - {given, -1}), None if alone or plate.name is None else given)
    frames = [frame for site in (*guide.values(), *traced.model.values()) for frame in frames_of(site).values()]
    latent = {site["name"]: site for site in (*traced.latent, *_drawn(guide).values())}
    observed = sum(site["value"].numel() for site in traced.observed if traced.is_local(site))
    nesting = max((-frame.dim for frame in frames), default=0)
    complete = all(site["name"] in guide for site in traced.latent)
    if complete and (own is None or not alone):
        with trial(*every):
            sites(model.model, model.guide, args, 1)  # which says how model and guide differ
    return ProgramLayout(
        nesting=nesting,
        shared=tuple(name for name, site in latent.items() if not traced.is_local(site)),
        own=own,
        whole=plate.name is None,
        vectorised=complete and (own is not None or _takes_particles(model, args, nesting, traced)),
        most=plate.full_size if plate.full_size != plate.size else None,
        entries=observed // plate.size,
        bytes=4 * max([*sizes, args[0][:1].numel() * 8]) + sum(sorted(sizes)[-2:]),
        doubt=_doubt(traced, guide),
    )


def _takes_particles(model: Any, args: tuple[Tensor, ...], nesting: int, traced: Sites) -> bool:
    """Whether the programs run with particles in front of the batch, and read them as such."""
    try:
        with trial(*args):
            try_particles(model.model, model.guide, args, 3, nesting, traced.size)
    except ValueError:
        return False
    return True


def _first(model: Any, args: tuple[Tensor, ...]) -> tuple[dict[str, Site], Sites]:
    """Sites of the guide, and of the model with the guide's global latents and local ones of its prior."""
    trace: Any = poutine.trace(model.guide, graph_type="flat").get_trace(*args)
    guide = {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"
    }
    for name, site in list(trace.nodes.items()):
        if site["type"] == "sample" and (site["cond_indep_stack"] or type(site["fn"]).__name__ == "_Subsample"):
            trace.remove_node(name)
    return guide, sites(poutine.replay(model.model, trace=trace), lambda *_: None, args, 1, marginal=True)


def _all(model: Any, args: tuple[Tensor, ...]) -> tuple[dict[str, Site], Sites]:
    """``_first`` on all data; ValueError in one sentence where the programs fail."""
    try:
        return _first(model, args)
    except (RuntimeError, IndexError, ValueError) as error:
        if isinstance(error, ValueError) and "\n" not in str(error):
            raise
        said = str(error).strip().split("\n")[0]
        raise ValueError(
            f"model and guide run neither on {FEW} data nor on all {len(args[0])} ({type(error).__name__}: {said}); "
            "give the data that the guide was trained on, or a program that takes any number, as in "
            "pyro.plate('data', N, subsample_size=len(x))"
        ) from error


def _drawn(guide: dict[str, Site]) -> dict[str, Site]:
    return {name: site for name, site in guide.items() if not site["is_observed"]}


def doubtful_factor(traced: Sites, guide: dict[str, Site]) -> str | None:
    """Why a ``pyro.factor`` of the guide inside the data plate leaves q(z | x) open, or None where there is none."""
    for name, site in guide.items():
        unit = site["is_observed"] and type(site["fn"]).__name__ == "Unit" and name not in traced.model
        if unit and traced.is_local(site):
            return (
                f"pyro.factor({name!r}) in the guide may be a part of q(z | x) or a term of the loss; if it is a term "
                f"of the loss, leave it out with poutine.block(guide, hide=[{name!r}])"
            )
    return None


def _doubt(traced: Sites, guide: dict[str, Site]) -> str | None:
    """Why the guide's draws inside the data plate have no density of their own, if so."""
    inside = subsampled_inside(traced)
    if inside is not None:
        return (
            f"site {inside[0]} is in the sub-sampled plate {inside[1]} inside the datum, so log p(x) of a whole datum "
            "is not seen; give the whole plate"
        )
    local = [site for site in _drawn(guide).values() if traced.is_local(site)]
    if (factor := doubtful_factor(traced, guide)) is not None:
        return factor
    loose = loose_helper(replace(traced, guide=_drawn(guide)))
    if loose is not None and traced.is_local(guide[loose]):
        return (
            f"site {loose} of the guide is auxiliary and not a change of variables of a latent site, so single data "
            "have no log-weights; use a guide of the model's own sites"
        )
    helpers = [site["name"] for site in _drawn(guide).values() if site["infer"].get("is_auxiliary", False)]
    if any(site["name"] in helpers for site in local):
        return None
    for site in local:
        prior = traced.model.get(site["name"], site)
        if is_delta(site["fn"]) and not is_delta(prior["fn"]):
            where = f"the guide fixes site {site['name']}"
            if helpers:
                where = f"the guide draws site {site['name']} from {helpers[0]}, outside the plate {traced.plate.name}"
            return (
                f"{where}, so single data have no density of it and no log-weights; use "
                "pyro.infer.autoguide.AutoNormal, or a guide of your own that samples it inside the plate"
            )
    return None


def _measured(model: nn.Module, run: Callable[[], Any]) -> tuple[list[int], Any]:
    """Bytes of the output of every innermost module while ``run`` runs, and what it gives."""
    sizes: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim():
            # Of one row: a VampPrior runs the encoder over all its pseudo-inputs, but once for all data.
            sizes.append(output[:1].numel() * output.element_size())

    hooks = [m.register_forward_hook(count) for m in model.modules() if not list(m.children())]
    try:
        return sizes, run()
    finally:
        for hook in hooks:
            hook.remove()
