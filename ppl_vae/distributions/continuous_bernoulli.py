"""The continuous Bernoulli distribution on [0, 1], by its logit l:  p(x) = exp(l x) / Z,  Z = (e^l - 1) / l.

With u = l/2, log p(x) = l (x - 1/2) - log(sinh(u) / u). The last term is even in u and smooth at 0, where a series
computes it, so no l overflows or cancels. (In terms of probs the constant is 0/0 at 1/2.)
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

NEAR = 0.5  # the series is used for |l| below this; its truncation error is 1e-8 relative or less


class ContinuousBernoulli(TorchDistribution):
    """Density proportional to exp(l x) on [0, 1]; uniform at l = 0.

    Args:
        logits: l = log(p / (1 - p)) of the parameter p; its mean is not p.

    Source: Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli: fixing a pervasive error in VAEs".

    Example:
        >>> ContinuousBernoulli(torch.zeros(3)).log_prob(torch.rand(3)).abs()
        tensor([0., 0., 0.])
    """

    arg_constraints: dict[str, Any] = {"logits": constraints.real}
    support: Any = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = torch.as_tensor(logits)
        super().__init__(self.logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:  # noqa: D102
        return ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density at x in [0, 1]."""
        if self._validate_args:
            self._validate_sample(x)
        near, far = self._split()
        u = far.abs() / 2
        log_sinhc = u + (-torch.expm1(-2 * u)).log() - (2 * u).log()
        v = (near / 2).square()
        series = v * (1 / 6 - v * (1 / 180 - v * (1 / 2835 - v / 37800)))
        return self.logits * (x - 0.5) - torch.where(self._is_near, series, log_sinhc)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised samples, by the inverse CDF."""
        shape = self._extended_shape(torch.Size(sample_shape))
        eps = torch.finfo(self.logits.dtype).eps
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device).clamp(eps, 1 - eps)
        return self.icdf(u)

    def icdf(self, u: Tensor) -> Tensor:
        """Inverse CDF at u: log(1 + u (e^l - 1)) / l."""
        near, far = self._split()
        series = u + near * u * (1 - u) * (0.5 + near * (1 - 2 * u) / 6)
        # Computed with -|l|, which cannot overflow: for l > 0, x = 1 - (icdf of 1 - u at -l).
        share = torch.where(far > 0, 1 - u, u)
        low = torch.log1p(share * torch.expm1(-far.abs())) / -far.abs()
        value = torch.where(far > 0, 1 - low, low)
        tiny = near.abs() < 1e-2
        exact = torch.where(tiny, torch.ones_like(near), near)
        middle = torch.log1p(u * torch.expm1(exact)) / exact
        return torch.where(self._is_near, torch.where(tiny, series, middle), value).clamp(0, 1)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        near, far = self._split()
        v = near.square()
        series = 0.5 + near * (1 / 12 - v * (1 / 720 - v * (1 / 30240 - v / 1209600)))
        return torch.where(self._is_near, series, 0.5 + 0.5 / (far / 2).tanh() - 1 / far)

    @property
    def variance(self) -> Tensor:  # noqa: D102
        near, far = self._split()
        v = near.square()
        series = 1 / 12 - v * (1 / 240 - v * (1 / 6048 - v / 172800))
        a = far.abs()
        return torch.where(self._is_near, series, 1 / a.square() - (-a).exp() / torch.expm1(-a).square())

    @property
    def _is_near(self) -> Tensor:
        return self.logits.abs() < NEAR

    def _split(self) -> tuple[Tensor, Tensor]:
        """Logits for the series and for the closed form, each replaced by a safe value where the other is used."""
        one = torch.ones_like(self.logits)
        return torch.where(self._is_near, self.logits, one / 4), torch.where(self._is_near, one, self.logits)


def logits_of_mean(mean: Tensor, rounds: int = 60) -> Tensor:
    """The logit at which the mean is this number in (0, 1), by bisection.

    Example:
        >>> round(ContinuousBernoulli(logits_of_mean(torch.tensor(0.3))).mean.item(), 5)
        0.3
    """
    target = mean.double()
    edge = 1 / torch.minimum(target, 1 - target)  # |l| is below 1/mean, since the mean is above 1/l - 1/(e^l - 1)
    low, high = -edge, edge
    for _ in range(rounds):
        middle = (low + high) / 2
        above = ContinuousBernoulli(middle, validate_args=False).mean > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return ((low + high) / 2).to(mean.dtype)
