"""What one run of a program on its first datum tells: its plates, its global latents, and how large it is.

A site is local inside the data plate and global outside it. A guide has codes of its own where its plate does not
follow the batch, as Pyro's ``AutoNormal`` of a model with local latents: one code for each datum it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor, nn

from ..estimators.sites import Site, Sites
from ..estimators.tracing import sites


@dataclass(frozen=True)
class Layout:
    """Layout of a model and its guide.

    Attributes:
        nesting: plates inside one another, outside of which a plate of particles finds room.
        shared: names of the latent sites outside the data plate.
        own: for how many data the guide has codes of its own; None where it takes any batch.
        most: data that one run takes: N where the data plate is sub-sampled from N.
        entries: numbers observed in one datum.
        bytes: of module outputs behind one log-weight, with room for copies.
        doubt: why log-weights of single data do not exist, or None.
    """

    nesting: int
    shared: tuple[str, ...]
    own: int | None
    most: int | None
    entries: int
    bytes: int
    doubt: str | None

    def check_weights(self) -> None:
        """ValueError if the guide's draws inside the data plate have no density of their own."""
        if self.doubt is not None:
            raise ValueError(self.doubt)

    def piece(self, wanted: int, count: int) -> int:
        """How many examples to run at a time, of ``count``.

        Raises:
            ValueError: the guide has codes of its own for another number of data.
        """
        if self.own is not None and self.own != count:
            raise ValueError(
                f"the guide has codes of its own for {self.own} data and was given {count}; evaluate it on the data it "
                "was trained on, or use a guide that computes q(z | x) from x"
            )
        return count if self.own is not None else max(1, min(wanted, count, self.most or count))


def layout(model: Any, x: Tensor, y: Tensor | None, device: torch.device) -> Layout:
    """Run guide and model once on the first datum; a program that waits for its first batch is shown all data first."""
    if not getattr(model, "prepared", True):
        model.prepare(*(t.to(device) for t in (x, y) if t is not None))
    args = tuple(t[:1].to(device) for t in (x, y) if t is not None)
    with torch.random.fork_rng(devices=[]):
        sizes, (guide, traced) = _measured(model, lambda: _first(model, args))
    frames = [frame for site in (*guide.values(), *traced.model.values()) for frame in site["cond_indep_stack"]]
    own = {frame.size for frame in frames if frame.name == traced.plate.name and frame.size != 1}
    latent = {site["name"]: site for site in (*traced.latent, *guide.values())}
    return Layout(
        nesting=max(-frame.dim for frame in frames if frame.vectorized),
        shared=tuple(name for name, site in latent.items() if not traced.is_local(site)),
        own=next(iter(own), None),
        most=traced.plate.full_size if (traced.plate.full_size or 1) != traced.plate.size else None,
        entries=sum(site["value"].numel() for site in traced.observed if traced.is_local(site)),
        bytes=4 * max([*sizes, args[0].numel() * 8]) + sum(sorted(sizes)[-2:]),
        doubt=_doubt(traced, guide),
    )


def _first(model: Any, args: tuple[Tensor, ...]) -> tuple[dict[str, Site], Sites]:
    """Sites of the guide, and of the model with the guide's global latents and local ones of its prior."""
    trace: Any = poutine.trace(model.guide, graph_type="flat").get_trace(*args)
    guide = {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample" and not site["is_observed"]
    }
    for name, site in list(trace.nodes.items()):
        if site["type"] == "sample" and (site["cond_indep_stack"] or type(site["fn"]).__name__ == "_Subsample"):
            trace.remove_node(name)
    return guide, sites(poutine.replay(model.model, trace=trace), lambda *_: None, args, 1, marginal=True)


def _doubt(traced: Sites, guide: dict[str, Site]) -> str | None:
    """Why the guide's draws inside the data plate have no density of their own, if so."""
    local = [site for site in guide.values() if traced.is_local(site)]
    helpers = [site["name"] for site in guide.values() if site["infer"].get("is_auxiliary", False)]
    if any(site["name"] in helpers for site in local):
        return None
    for site in local:
        fixed = isinstance(getattr(site["fn"], "base_dist", site["fn"]), Delta)
        prior = traced.model.get(site["name"], site)
        if fixed and not isinstance(getattr(prior["fn"], "base_dist", prior["fn"]), Delta):
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
