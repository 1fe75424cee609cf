"""The negative binomial by its mean m and concentration r: a Poisson whose rate is Gamma(r, rate r / m).

    log P(x) = log G(x + r) - log G(r) - log x! + x log(m / (m + r)) - r log(1 + m / r),    variance m + m^2 / r

The first two terms cancel for large r, which leaves only noise in float32; from r = 10 on Stirling's series computes
their difference. r -> inf is the Poisson.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.gamma import _standard_gamma

LARGE = 10.0  # the truncation error of the series is 8e-9 there


class NegativeBinomial(TorchDistribution):
    """Counts with a variance above the mean.

    Args:
        mean: m, positive.
        concentration: r, positive.

    Example:
        >>> poisson = torch.distributions.Poisson(3.0)
        >>> p = NegativeBinomial(torch.tensor(3.0), torch.tensor(1e8))
        >>> torch.allclose(p.log_prob(torch.arange(9.0)), poisson.log_prob(torch.arange(9.0)), atol=1e-4)
        True
    """

    arg_constraints: dict[str, Any] = {"mean": constraints.positive, "concentration": constraints.positive}
    support: Any = constraints.nonnegative_integer

    def __init__(self, mean: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        self._mean, self.concentration = torch.broadcast_tensors(mean, concentration)
        super().__init__(self._mean.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self._mean

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self._mean + self._mean.square() / self.concentration

    def expand(self, batch_shape: Any, _instance: Any = None) -> NegativeBinomial:  # noqa: D102
        return NegativeBinomial(
            self._mean.expand(batch_shape), self.concentration.expand(batch_shape), validate_args=False
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-mass of the counts x."""
        if self._validate_args:
            self._validate_sample(x)
        m, r = self._mean, self.concentration
        taken = x * (m.log() - (m + r).log()) - r * torch.log1p(m / r)
        return log_rising(r, x) - torch.lgamma(x + 1) + taken

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sampled counts, in the mean's dtype."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            gamma = _standard_gamma(self.concentration.expand(shape).contiguous())
            return torch.poisson(gamma * (self._mean / self.concentration))


def log_rising(r: Tensor, x: Tensor) -> Tensor:
    """log G(r + x) - log G(r) for r > 0, x >= 0, without cancellation for large r.

    Example:
        >>> log_rising(torch.tensor(1e6), torch.tensor(1.0)) - torch.tensor(1e6).log()
        tensor(0.)
    """
    large = r >= LARGE
    small_r, large_r = torch.where(large, torch.ones_like(r), r), torch.where(large, r, torch.full_like(r, LARGE))
    series = x * ((large_r + x).log() - 1) + (large_r - 0.5) * torch.log1p(x / large_r)
    series = series + _tail(large_r + x) - _tail(large_r)
    return torch.where(large, series, torch.lgamma(small_r + x) - torch.lgamma(small_r))


def _tail(r: Tensor) -> Tensor:
    inverse = 1 / r
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
