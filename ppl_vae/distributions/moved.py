"""A distribution over vectors moved and stretched, each entry of a batch by its own amounts.

z = shift + scale * u,    log p(z) = log p_u((z - shift) / scale) - sum_j log scale_j
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import Independent, constraints, kl_divergence
from torch.distributions.kl import register_kl


class Moved(TorchDistribution):
    """The distribution of z = shift + scale * u; its KL from independent Normals is known where that to u's is.

    Args:
        base: distribution of u on the real vectors, event shape (dim,).
        shift: (*batch, dim); the base's batch shape broadcasts to ``batch``.
        scale: the same, positive.

    Example:
        >>> base = Normal(torch.zeros(2), 1.0).to_event(1)
        >>> shift, scale = torch.tensor([[5.0, 0.0], [1.0, 1.0]]), torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> p, z = Moved(base, shift, scale), torch.zeros(2)
        >>> torch.allclose(p.log_prob(z), Normal(shift, scale).to_event(1).log_prob(z))
        True
    """

    arg_constraints: dict[str, Any] = {}
    support: Any = constraints.real_vector

    def __init__(self, base: Any, shift: Tensor, scale: Tensor) -> None:
        batch = torch.broadcast_shapes(base.batch_shape, shift.shape[:-1], scale.shape[:-1])
        self.base, self.shift, self.scale = base.expand(batch), shift, scale
        super().__init__(batch, base.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.base.has_rsample

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self.shift + self.scale * self.base.mean

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self.scale.square() * self.base.variance

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Moved:
        """The same distributions in a larger batch."""
        return Moved(self.base.expand(torch.Size(batch_shape)), self.shift, self.scale)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A sample (*sample_shape, *batch_shape, dim) without gradients."""
        with torch.no_grad():
            return self.shift + self.scale * self.base.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A reparameterised sample (*sample_shape, *batch_shape, dim)."""
        return self.shift + self.scale * self.base.rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density (...) of z (..., dim), in nats."""
        return self.base.log_prob((value - self.shift) / self.scale) - self.scale.log().sum(-1)


@register_kl(Independent, Moved)
def _kl_independent_moved(q: Any, p: Any) -> Tensor:
    """KL of independent Normals: that of both moved back."""
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    back = Normal((q.base_dist.loc - p.shift) / p.scale, q.base_dist.scale / p.scale).to_event(1)
    return kl_divergence(back, p.base.expand(back.batch_shape))
