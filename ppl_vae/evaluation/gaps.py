"""The inference gap of every datum, split into approximation gap (family) and amortization gap (encoder).

    log p(x) - ELBO(q) = [log p(x) - ELBO(q*)] + [ELBO(q*) - ELBO(q)]
                          approximation           amortization

where q* is the best member of the posterior's family for that datum alone: free copies of the numbers that the encoder
gives for it, fitted to the datum with the decoder fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import randomness
from ..checks import check_size
from ..estimators import MeanFieldELBO, log_weights
from ..estimators.program_layout import program_layout
from ..models import VAE
from ..posteriors.free import FreePosterior, exchanged, refined_layer
from ..statistics.weights import known_error, summarize, trusted_khat
from .doors import batches, check_data, evaluating

FIGURES = ("log_likelihood", "elbo", "refined_elbo", "approximation", "amortization")


@dataclass(frozen=True)
class Gaps:
    """The inference gap of every datum and its parts, (B,) each, in nats.

    Attributes:
        log_likelihood: log p(x), importance-sampled from the refined q: a lower bound in expectation.
        elbo: of the encoder's q.
        refined_elbo: of the refined q; the encoder's where the refined one is no better.
        approximation: log_likelihood - refined_elbo, the family's share.
        amortization: refined_elbo - elbo, the encoder's share.
        stderr: Monte Carlo standard error of each of these, by name.
        khat: Pareto shape of the refined q's largest weights; above ``trusted_khat(num_particles)`` the log-likelihood,
            and with it the approximation gap, is not to be trusted, and above 0.5 the errors of both are not known.
        num_particles: samples behind every figure.
    """

    log_likelihood: Tensor
    elbo: Tensor
    refined_elbo: Tensor
    approximation: Tensor
    amortization: Tensor
    stderr: Mapping[str, Tensor]
    khat: Tensor
    num_particles: int

    def means(self) -> dict[str, tuple[float, float]]:
        """Mean over the data and its Monte Carlo standard error, of every figure, in nats per example."""
        n = len(self.elbo)
        return {
            name: (vars(self)[name].mean().item(), self.stderr[name].square().sum().sqrt().item() / n)
            for name in FIGURES
        }

    def __repr__(self) -> str:
        known, trusted = known_error(self.khat, self.num_particles).all(), trusted_khat(self.num_particles)
        unknown = () if known else ("log_likelihood", "approximation")
        said = ", ".join(
            f"{name} {mean:.3f}" + ("" if name in unknown else f" +- {error:.3f}")
            for name, (mean, error) in self.means().items()
        )
        bad = (self.khat > trusted).float().mean().item()
        why = "" if known else "; errors of the log-likelihood and the approximation gap not known"
        return f"Gaps({said} nats per example, n={len(self.elbo)}, k-hat above {trusted:.2g} for {bad:.0%}{why})"


def gaps(
    model: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    steps: int = 300,
    lr: float = 0.05,
    num_particles: int = 1000,
    step_particles: int = 10,
    seed: int = 0,
    memory: int = 2**28,
) -> Gaps:
    """Split the inference gap of every datum into approximation and amortization.

    What the posterior's ``head`` gives (unconstrained parameters, a flow's context) is copied for every datum and
    optimised by Adam, whose learning rate falls to 0 on a cosine. Of both q's the one that is better on fresh samples
    is kept, and other samples say how good it is, the same for both. In linear models the default ends 0.005 nats
    below the best q or nearer; if more ``steps`` still help, the approximation gap includes part of the
    amortization gap. What comes behind the head, such as the networks of ``posteriors.Flow`` and the upper layers of
    ``posteriors.Hierarchical``, stays as it is.

    Args:
        model: a VAE.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        steps: of Adam.
        lr: learning rate at the start.
        num_particles: samples of z behind every reported figure.
        step_particles: samples of z in a step.
        seed: of the samples; the caller's generators are left alone.
        memory: bytes that the intermediate tensors of one piece may take.

    Raises:
        TypeError: a model that is no VAE, a posterior without head and network, or a number in the place of y.
        ValueError: no data, sizes below 1, data outside the likelihood's support, or labels that do not fit.

    Source: Cremer, Li and Duvenaud 2018, "Inference suboptimality in variational autoencoders".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> found = gaps(vae, torch.ones(5, 6), steps=10, num_particles=50)
        >>> torch.allclose(found.approximation + found.amortization, found.log_likelihood - found.elbo, atol=1e-5)
        True
    """
    check_size("steps", steps)
    check_size("num_particles", num_particles, least=2)
    check_size("step_particles", step_particles)
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive number, not {lr!r}")
    if not isinstance(model, VAE):
        raise TypeError(f"model must be a VAE, whose posterior is refined, not {type(model).__name__}")
    refined_layer(model.posterior)
    x, y = check_data(model, x, y)
    with evaluating(model, seed) as device:
        unit = 4 * program_layout(model, x, y, device).bytes  # a step keeps what the backward pass needs
        size = max(1, min(memory // (unit * step_particles), memory // (24 * num_particles)))
        pieces = []
        for batch in batches(device, size, x, y):
            particles = max(1, min(num_particles, memory // (unit * len(batch[0]))))
            pieces.append(_piece(model, batch, steps, lr, step_particles, num_particles, particles))
    columns = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    stderr = {name: columns.pop(f"{name}_stderr") for name in FIGURES}
    return Gaps(**columns, stderr=stderr, num_particles=num_particles)


def _piece(
    model: VAE, batch: tuple[Tensor, ...], steps: int, lr: float, step_particles: int, total: int, particles: int
) -> dict[str, Tensor]:
    """All figures of a piece of the data."""
    free = FreePosterior(model.posterior, batch)
    found = _refined(model, free, batch, steps, lr, step_particles)

    def weights(values: list[Tensor], seed: int) -> Tensor:
        with randomness.isolated(seed, batch[0].device):
            twin = exchanged(model, posterior=free.with_parameters(values))
            counts = [min(particles, total - done) for done in range(0, total, particles)]
            return torch.cat([log_weights(twin.model, twin.guide, *batch, num_particles=k).cpu() for k in counts])

    choice, report = (int(seed) for seed in torch.randint(2**62, (2,)))
    better = (weights(found, choice).mean(0) > weights(free.start, choice).mean(0)).to(batch[0].device)
    kept = [
        torch.where(better.reshape(-1, *[1] * (new.dim() - 1)), new, old)
        for new, old in zip(found, free.start, strict=True)
    ]
    return _figures(weights(kept, report), weights(free.start, report))


def _refined(
    model: VAE, free: FreePosterior, batch: tuple[Tensor, ...], steps: int, lr: float, particles: int
) -> list[Tensor]:
    """Parameters for every datum after so many steps of Adam on its own ELBO."""
    values = [t.clone().requires_grad_() for t in free.start]
    estimator = MeanFieldELBO(num_particles=particles)
    # A small second-moment decay, since the squares of the first steps would slow the last ones.
    optimizer = torch.optim.Adam(values, lr, betas=(0.9, 0.95))
    twin = exchanged(model, posterior=free.with_parameters(values))  # type: ignore[arg-type]
    with torch.enable_grad():
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            # Summed over data, of which each has its own gradient, and Adam its own step.
            loss = -estimator.terms(twin.model, twin.guide, *batch).surrogate.sum()
            for value, gradient in zip(values, torch.autograd.grad(loss, values), strict=True):
                value.grad = gradient
            optimizer.step()
    return [value.detach() for value in values]


def _figures(refined: Tensor, amortized: Tensor) -> dict[str, Tensor]:
    """Figures and their standard errors from log-weights (K, B) of both q's, drawn with the same noise."""
    likelihood, likelihood_stderr, _, khat = summarize(refined)
    refined, amortized = refined.double(), amortized.double()
    # Of log mean w - mean log w, by the delta method: both have the same samples.
    leverage = (refined - likelihood.double()).exp() - refined
    draws = {"elbo": amortized, "refined_elbo": refined, "amortization": refined - amortized}
    out = {name: values.mean(0) for name, values in draws.items()}
    draws["approximation"] = leverage
    errors = {name: values.std(0) / len(values) ** 0.5 for name, values in draws.items()}
    out["log_likelihood"], errors["log_likelihood"] = likelihood.double(), likelihood_stderr
    out["approximation"] = out["log_likelihood"] - out["refined_elbo"]
    named = {f"{name}_stderr": error for name, error in errors.items()}
    return {name: value.to(khat) for name, value in {**out, **named, "khat": khat}.items()}
