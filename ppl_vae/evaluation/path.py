"""The annealing path of one batch: densities in unconstrained space, Hamiltonian Monte Carlo, and runs of the chains.

    f_t(u) = start(z)^(1 - b_t) p(x, z)^b_t |dz/du|,    z = g(u)

States are (C, B, D): chains, data, and all of a datum's latents in a row. Every move at t leaves f_t as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to

from .. import supports
from ..checks import check_size
from ..estimators.program_layout import ProgramLayout
from ..estimators.sites import Sites
from ..estimators.tracing import sites

ACCEPTED = 0.65  # share of proposals to accept: the best for HMC (Neal 2011; Beskos et al. 2013)
PILOTS = 4  # chains that find the step sizes
FIRST = 0.3  # their first step size, in units of u


@dataclass(frozen=True)
class Settings:
    """How the chains run: their number, the exponents b_0 ... b_T, leapfrog steps a move, and where they start."""

    chains: int
    betas: Tensor
    leapfrog: int
    start: str


def settings(num_chains: int, num_temperatures: int, leapfrog: int, start: str) -> Settings:
    """Checked settings, with a sigmoid schedule."""
    if start not in ("prior", "guide"):
        raise ValueError(f"start must be 'prior' or 'guide', not {start!r}")
    # Sigmoid schedule, slow at both ends, brought onto [0, 1] (Wu et al. 2017).
    raw = torch.linspace(-4, 4, check_size("num_temperatures", num_temperatures) + 1, dtype=torch.float64).sigmoid()
    betas = (raw - raw[0]) / (raw[-1] - raw[0])
    return Settings(check_size("num_chains", num_chains), betas, check_size("leapfrog", leapfrog), start)


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


class Path:
    """The annealing path of one piece of the data; states are (C, B, D) tensors in unconstrained space."""

    def __init__(self, model: Any, batch: tuple[Tensor, ...], chosen: Settings, found: ProgramLayout) -> None:
        self.model, self.batch, self.nesting = model, batch, found.nesting
        self.betas, self.leapfrog, self.start = chosen.betas.tolist(), chosen.leapfrog, chosen.start
        self.shapes: dict[str, tuple[int, ...]] = {}  # of unconstrained values, chains and data in front
        self.bijections: dict[str, Any] = {}  # fixed ones, where the guide's sites have none of their own

    # Draws

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

    # Densities

    def densities(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log f_0 in unconstrained space, and log p(x, z) - log start(z), (C, B) each."""
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

    def _gradient(self, u: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """log f_t, its gradient, and the difference that the weights add up."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_start, difference = self.densities(u)
            log_f = log_start + beta * difference
            (gradient,) = torch.autograd.grad(log_f.sum(), u)
        return log_f.detach(), gradient.nan_to_num(0.0, 0.0, 0.0), difference.detach()

    # Chains

    def move(self, u: Tensor, beta: float, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of HMC, which leaves f_t as it is: new states, chance of acceptance, and the difference at ``u``.

        Step sizes (B,) are jittered by up to a fifth against periodic orbits.
        """
        size = (step * (0.8 + 0.4 * torch.rand(u.shape[:2], device=u.device)).to(u))[..., None]
        before = torch.randn_like(u)
        log_f, gradient, difference = self._gradient(u, beta)
        log_before = log_f - 0.5 * before.square().sum(-1)
        v, momentum = u, before + 0.5 * size * gradient
        for i in range(self.leapfrog):
            v = v + size * momentum
            log_f, gradient, _ = self._gradient(v, beta)
            momentum = momentum + size * gradient * (1.0 if i < self.leapfrog - 1 else 0.5)
        change = log_f - 0.5 * momentum.square().sum(-1) - log_before
        chance = change.nan_to_num(nan=-math.inf, neginf=-math.inf).clamp(max=0).exp()
        taken = torch.rand_like(chance) < chance
        return torch.where(taken[..., None], v, u), chance, difference

    def find_steps(self) -> list[Tensor]:
        """Step sizes (B,) of every temperature, from a run of their own that aims at ``ACCEPTED``."""
        u = self.draw(PILOTS)
        log_step = u.new_full(u.shape[1:2], math.log(FIRST))
        steps = []
        tries = max(1, -(-60 // len(self.betas)))
        for i, beta in enumerate(self.betas[1:-1]):
            for _ in range(max(tries, 10 if i == 0 else 1)):
                u, chance, _ = self.move(u, beta, log_step.exp())
                log_step = log_step + 0.5 * (chance.mean(0) - ACCEPTED)
            steps.append(log_step.exp())
        return steps

    def forward(self, u: Tensor, steps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """From the start to the posterior: log-weights (C, B), and mean acceptance (B,)."""
        log_w, accepted = u.new_zeros(u.shape[:2], dtype=torch.float64), u.new_zeros(u.shape[1])
        for i, step in enumerate(steps, 1):
            u, chance, difference = self.move(u, self.betas[i], step)
            log_w += (self.betas[i] - self.betas[i - 1]) * difference
            accepted += chance.mean(0) / len(steps)
        return log_w + (1 - self.betas[-2]) * self.densities(u)[1], accepted

    def backward(self, u: Tensor, steps: list[Tensor]) -> Tensor:
        """From the posterior to the start: log-weights (C, B) of the path that ``forward`` would take the other way."""
        log_w = u.new_zeros(u.shape[:2], dtype=torch.float64)
        for i in range(len(steps), 0, -1):
            u, _, difference = self.move(u, self.betas[i], steps[i - 1])
            log_w += (self.betas[i + 1] - self.betas[i]) * difference
        return log_w + self.betas[1] * self.densities(u)[1]
