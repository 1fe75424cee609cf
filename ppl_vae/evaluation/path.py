"""The annealing path of one batch: Hamiltonian Monte Carlo in unconstrained space, and runs of the chains.

    f_t(u) = start(z)^(1 - b_t) p(x, z)^b_t |dz/du|,    z = g(u)

States are (C, B, D): chains, data, and all of a datum's latents in a row. Every move at t leaves f_t as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks import check_size
from ..estimators.program_layout import ProgramLayout
from ..estimators.unconstrained import UnconstrainedLatents

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


class Path(UnconstrainedLatents):
    """The annealing path of one piece of the data; states are (C, B, D) tensors in unconstrained space."""

    def __init__(self, model: Any, batch: tuple[Tensor, ...], chosen: Settings, found: ProgramLayout) -> None:
        super().__init__(model, batch, found.nesting, chosen.start)
        self.betas, self.leapfrog = chosen.betas.tolist(), chosen.leapfrog

    def _gradient(self, u: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """log f_t, its gradient, and the difference that the weights add up."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_start, difference = self.densities(u)
            log_f = log_start + beta * difference
            (gradient,) = torch.autograd.grad(log_f.sum(), u)
        return log_f.detach(), gradient.nan_to_num(0.0, 0.0, 0.0), difference.detach()

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
