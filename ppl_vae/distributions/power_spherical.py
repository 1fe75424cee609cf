"""Power spherical and uniform distributions on the unit sphere of R^d.

    p(x) = (1 + m'x)^k / Z,    log Z = (a + b) log 2 + b log pi + lnG(a) - lnG(a + b),    b = (d - 1) / 2,  a = b + k

Unlike the von Mises-Fisher it has a sampler without rejection: t = m'x is 2 Beta(a, b) - 1, and x = t m + (1 - t^2)^1/2
H v with v uniform on the sphere orthogonal to the first axis and H the Householder reflection that takes plus or minus
the first axis, whichever lies further from m, to m. KL to the uniform: k (log 2 + psi(a) - psi(a + b)) - log Z + log A,
A the sphere's area. Densities are with respect to the sphere's surface. lnG(a) - lnG(a + b) is computed without
cancellation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Dirichlet
from torch.distributions.kl import register_kl

LARGE = 10.0  # from here on the asymptotic series of lgamma and digamma are exact in float32


def log_area(dim: int) -> float:
    """Log of the surface area of the unit sphere in R^dim.

    Example:
        >>> round(math.exp(log_area(3)) / math.pi, 6)
        4.0
    """
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def lgamma_difference(a: Tensor, b: float) -> Tensor:
    """lnG(a) - lnG(a + b) for a, b > 0, without cancellation at large a (Stirling's series)."""
    z = a.clamp(min=LARGE)
    ratio = torch.log1p(b / z)
    series = -b * z.log() - (z + b - 0.5) * ratio + b + _tail(z) - _tail(z + b)
    small = a.clamp(max=LARGE)
    return torch.where(a > LARGE, series, torch.lgamma(small) - torch.lgamma(small + b))


def _tail(z: Tensor) -> Tensor:
    return 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5)


def digamma_difference(a: Tensor, b: float) -> Tensor:
    """psi(a) - psi(a + b) for a, b > 0, without cancellation at large a."""

    def tail(z: Tensor) -> Tensor:
        return -1 / (2 * z) - 1 / (12 * z**2) + 1 / (120 * z**4) - 1 / (252 * z**6)

    z = a.clamp(min=LARGE)
    small = a.clamp(max=LARGE)
    series = -torch.log1p(b / z) + tail(z) - tail(z + b)
    return torch.where(a > LARGE, series, torch.digamma(small) - torch.digamma(small + b))


class SphereUniform(TorchDistribution):
    """Uniform distribution on the unit sphere of R^dim.

    Args:
        like: a tensor (..., dim) that gives the samples' shape, dtype and device; its values are not used.

    Example:
        >>> round(SphereUniform(torch.zeros(2)).log_prob(torch.tensor([0.6, 0.8])).exp().item() * 2 * math.pi, 4)
        1.0
    """

    arg_constraints: dict[str, Any] = {}
    support: Any = constraints.sphere
    has_rsample = True

    def __init__(self, like: Tensor, validate_args: bool | None = None) -> None:
        self.like = like
        super().__init__(like.shape[:-1], like.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SphereUniform:  # noqa: D102
        new: Any = self._get_checked_instance(SphereUniform, _instance)
        new.like = self.like.expand(*batch_shape, self.like.shape[-1])
        super(SphereUniform, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (..., dim)."""
        return uniform(self._extended_shape(sample_shape), self.like)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log-area, (..., batch shape)."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return value.new_full(shape, -log_area(self.event_shape[0]))

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return torch.full_like(self.like, 1 / self.event_shape[0])


class PowerSpherical(TorchDistribution):
    """Power spherical distribution around a direction.

    Args:
        direction: m (..., dim) of length 1, dim at least 2.
        concentration: k (...), not negative; 0 is the uniform distribution.

    Source: De Cao and Aziz 2020, "The power spherical distribution".

    Example:
        >>> q = PowerSpherical(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(5.0))
        >>> q.mean  # k / (k + dim - 1) along the direction
        tensor([0.7143, 0.0000, 0.0000])
    """

    arg_constraints: dict[str, Any] = {"direction": constraints.sphere, "concentration": constraints.nonnegative}
    support: Any = constraints.sphere
    has_rsample = True

    def __init__(self, direction: Tensor, concentration: Any, validate_args: bool | None = None) -> None:
        concentration = torch.as_tensor(concentration).to(direction)
        batch = torch.broadcast_shapes(direction.shape[:-1], concentration.shape)
        self.direction = direction.expand(*batch, direction.shape[-1])
        self.concentration = concentration.expand(batch)
        super().__init__(batch, direction.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PowerSpherical:  # noqa: D102
        new: Any = self._get_checked_instance(PowerSpherical, _instance)
        new.direction = self.direction.expand(*batch_shape, self.direction.shape[-1])
        new.concentration = self.concentration.expand(batch_shape)
        super(PowerSpherical, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def _b(self) -> float:
        return (self.event_shape[0] - 1) / 2

    def log_normalizer(self) -> Tensor:
        """log Z, batch shape."""
        a, b = self.concentration + self._b, self._b
        return (a + b) * math.log(2) + b * math.log(math.pi) + lgamma_difference(a, b)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised samples (implicitly in t), rescaled to length 1."""
        shape = self._extended_shape(sample_shape)
        a = (self.concentration + self._b).expand(shape[:-1])
        # Both (1 + t) / 2 and (1 - t) / 2, each to full precision.
        halves = Dirichlet(torch.stack([a, torch.full_like(a, self._b)], -1), validate_args=False)
        near, far = halves.rsample().unbind(-1)
        v = uniform((*shape[:-1], shape[-1] - 1), a)
        radius = 2 * (near * far).clamp(min=torch.finfo(a.dtype).tiny).sqrt()
        tangent = torch.cat([torch.zeros_like(v[..., :1]), v], -1)
        axis = F.one_hot(torch.zeros((), dtype=torch.long, device=a.device), shape[-1]).to(a)
        sign = torch.where(self.direction[..., :1] > 0, -1.0, 1.0).to(a)
        u = F.normalize(sign * axis - self.direction, dim=-1)  # the vector is never shorter than sqrt(2)
        reflected = tangent - 2 * u * (u * tangent).sum(-1, keepdim=True)
        return F.normalize((near - far)[..., None] * self.direction + radius[..., None] * reflected, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density over the sphere's surface, (..., batch shape)."""
        if self._validate_args:
            self._validate_sample(value)
        cosine = (self.direction * value).sum(-1)
        one_plus = (1 + cosine).clamp(min=torch.finfo(value.dtype).eps)
        return self.concentration * one_plus.log() - self.log_normalizer()

    @property
    def mean(self) -> Tensor:
        """E[x] = m k / (k + d - 1), (..., dim)."""
        k = self.concentration[..., None]
        return self.direction * k / (k + 2 * self._b)

    @property
    def variance(self) -> Tensor:
        """Var[x_i], (..., dim)."""
        a, b = self.concentration[..., None] + self._b, self._b
        t = (a - b) / (a + b)
        square = 4 * a * b / ((a + b).square() * (a + b + 1)) + t.square()  # E[t^2]
        along = self.direction.square()
        return square * along + (1 - square) / (2 * b) * (1 - along) - (t * self.direction).square()

    def entropy(self) -> Tensor:
        """Entropy over the surface in nats, batch shape."""
        a = self.concentration + self._b
        return self.log_normalizer() - self.concentration * (math.log(2) + digamma_difference(a, self._b))


def uniform(shape: Any, like: Tensor) -> Tensor:
    """Uniform points on the unit sphere of the last dimension, with the dtype and device of ``like``."""
    noise = torch.randn(shape, dtype=like.dtype, device=like.device)
    if noise.shape[-1] == 1:  # the sphere of R^1 is {-1, 1}; a Normal draw of 0 has no direction
        return torch.where(noise < 0, -1.0, 1.0).to(noise)
    return F.normalize(noise, dim=-1)


@register_kl(PowerSpherical, SphereUniform)
def _kl_power_spherical_uniform(q: PowerSpherical, p: SphereUniform) -> Tensor:
    return log_area(p.event_shape[0]) - q.entropy() + torch.zeros(p.batch_shape).to(q.concentration)


@register_kl(SphereUniform, SphereUniform)
def _kl_uniforms(q: SphereUniform, p: SphereUniform) -> Tensor:
    return q.like.new_zeros(torch.broadcast_shapes(q.batch_shape, p.batch_shape))
