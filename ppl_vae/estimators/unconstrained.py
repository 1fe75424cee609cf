"""All latents of a datum as one unconstrained vector: their draws, and their densities under model and start.

    f(u) = start(z) |dz/du|,    z = g(u)

where the start is the prior or the guide. States are (C, B, D): chains, data, and all of a datum's latents in a row.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to

from .. import supports
from .sites import Sites
from .tracing import sites


class _Unconstrained(poutine.messenger.Messenger):
    """Gives every latent site the image of its unconstrained value, and keeps log |dz/du| of each."""

    def __init__(self, values: dict[str, Tensor], bijections: dict[str, Any]) -> None:
        super().__init__()
        self.values, self.bijections = values, bijections
        self.log_jacobians: list[Tensor] = []

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            bijection, u = self.bijections.get(msg["name"]) or _bijection(msg), self.values[msg["name"]]
            msg["value"], msg["done"] = bijection(u), True
            self.log_jacobians.append(bijection.log_abs_det_jacobian(u, msg["value"]))


def _bijection(site: Any) -> Any:
    """The bijection from the reals onto a site's support, entry by entry where it is one of single entries."""
    support = getattr(site["fn"], "support", None)
    for inner in ("_component_support", "base_constraint"):  # of a mixture; of several entries
        while hasattr(support, inner):
            support = getattr(support, inner)
    try:
        if not getattr(support, "is_discrete", True):
            return biject_to(support)
    except NotImplementedError:
        pass
    raise ValueError(
        f"site {site['name']} lives on {supports.name(support)}, where chains cannot follow gradients; annealed "
        "importance sampling needs latents on the reals, the positive numbers, an interval or the simplex"
    )


def _nothing(*batch: Any) -> None:
    """The guide of chains that start from the prior."""


class UnconstrainedLatents:
    """The latents of a batch in unconstrained space; every one inside the data plate.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``.
        batch: (x,) or (x, y).
        nesting: plates of model and guide.
        start: "prior" or "guide", of which states are drawn.
    """

    def __init__(self, model: Any, batch: tuple[Tensor, ...], nesting: int, start: str) -> None:
        self.model, self.batch, self.nesting, self.start = model, batch, nesting, start
        self.shapes: dict[str, tuple[int, ...]] = {}  # of unconstrained values, chains and data in front
        self.bijections: dict[str, Any] = {}  # fixed ones, where the guide's sites have none of their own

    def draw(self, chains: int) -> Tensor:
        """Independent states of the start, (C, B, D)."""
        guide = self.model.guide if self.start == "guide" else _nothing
        traced = self._sites(self.model.model, guide, chains)
        if self.start == "guide":
            other = traced.drawn.keys() ^ {site["name"] for site in traced.latent}
            if other:
                raise ValueError(
                    f"start='guide' needs a guide of the model's own sites, without {', '.join(sorted(other))}"
                )
            self.bijections = {site["name"]: _bijection(site) for site in traced.latent}
        return self._pack(traced)

    def simulate(self) -> Tensor:
        """Put simulated data in the place of the batch; gives the latents they came from, an exact posterior draw."""
        given = self._sites(self.model.model, _nothing, 1).observed
        if len(given) != 1 or given[0]["value"].numel() != self.batch[0].numel():
            raise ValueError(
                f"the model observes {', '.join(site['name'] for site in given)}; data can be simulated in the place "
                "of x where it observes one site, shaped as x"
            )
        trace: Any = poutine.trace(poutine.uncondition(self.model.model)).get_trace(*self.batch)
        x = trace.nodes[given[0]["name"]]["value"].reshape(self.batch[0].shape).to(self.batch[0])
        self.batch = (x, *self.batch[1:])
        trace.remove_node(given[0]["name"])
        return self._pack(self._sites(poutine.replay(self.model.model, trace=trace), _nothing, 1))

    def _sites(self, model: Any, guide: Any, chains: int) -> Sites:
        return sites(model, guide, self.batch, chains, self.nesting, marginal=True)

    def _pack(self, traced: Sites) -> Tensor:
        """The latent values of a trace as one state."""
        self.data_axis = self.nesting + 1 + traced.plate.dim
        parts = []
        for site in traced.latent:
            bijection = _bijection(site)
            u = bijection.inv(site["value"]).nan_to_num(posinf=80.0, neginf=-80.0)  # rounded onto a boundary
            lead = self.nesting + 1 - (site["value"].dim() - site["fn"].event_dim)
            u = u.reshape((1,) * lead + u.shape).movedim(self.data_axis, 1)
            self.shapes[site["name"]] = tuple(u.shape[2:])
            parts.append(u.reshape(*u.shape[:2], -1))
        return torch.cat(parts, -1)

    def _unpack(self, u: Tensor) -> dict[str, Tensor]:
        parts = u.split([math.prod(shape) for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(*u.shape[:2], *shape).movedim(1, self.data_axis)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    def densities(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log f, and log p(x, z) - log start(z), (C, B) each."""
        handler = _Unconstrained(self._unpack(u), self.bijections)
        if self.start == "guide":
            traced = self._sites(self.model.model, handler(self.model.guide), len(u))
            start = [traced.log_prob(site) for site in traced.drawn.values()]
        else:
            traced = self._sites(handler(self.model.model), _nothing, len(u))
            start = [traced.log_prob(site) for site in traced.latent]
        log_start: Any = sum(start)
        difference: Any = sum(traced.log_prob(site) for site in traced.observed if traced.is_local(site))
        if self.start == "guide":
            difference = difference + sum(traced.log_prob(site) for site in traced.latent) - log_start
        moved = sum(j.movedim(self.data_axis, 1).reshape(*u.shape[:2], -1).sum(-1) for j in handler.log_jacobians)
        return log_start + moved, difference.expand(u.shape[:2])
