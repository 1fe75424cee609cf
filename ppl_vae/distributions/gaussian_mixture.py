"""Mixture of diagonal Normals over vectors: p(z) = sum_c w_c N(z; m_c, diag s_c^2).

The quadratic form is expanded into one matrix product for all components, so that no tensor of size
(..., components, dim) is created:

    sum_j (z_j - m_cj)^2 / s_cj^2 = [z^2, z] . [1/s_c^2, -2 m_c/s_c^2] + sum_j m_cj^2 / s_cj^2

It is computed in float64, so that cancellation between the terms leaves at least float32's precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_event


class GaussianMixture(TorchDistribution):
    """Mixture of C Normals with diagonal covariance; event shape (dim,).

    Args:
        logits: log-weights (..., C), up to a constant.
        loc: means (..., C, dim).
        scale: standard deviations (..., C, dim).

    Raises:
        ValueError: shapes that do not fit, or (with validation on) a scale that is not positive.

    Source: McLachlan and Peel 2000, "Finite mixture models".

    Example:
        >>> p = GaussianMixture(torch.zeros(2), torch.zeros(2, 3), torch.ones(2, 3))
        >>> round(p.log_prob(torch.zeros(3)).item(), 4)
        -2.7568
    """

    arg_constraints: Any = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support: Any = constraints.real_vector
    has_rsample = False

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        if loc.shape[-2:] != scale.shape[-2:] or logits.shape[-1:] != loc.shape[-2:-1]:
            raise ValueError(
                "logits, loc and scale must have shapes (..., C), (..., C, dim) and (..., C, dim), not "
                f"{tuple(logits.shape)}, {tuple(loc.shape)} and {tuple(scale.shape)}"
            )
        self.logits, self.loc, self.scale = logits, loc, scale
        batch_shape = torch.broadcast_shapes(logits.shape[:-1], loc.shape[:-2], scale.shape[:-2])
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> GaussianMixture:
        """The same mixture for every entry of a larger batch; the parameters are not copied."""
        new: Any = self._get_checked_instance(GaussianMixture, _instance)
        new.logits, new.loc, new.scale = self.logits, self.loc, self.scale
        super(GaussianMixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def weights(self) -> Tensor:
        """w, (..., C), which sum to 1."""
        return self.logits.softmax(-1)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        mean = (self.weights.unsqueeze(-1) * self.loc).sum(-2)
        return mean.expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:  # noqa: D102
        spread = self.scale.square() + (self.loc - self.mean.unsqueeze(-2)).square()
        return (self.weights.unsqueeze(-1) * spread).sum(-2).expand(self.batch_shape + self.event_shape)

    def joint(self, value: Tensor) -> Tensor:
        """log w_c + log N(z; m_c, s_c) for every component, (..., C), in nats."""
        wide = torch.float32 if value.device.type == "mps" else torch.float64  # mps has no float64
        z, loc, scale = value.to(wide), self.loc.to(wide), self.scale.to(wide)
        precision = scale.square().reciprocal()
        factors = torch.cat([precision, -2 * loc * precision], -1)
        powers = torch.cat([z.square(), z], -1)
        square = (powers.unsqueeze(-2) @ factors.mT).squeeze(-2) + (loc.square() * precision).sum(-1)
        size = loc.shape[-1]
        log_normal = -0.5 * (square.clamp(min=0) + size * math.log(2 * math.pi)) - scale.log().sum(-1)
        log_joint = self.logits.to(wide).log_softmax(-1) + log_normal
        return log_joint.to(torch.promote_types(value.dtype, self.loc.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density (...) of z (..., dim), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.joint(value).logsumexp(-1)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def responsibilities(self, value: Tensor) -> Tensor:
        """p(c | z), (..., C), which sum to 1."""
        check_event("z", value.shape, self.event_shape[-1])
        return self.joint(value).softmax(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples (*sample_shape, *batch_shape, dim): a component by its weight, then a draw from it."""
        lead = torch.Size(sample_shape) + self.batch_shape
        index = torch.distributions.Categorical(logits=self.logits.expand(self.batch_shape + self.logits.shape[-1:]))
        index = index.sample(torch.Size(sample_shape))[..., None, None].expand(*lead, 1, self.loc.shape[-1])
        loc, scale = (
            p.expand(lead + self.loc.shape[-2:]).gather(-2, index).squeeze(-2) for p in (self.loc, self.scale)
        )
        return torch.normal(loc, scale)
