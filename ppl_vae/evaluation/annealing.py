"""Annealed importance sampling: log p(x) along a path of distributions from a start to the posterior.

    f_t(z) = start(z)^(1 - b_t) p(x, z)^b_t,    0 = b_0 < ... < b_T = 1,    log w = sum_t log f_t(z_t-1) / f_t-1(z_t-1)

where z_0 is drawn from the start, the prior p(z) or the guide q(z | x), and z_t from z_t-1 by Hamiltonian Monte Carlo,
which leaves f_t as it is. E[w] = p(x), so log mean w is a lower bound of log p(x) in expectation. The same chain run
backwards from an exact draw of the posterior, which data simulated from the model come with, has E[1/w] = 1/p(x) and so
gives an upper bound: the two enclose log p(x), and their gap says how far either can be off.

Latents move in unconstrained space, z = g(u), where densities carry log |dg/du|. Step sizes are set for every datum
and temperature on a run of their own, so that the kernels of the run that counts depend on nothing it has drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimators.program_layout import program_layout
from ..models import Pair
from ..statistics.weights import LogLikelihood, summarize
from .doors import batches, check_data, check_density, evaluating
from .importance import tile
from .path import Path, Settings, settings


@dataclass(frozen=True, repr=False)
class Annealed(LogLikelihood):
    """Estimated log p(x) of every datum by annealed importance sampling, in nats; K is the number of chains.

    Attributes:
        acceptance: mean acceptance of each datum's proposals, (B,).
    """

    acceptance: Tensor | None = None


@dataclass(frozen=True)
class Bidirectional:
    """Bounds of log p(x) for data simulated from the model, in nats.

    Attributes:
        x: the simulated data, (B, *shape).
        lower: (B,), below log p(x) in expectation.
        upper: (B,), above log p(x) in expectation.
        acceptance: mean acceptance of each datum's proposals in the forward run, (B,).
    """

    x: Tensor
    lower: Tensor
    upper: Tensor
    acceptance: Tensor

    @property
    def gap(self) -> float:
        """Mean of upper - lower, in nats per example: at least, in expectation, the error of either bound."""
        return (self.upper - self.lower).mean().item()

    @property
    def gap_stderr(self) -> float:
        """Standard error of ``gap`` over the simulated data."""
        return (self.upper - self.lower).std().item() / math.sqrt(len(self.lower))

    def __repr__(self) -> str:
        return (
            f"Bidirectional({self.lower.mean():.3f} to {self.upper.mean():.3f} nats per example, gap {self.gap:.3f} +- "
            f"{self.gap_stderr:.3f}, n={len(self.lower)})"
        )


def annealed_log_likelihood(
    model: Pair,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num_chains: int = 16,
    num_temperatures: int = 500,
    leapfrog: int = 10,
    start: str = "prior",
    seed: int = 0,
    memory: int = 2**28,
) -> Annealed:
    """Log-likelihood of every datum by annealed importance sampling: right also where the guide is not.

    Costs about ``1.25 * num_temperatures * (leapfrog + 1)`` gradients of log p(x, z) for every chain and datum.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``, all latents continuous and inside the data plate.
        x: data (B, *shape), on any device.
        y: labels (B, ...), or None.
        num_chains: independent chains for each datum.
        num_temperatures: T; the error falls about as 1/T. 1 is plain importance sampling from the start.
        leapfrog: leapfrog steps of each proposal.
        start: "prior", or "guide" where its latent sites are those of the model with densities of their own.
        seed: of the chains; the caller's generators are left alone.
        memory: bytes that the intermediate tensors of one piece may take; the data are cut to fit.

    Raises:
        ValueError: no data, sizes below 1, another start, or latents that are global, discrete or on the sphere.

    Source: Neal 2001, "Annealed importance sampling"; Wu et al. 2017, "On the quantitative analysis of decoder-based
    generative models".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> annealed_log_likelihood(vae, torch.ones(5, 6), num_chains=2, num_temperatures=5).value.shape
        torch.Size([5])
    """
    check_density(model, "annealed_log_likelihood")
    chosen = settings(num_chains, num_temperatures, leapfrog, start)

    def piece(path: Path) -> tuple[Tensor, ...]:
        steps = path.find_steps()
        log_w, accepted = path.forward(path.draw(num_chains), steps)
        return (*summarize(log_w), accepted)

    value, stderr, ess, khat, accepted = _in_pieces(model, x, y, seed, memory, chosen, piece)
    return Annealed(value, stderr, ess, khat, num_chains, acceptance=accepted)


def bidirectional(
    model: Pair,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num_chains: int = 16,
    num_temperatures: int = 500,
    leapfrog: int = 10,
    start: str = "prior",
    seed: int = 0,
    memory: int = 2**28,
) -> Bidirectional:
    """Bidirectional Monte Carlo: log p(x) of simulated data between two bounds, and so the error of the annealing.

    As many data as x (B, *shape) has are simulated from the model, for the labels y (B, ...); only a model that looks
    at its data sees the values of x. ``num_chains`` run in each direction, and the gap falls about as
    1 / ``num_temperatures``. The other arguments are those of ``annealed_log_likelihood``.

    Raises:
        ValueError: as ``annealed_log_likelihood``, or a model that observes anything but one site of the shape of x.

    Source: Grosse, Ghahramani and Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> bidirectional(vae, torch.ones(5, 6), num_chains=2, num_temperatures=5).upper.shape
        torch.Size([5])
    """
    check_density(model, "bidirectional")
    chosen = settings(num_chains, num_temperatures, leapfrog, start)

    def piece(path: Path) -> tuple[Tensor, ...]:
        u = path.simulate()
        steps = path.find_steps()
        lower, accepted = path.forward(path.draw(num_chains), steps)
        upper = path.backward(u.expand(num_chains, -1, -1), steps)
        return path.batch[0].cpu(), summarize(lower)[0], -summarize(-upper)[0], accepted

    return Bidirectional(*_in_pieces(model, x, y, seed, memory, chosen, piece))


def _in_pieces(
    model: Pair,
    x: Tensor,
    y: Tensor | None,
    seed: int,
    memory: int,
    chosen: Settings,
    piece: Callable[[Path], tuple[Tensor, ...]],
) -> list[Tensor]:
    x, y = check_data(model, x, y, third="num_chains")
    with evaluating(model, seed) as device:
        found = program_layout(model, x, y, device)
        if found.shared:
            raise ValueError(
                f"site {found.shared[0]} is outside the data plate; annealed importance sampling gives log p(x) of "
                "single data, for which every latent site must be inside it"
            )
        if found.whole:
            raise ValueError(
                "the model has no plate for its data, of which annealed importance sampling gives log p(x) one by one; "
                "put them in pyro.plate('data', len(x))"
            )
        # A gradient keeps about three times what a density does.
        _, examples = tile(found, len(x), chosen.chains, memory // 3)
        pieces = (piece(Path(model, batch, chosen, found)) for batch in batches(device, examples, x, y))
        parts = [[t.to("cpu", x.dtype) for t in found] for found in pieces]
    return [torch.cat(column) for column in zip(*parts, strict=True)]
