"""The thermodynamic variational objective: log p(x) as an integral over the path from q to the posterior.

    log p(x) = int_0^1 E_{pi_t}[log p(x, z) - log q(z | x)] dt,    pi_t proportional to q(z | x)^(1 - t) p(x, z)^t

The integrand rises with t, so a left Riemann sum bounds log p(x) from below; one step is the ELBO, more are tighter.
Expectations under pi_t are self-normalised averages over K samples of q with weights w^t; so are gradients, by

    grad E_{pi_t}[f] = E_{pi_t}[grad f] + Cov_{pi_t}(f, grad log pi~_t),     pi~_t the product above,

with Bessel's correction K / (K - 1) for the covariance.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..checks import check_size
from .base import Estimator, Terms, summed_up, with_gradient_of
from .site import Program


class TVO(Estimator):
    """Thermodynamic variational objective, a left Riemann sum with log-spaced steps; any latent sites.

    Value and gradient are consistent as K grows but biased at finite K, as self-normalised averages are; only the step
    from t = 0, which is the ELBO, is unbiased.

    Args:
        num_particles: K, at least 2.
        partitions: steps of the sum; 1 is the ELBO with a score-function gradient.
        first: where the second step begins, in (0, 1); later ones are log-spaced up to 1.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs every site inside one data plate, and beta = 1.

    Raises:
        ValueError: K below 2, no partition, or ``first`` outside (0, 1).

    Source: Masrani, Le and Wood 2019, "The thermodynamic variational objective".

    Example:
        >>> TVO(partitions=3, first=0.01).points
        [0.0, 0.01, 0.1]
    """

    per_datum = True
    unit_beta = "its path ends at the posterior, and another beta changes that end"
    least_particles = 2

    def __init__(
        self, num_particles: int = 10, partitions: int = 5, first: float = 0.025, max_plate_nesting: int | None = None
    ) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if isinstance(first, bool) or not isinstance(first, int | float) or not 0 < first < 1:
            raise ValueError(f"first must be a number in (0, 1), where the second step begins, not {first!r}")
        self.partitions, self.first = check_size("partitions", partitions), first

    @property
    def points(self) -> list[float]:
        """Left ends of the steps, from 0."""
        steps = self.partitions - 1
        return [0.0, *(round(math.exp(math.log(self.first) * (1 - i / steps)), 12) for i in range(steps))]

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the bound."""
        traced = self._trace(model, guide, args, kwargs, through=torch.Tensor.detach)
        weights = traced.weights()
        log_p, f = weights.log_likelihood + weights.log_prior, weights.log_w
        value: Any = 0.0
        climbs: Any = 0.0
        points, bessel = self.points, self.num_particles / (self.num_particles - 1)
        for t, after in zip(points, [*points[1:], 1.0], strict=True):
            w = (t * f.detach()).softmax(0)
            mean = (w * f.detach()).sum(0)
            path = t * log_p + (1 - t) * weights.log_q
            # grad f is weighted by w; its part from q has mean 0 only at t = 0.
            inner = (w * f).sum(0) + bessel * (w * (f.detach() - mean) * path).sum(0)
            value = value + (after - t) * mean
            climbs = climbs + (after - t) * inner
        return summed_up(traced, weights, with_gradient_of(value, climbs))
