"""Estimators for latent sites that cannot be reparameterised: the score function with a baseline against its variance.

    grad E_q[f(z)] = E_q[grad f(z) + (f(z) - b) grad log q(z)]

holds for every b that does not depend on z. Sites that can be reparameterised keep their pathwise gradient, so a guide
may mix both kinds.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from ..handlers import register
from ..randomness import apart, isolated
from .base import Estimator, Terms, summed_up, with_gradient_of
from .importance import log_mean_exp
from .site import Program

HIDDEN = 100  # units of the baseline network
_numbers = itertools.count()


class VIMCO(Estimator):
    """IWAE bound for discrete latents: the baseline of each sample is the bound of the K - 1 others.

    For sample k, its own weight is replaced by the geometric mean of the others'. Unbiased for the IWAE bound.

    Args:
        num_particles: K, at least 2, since the baseline uses the other samples.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs every site inside one data plate; takes any latent site. Any beta.

    Source: Mnih and Rezende 2016, "Variational inference for Monte Carlo objectives".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Bernoulli(4),
        ...     posteriors.Bernoulli(networks.MLP(6, [8]), 4),
        ...     likelihoods.Bernoulli(networks.MLP(4, [8]), 6),
        ... )
        >>> VIMCO(num_particles=5).terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    per_datum = True
    least_particles = 2

    def __init__(self, num_particles: int = 5, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the IWAE bound."""
        traced = self._trace(model, guide, args, kwargs)
        weights, score = traced.weights(), traced.score()
        surrogate = bound = log_mean_exp(weights.log_w)
        if score is not None:
            signal = bound.detach() - _without_each(weights.log_w.detach())
            surrogate = with_gradient_of(bound, bound + (signal * score).sum(0))
        return summed_up(traced, weights, surrogate)


def _without_each(log_w: Tensor) -> Tensor:
    """For each k the IWAE bound with w_k replaced by the geometric mean of the others: (K, B) from (K, B)."""
    k = len(log_w)
    replaced = (log_w.sum(0) - log_w) / (k - 1)
    own = torch.eye(k, dtype=torch.bool, device=log_w.device)[..., None]
    return torch.where(own, replaced[:, None], log_w).logsumexp(1) - math.log(k)


class NVIL(Estimator, nn.Module):
    """ELBO for discrete latents: score function with a learned baseline b(x) that predicts each datum's log-weight.

    Unbiased for every baseline. The baseline is fitted to log w by least squares with the optimizer that trains the
    model; its loss changes gradients, not values. The paper's division by a running variance is left out.

    Args:
        num_particles: K, samples of z for every datum, which are averaged.
        baseline: module from a batch x (B, *shape), as floats with 0 for NaN, to (B,) or (B, 1); by default two
            layers of 100, created by ``prepare``, which ``fit`` calls, or at the first batch.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs every site inside one data plate, and programs whose first argument is that plate's batch; takes any latent
    site. Any beta.

    Raises:
        TypeError: a baseline that is not a module.
        ValueError: when run, no x as first argument, or a baseline that does not return one number for every datum.

    Source: Mnih and Gregor 2014, "Neural variational inference and learning in belief networks".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Bernoulli(4),
        ...     posteriors.Bernoulli(networks.MLP(6, [8]), 4),
        ...     likelihoods.Bernoulli(networks.MLP(4, [8]), 6),
        ... )
        >>> NVIL().terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    per_datum = True
    own_scales = True

    def __init__(
        self, num_particles: int = 1, baseline: nn.Module | None = None, max_plate_nesting: int | None = None
    ) -> None:
        nn.Module.__init__(self)
        super().__init__(num_particles, max_plate_nesting)
        if baseline is not None and not isinstance(baseline, nn.Module):
            raise TypeError(f"baseline must be a torch.nn.Module from x (B, *shape) to (B,), not {baseline!r}")
        self.baseline = baseline

    def prepare(self, *batch: Any) -> None:
        """Make the default baseline for batches (x, ...) like this one; the caller's random numbers stay as they were.

        Its weights follow from the seed that torch's generator was last given.
        """
        x = _first(batch)
        if self.baseline is None:
            with isolated(apart(torch.initial_seed()), torch.device("cpu")):
                self.baseline = _Baseline(x[0].numel()).to(x.device, x.dtype)

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the ELBO."""
        self.prepare(*args)
        traced = self._trace(model, guide, args, kwargs)
        weights, score = traced.weights(), traced.score()
        surrogate = weights.log_w
        if score is not None:
            predicted = self._predict(_first(args), traced.size) * traced.unmasked()
            signal = weights.log_w.detach() - predicted
            surrogate = surrogate + signal.detach() * score - signal.square()
        # Its value is subtracted before the mean is added, so that a large squared error causes no rounding error.
        climbs = (surrogate - surrogate.detach()).mean(0)
        return summed_up(traced, weights, with_gradient_of(weights.log_w.mean(0), climbs))

    def _predict(self, x: Tensor, size: int) -> Tensor:
        """b(x), (B,)."""
        assert self.baseline is not None
        if am_i_wrapped():  # by pyro.infer.SVI, which trains only registered parameters
            register(f"{self._name}.baseline", self.baseline)
        predicted = self.baseline(x.nan_to_num())
        if predicted.shape not in ((size,), (size, 1)):
            raise ValueError(
                f"NVIL's baseline returns shape {tuple(predicted.shape)} for x {tuple(x.shape)}; it must return one "
                f"number for every datum of the data plate, ({size},) or ({size}, 1)"
            )
        return predicted.reshape(size)

    @property
    def _name(self) -> str:
        # Not part of the copied state: a deep copy or an unpickled estimator gets its own name.
        if "_registered_as" not in vars(self):
            vars(self)["_registered_as"] = f"nvil{next(_numbers)}"
        return vars(self)["_registered_as"]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_registered_as"}


def _first(batch: tuple[Any, ...]) -> Tensor:
    """The first x of a batch (x, ...), as floats."""
    if not (batch and isinstance(batch[0], Tensor) and batch[0].dim()):
        raise ValueError(
            "NVIL's baseline needs a batch x (B, *shape) as the first positional argument of model and guide; pass x "
            "like that, or use VIMCO, which has no baseline network"
        )
    x = batch[0]
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


class _Baseline(nn.Sequential):
    """Two layers of tanh units over the flattened datum."""

    def __init__(self, size: int) -> None:
        super().__init__(nn.Linear(size, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(len(x), -1))
