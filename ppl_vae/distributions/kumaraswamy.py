"""Kumaraswamy distribution on the unit interval, close to the Beta and with a sampler in closed form.

    p(x) = a b x^(a-1) (1 - x^a)^(b-1),    x = (1 - u^(1/b))^(1/a),  u uniform,    a, b > 0

log(1 - u^(1/b)) and log(1 - x^a) are computed without forming the differences, so float32 suffices for all a and b.

KL to a Beta(c, d): with E[log x] = -(psi(b) + gamma + 1/b) / a and E[log(1 - x^a)] = -1/b only E[log(1 - x)] has no
closed form. Nalisnick and Smyth truncate its Taylor series, whose terms fall as slowly as m^(-1-b); here it is a
trapezoid sum over g = log(-b log(1 - x^a)), which has the density exp(g - exp(g)). Its error is below 1e-6 (1 + |d -
1|) nats plus float32's rounding, for every a and b.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Beta, constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

EULER = 0.5772156649015329
NODES = (-20.0, 4.0, 0.25)  # first, last and step of the trapezoid sum
FAR = 15.0  # for larger r, log(1 - exp(-r)) is -exp(-r) in float32


class Kumaraswamy(TorchDistribution):
    """Kumaraswamy(a, b) on the open unit interval.

    Args:
        concentration1: a, positive.
        concentration0: b, positive; both broadcast to the batch shape.

    Source: Kumaraswamy 1980; Nalisnick and Smyth 2017, "Stick-breaking variational autoencoders".

    Example:
        >>> q = Kumaraswamy(torch.tensor(1.0), torch.tensor(3.0))  # equal to Beta(1, 3)
        >>> round(q.log_prob(torch.tensor(0.5)).item(), 4) == round(math.log(0.75), 4)
        True
    """

    arg_constraints: dict[str, Any] = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support: Any = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Kumaraswamy:  # noqa: D102
        new: Any = self._get_checked_instance(Kumaraswamy, _instance)
        new.concentration1 = self.concentration1.expand(batch_shape)
        new.concentration0 = self.concentration0.expand(batch_shape)
        super(Kumaraswamy, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised samples, clamped to the open interval."""
        a, b = self.concentration1, self.concentration0
        info = torch.finfo(a.dtype)
        u = torch.rand(self._extended_shape(sample_shape), dtype=a.dtype, device=a.device)
        r = -u.clamp(min=info.tiny).log() / b
        return (log1mexp(r.clamp(min=info.tiny)) / a).exp().clamp(info.tiny, 1 - info.eps / 2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, (..., batch shape)."""
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        log_x = value.log()
        return a.log() + b.log() + (a - 1) * log_x + (b - 1) * log1mexp(-a * log_x)

    def _moment(self, n: int) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return (b.log() + torch.lgamma(1 + n / a) + torch.lgamma(b) - torch.lgamma(1 + n / a + b)).exp()

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self._moment(1)

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self._moment(2) - self._moment(1) ** 2

    def entropy(self) -> Tensor:
        """Entropy in nats, batch shape."""
        a, b = self.concentration1, self.concentration0
        return 1 - 1 / b + (1 - 1 / a) * (torch.digamma(b + 1) + EULER) - a.log() - b.log()


def log1mexp(r: Tensor) -> Tensor:
    """log(1 - exp(-r)) for r > 0, to full precision, with finite gradients (Maechler 2012)."""
    half = math.log(2)  # clamped so that the unused branch is finite; else its gradient is 0 * inf
    near, far = (-torch.expm1(-r.clamp(max=half))).log(), torch.log1p(-torch.exp(-r.clamp(min=half)))
    return torch.where(r < half, near, far)


def _log_complement(q: Kumaraswamy) -> Tensor:
    """E[log(1 - x)], batch shape."""
    a, b = q.concentration1, q.concentration0
    first, last, step = NODES
    g = torch.arange(round((last - first) / step) + 1, dtype=a.dtype, device=a.device) * step + first
    g = g.reshape(-1, *(1 for _ in a.shape))
    r = g.exp() / b  # -log(1 - x^a)
    near = r.clamp(max=FAR)
    log_log = torch.where(r < FAR, (-log1mexp(near)).log(), -r) - a.log()  # log(-log x)
    near = log_log.clamp(min=-FAR)
    log_complement = torch.where(log_log > -FAR, log1mexp(near.exp()), log_log)
    return (step * (g - g.exp()).exp() * log_complement).sum(0)


@register_kl(Kumaraswamy, Beta)
def _kl_kumaraswamy_beta(q: Kumaraswamy, p: Any) -> Tensor:
    b = q.concentration0
    c, d = p.concentration1, p.concentration0
    log_x = -(torch.digamma(b) + EULER + 1 / b) / q.concentration1
    log_norm = torch.lgamma(c) + torch.lgamma(d) - torch.lgamma(c + d)
    return log_norm - q.entropy() - (c - 1) * log_x - (d - 1) * _log_complement(q)
