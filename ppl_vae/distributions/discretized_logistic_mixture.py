"""Mixture of logistics, discretized to grey levels g_k = k/(L-1): each gets the mass of its bin of width h = 1/(L-1).

    P(x) = sum_j w_j [s((x + h/2 - m_j) / s_j) - s((x - h/2 - m_j) / s_j)],   s the sigmoid,

where the first bin extends to -inf and the last to +inf, so the masses sum to 1. The difference of sigmoids is computed
as s(b) - s(a) = s(b) s(-a) (1 - e^(a-b)), which never cancels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .. import supports


class DiscretizedLogisticMixture(TorchDistribution):
    """A probability mass on the ``levels`` numbers k / (levels - 1).

    Args:
        logits: (..., components) of the weights.
        loc: (..., components).
        scale: (..., components), positive.
        levels: number of levels, at least 2.

    Source: Salimans et al. 2017, "PixelCNN++"; here without its approximation for small masses.

    Example:
        >>> p = DiscretizedLogisticMixture(torch.zeros(2), torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.01]), 4)
        >>> round(p.log_prob(torch.arange(4) / 3).exp().sum().item(), 5)
        1.0
    """

    arg_constraints: dict[str, Any] = {
        "logits": constraints.independent(constraints.real, 1),
        "loc": constraints.independent(constraints.real, 1),
        "scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None
    ) -> None:
        self.logits, self.loc, self.scale = torch.broadcast_tensors(logits, loc, scale)
        self.levels = levels
        super().__init__(self.logits.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:  # noqa: D102
        return supports.grid(self.levels)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedLogisticMixture:  # noqa: D102
        shape = (*batch_shape, self.logits.shape[-1])
        parts = (t.expand(shape) for t in (self.logits, self.loc, self.scale))
        return DiscretizedLogisticMixture(*parts, levels=self.levels, validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-mass of x, whose entries are levels."""
        if self._validate_args:
            self._validate_sample(x)
        k = (x * (self.levels - 1)).round().unsqueeze(-1)
        half = 0.5 / (self.levels - 1)
        at = k / (self.levels - 1) - self.loc
        first, last = k <= 0, k >= self.levels - 1
        nothing = at.new_zeros(())
        above = torch.where(last, nothing, F.logsigmoid((at + half) / self.scale))
        below = torch.where(first, nothing, F.logsigmoid((half - at) / self.scale))
        width = torch.where(first | last, nothing, (-torch.expm1(-2 * half / self.scale)).log())
        return (self.logits.log_softmax(-1) + above + below + width).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sampled levels, in the parameters' dtype."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            j = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(
                torch.Size(sample_shape)
            )
            loc, scale = (t.expand(*shape, -1).gather(-1, j.unsqueeze(-1)).squeeze(-1) for t in (self.loc, self.scale))
            eps = torch.finfo(loc.dtype).eps
            u = torch.rand(shape, dtype=loc.dtype, device=loc.device).clamp(eps, 1 - eps)
            x = (loc + scale * u.logit()).clamp(0, 1)
            return (x * (self.levels - 1)).round() / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected level, sum over k >= 1 of P(X >= g_k) / (levels - 1)."""
        weights = self.logits.softmax(-1)
        total: Any = 0.0
        for k in range(1, self.levels):
            edge = (k - 0.5) / (self.levels - 1)
            total = total + (weights * torch.sigmoid((self.loc - edge) / self.scale)).sum(-1)
        return total / (self.levels - 1)
