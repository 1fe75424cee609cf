"""Logistic-Normal distribution on the simplex: x = softmax(V y), y ~ N(m, diag s^2), of dim - 1 entries.

The columns of V (dim, dim - 1) are orthonormal and sum to 0: Helmert's, so that y = V' log x (Egozcue et al. 2003).
With m = 0 and equal s the entries of x are exchangeable: x is the softmax of dim independent N(0, s^2). The density is
over the first dim - 1 entries of x, like the Dirichlet's; by the change of variables

    log p(x) = log N(V' log x; m, s^2) - sum_i log x_i - 1/2 log dim

The KL between two is that between the Normals; a Dirichlet(a) has log x with mean psi(a) - psi(sum a) and covariance
diag psi'(a) - psi'(sum a), hence a KL to a logistic-Normal in closed form.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Dirichlet, Normal, constraints, kl_divergence
from torch.distributions.kl import register_kl


class LogisticNormal(TorchDistribution):
    """Softmax of a Normal vector in an orthonormal basis of the vectors that sum to 0.

    Args:
        loc: m (..., dim - 1).
        scale: s (..., dim - 1), positive.

    Source: Aitchison and Shen 1980, "Logistic-normal distributions"; Egozcue et al. 2003 for the basis.

    Example:
        >>> LogisticNormal(torch.zeros(3), torch.ones(3)).sample().shape
        torch.Size([4])
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.independent(constraints.real, 1),
        "scale": constraints.independent(constraints.positive, 1),
    }
    support: Any = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        size = self.loc.shape[-1] + 1
        super().__init__(self.loc.shape[:-1], torch.Size((size,)), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogisticNormal:  # noqa: D102
        new: Any = self._get_checked_instance(LogisticNormal, _instance)
        shape = (*batch_shape, self.loc.shape[-1])
        new.loc, new.scale = self.loc.expand(shape), self.scale.expand(shape)
        super(LogisticNormal, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Reparameterised samples; entries are at least the smallest normal float."""
        shape = (*torch.Size(sample_shape), *self.loc.shape)
        y = self.loc + self.scale * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return from_coordinates(y).softmax(-1).clamp(min=torch.finfo(y.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density over the first dim - 1 entries, (..., batch shape)."""
        if self._validate_args:
            self._validate_sample(value)
        log_x = value.clamp(min=torch.finfo(value.dtype).tiny).log()
        normal = Normal(self.loc, self.scale, validate_args=False).log_prob(to_coordinates(log_x)).sum(-1)
        return normal - log_x.sum(-1) - 0.5 * math.log(value.shape[-1])


def _scales(like: Tensor, size: int) -> tuple[Tensor, Tensor]:
    j = torch.arange(1, size, dtype=like.dtype, device=like.device)
    return j, (j * (j + 1)).rsqrt()


def to_coordinates(u: Tensor) -> Tensor:
    """V' u, (..., dim - 1) from (..., dim): entry j is (u_1 + ... + u_j - j u_{j+1}) / sqrt(j (j + 1))."""
    j, c = _scales(u, u.shape[-1])
    return (u[..., :-1].cumsum(-1) - j * u[..., 1:]) * c


def from_coordinates(y: Tensor) -> Tensor:
    """V y, (..., dim) from (..., dim - 1)."""
    j, c = _scales(y, y.shape[-1] + 1)
    scaled = y * c
    after = scaled.flip(-1).cumsum(-1).flip(-1)
    zero = torch.zeros_like(y[..., :1])
    return torch.cat([after, zero], -1) - torch.cat([zero, j * scaled], -1)


@register_kl(LogisticNormal, LogisticNormal)
def _kl_logistic_normals(q: LogisticNormal, p: LogisticNormal) -> Tensor:
    normals = (Normal(d.loc, d.scale, validate_args=False) for d in (q, p))
    return kl_divergence(*normals).sum(-1)


@register_kl(Dirichlet, LogisticNormal)
def _kl_dirichlet_logistic_normal(q: Any, p: LogisticNormal) -> Tensor:
    a = q.concentration
    log_x = torch.digamma(a) - torch.digamma(a.sum(-1, keepdim=True))
    j, c = _scales(a, a.shape[-1])
    spread = torch.polygamma(1, a)
    variance = (spread[..., :-1].cumsum(-1) + j.square() * spread[..., 1:]) * c.square()  # diagonal of V' diag(.) V
    square = ((to_coordinates(log_x) - p.loc).square() + variance) / p.scale.square()
    cross = (0.5 * square + p.scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
    return cross + log_x.sum(-1) + 0.5 * math.log(a.shape[-1]) - q.entropy()
