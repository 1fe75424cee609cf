"""Bounds on log p(x) from K importance-weighted samples of each datum.

    IWAE_K = E log (1/K) sum_k w_k,    log w_k = log p(x, z_k) - log q(z_k | x),   z_k ~ q(z | x)

which grows with K from the ELBO to log p(x); the better the guide, the smaller K may be. The signal-to-noise ratio of
the guide's gradient falls as K grows (Rainforth et al. 2018); ``DReG`` and ``gradient="stl"`` mend that. The other
bounds are averages, mixtures and powers of this one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from ..checks import check_size, nearest
from .base import Estimator, Terms, summed_up
from .site import Program


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k exp(log_w_k): (B,) from (K, B)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


class Importance(Estimator):
    """Base of the bounds that are functions of the log-weights alone: a subclass has ``bound``.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Attributes:
        pathwise: drop the score of q from the gradient, as STL does.

    Example:
        >>> class Median(Importance):
        ...     def bound(self, log_w):
        ...         return log_w.median(0).values
        >>> Median(num_particles=3).bound(torch.tensor([[0.0], [-9.0], [-1.0]]))
        tensor([-1.])
    """

    pathwise_only = True
    per_datum = True
    pathwise = False

    @abstractmethod
    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of every datum (B,) from log-weights (K, B)."""

    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch; the surrogate's value is the bound."""
        traced = self._trace(model, guide, args, kwargs, num_particles=self._samples())
        weights = traced.weights(self.pathwise)
        return summed_up(traced, weights, self.bound(weights.log_w))

    def _samples(self) -> int:
        return self.num_particles


class IWAE(Importance):
    """Importance-weighted bound log (1/K) sum_k w_k.

    The gradient "reparam" is unbiased. "stl" drops the score of q, as STL does: less noisy near the true posterior, but
    biased for K > 1; DReG is the unbiased form.

    Args:
        num_particles: K; at 1 the bound is the ELBO.
        gradient: "reparam" or "stl".
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate. Any beta: log w = log p(x | z) + beta (log p(z) - log q(z | x)).

    Raises:
        ValueError: K below 1, or an unknown gradient.

    Source: Burda, Grosse and Salakhutdinov 2016, "Importance weighted autoencoders"; stl: Roeder et al. 2017.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> IWAE(num_particles=5).terms(vae.model, vae.guide, torch.ones(3, 6)).surrogate.shape
        torch.Size([3])
    """

    def __init__(
        self,
        num_particles: int = 5,
        gradient: Literal["reparam", "stl"] = "reparam",
        max_plate_nesting: int | None = None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if gradient not in ("reparam", "stl"):
            raise ValueError(f"gradient {gradient!r} is unknown; {nearest(str(gradient), ('reparam', 'stl'))}")
        self.gradient = gradient
        self.pathwise = gradient == "stl"

    def bound(self, log_w: Tensor) -> Tensor:
        """log (1/K) sum_k w_k, (B,)."""
        return log_mean_exp(log_w)


class MIWAE(Importance):
    """Mean of M importance-weighted bounds of K samples each: E (1/M) sum_m log (1/K) sum_k w_mk.

    The same bound as IWAE at K, estimated from M K samples; the signal-to-noise ratio of the guide's gradient is
    sqrt(M) times higher. Unbiased.

    Args:
        num_particles: K, samples under each logarithm.
        num_bounds: M, bounds to average.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate. Any beta.

    Source: Rainforth et al. 2018, "Tighter variational bounds are not necessarily better".

    Example:
        >>> MIWAE(num_particles=8, num_bounds=8).num_bounds
        8
    """

    def __init__(self, num_particles: int = 5, num_bounds: int = 2, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)
        self.num_bounds = check_size("num_bounds", num_bounds)

    def bound(self, log_w: Tensor) -> Tensor:
        """(1/M) sum_m log (1/K) sum_k w_mk, (B,)."""
        groups = log_w.reshape(self.num_bounds, self.num_particles, -1)
        return (groups.logsumexp(1) - math.log(self.num_particles)).mean(0)

    def _samples(self) -> int:
        return self.num_particles * self.num_bounds


class CIWAE(Importance):
    """Convex combination of the two bounds: share ELBO + (1 - share) IWAE_K. Unbiased.

    Args:
        num_particles: K.
        share: weight of the ELBO, in [0, 1] (called beta in the paper).
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate. Any beta.

    Raises:
        ValueError: a share outside [0, 1].

    Source: Rainforth et al. 2018, "Tighter variational bounds are not necessarily better".

    Example:
        >>> CIWAE(num_particles=8, share=0.5).share
        0.5
    """

    def __init__(self, num_particles: int = 5, share: float = 0.5, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"share must be a number in [0, 1], the weight of the ELBO, not {share!r}")
        self.share = share

    def bound(self, log_w: Tensor) -> Tensor:
        """share mean_k log w_k + (1 - share) log (1/K) sum_k w_k, (B,)."""
        return self.share * log_w.mean(0) + (1 - self.share) * log_mean_exp(log_w)


class Renyi(Importance):
    """Variational Renyi bound 1/(1 - alpha) log (1/K) sum_k w_k^(1 - alpha).

    alpha = 0 is IWAE, alpha -> 1 the ELBO; alpha < 0 bounds log p(x) from above as K grows. The gradient is unbiased
    for the K-sample value, which lies below the infinite-sample bound. Unlike in Pyro's RenyiELBO, the logarithm is
    taken datum by datum, and N/B and other common scales stay outside it.

    Args:
        alpha: order, any number but 1.
        num_particles: K, at least 2: with one sample every order is the ELBO.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Needs reparameterised sites inside one data plate. Any beta.

    Raises:
        ValueError: alpha is 1 or not finite, or K is below 2.

    Source: Li and Turner 2016, "Renyi divergence variational inference".

    Example:
        >>> Renyi(alpha=0.5, num_particles=8).alpha
        0.5
    """

    least_particles = 2

    def __init__(self, alpha: float = 0.5, num_particles: int = 5, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise ValueError(f"alpha must be a finite number other than 1, not {alpha!r}")
        if alpha == 1:
            raise ValueError("alpha is 1, where the Renyi bound is the ELBO; use TraceELBO or MeanFieldELBO")
        self.alpha = alpha

    def bound(self, log_w: Tensor) -> Tensor:
        """1/(1 - alpha) log (1/K) sum_k w_k^(1 - alpha), (B,)."""
        power = 1 - self.alpha
        largest = (log_w.amax(0) if power > 0 else log_w.amin(0)).detach()  # of w^power
        # log1p of the mean of w^power - 1 keeps its digits when the power is small.
        return largest + torch.expm1(power * (log_w - largest)).mean(0).log1p() / power
