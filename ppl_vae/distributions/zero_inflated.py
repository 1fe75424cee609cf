"""A distribution of counts with extra zeros: with probability g the count is 0, otherwise it is the base's.

    log P(0) = log(g + (1 - g) P_base(0)),    log P(x) = log(1 - g) + log P_base(x) for x > 0,    g = sigmoid(l)

The ``expand`` of Pyro's own fails if the gate is given by logits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class ZeroInflated(TorchDistribution):
    """Counts of ``base``, replaced by 0 with probability sigmoid(gate_logits).

    Args:
        base: distribution of single counts.
        gate_logits: logit of the probability of an extra zero, of the base's batch shape.

    Source: Lambert 1992, "Zero-inflated Poisson regression".

    Example:
        >>> import pyro.distributions as dist
        >>> p = ZeroInflated(dist.Poisson(torch.tensor([2.0])), torch.tensor([0.0]))
        >>> p.mean, round(p.log_prob(torch.arange(60.0)[:, None]).exp().sum().item(), 4)
        (tensor([1.]), 1.0)
    """

    arg_constraints: dict[str, Any] = {"gate_logits": constraints.real}

    def __init__(self, base: Any, gate_logits: Tensor, validate_args: bool | None = None) -> None:
        self.base, self.gate_logits = base, gate_logits
        super().__init__(base.batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:  # noqa: D102
        return self.base.support

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return torch.sigmoid(-self.gate_logits) * self.base.mean

    @property
    def variance(self) -> Tensor:  # noqa: D102
        kept, gate = torch.sigmoid(-self.gate_logits), torch.sigmoid(self.gate_logits)
        return kept * (self.base.variance + gate * self.base.mean.square())

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZeroInflated:  # noqa: D102
        return ZeroInflated(self.base.expand(batch_shape), self.gate_logits.expand(batch_shape), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-mass of the counts x."""
        if self._validate_args:
            self._validate_sample(x)
        kept = F.logsigmoid(-self.gate_logits) + self.base.log_prob(x)
        return torch.where(x == 0, torch.logaddexp(F.logsigmoid(self.gate_logits), kept), kept)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sampled counts, in the base's dtype."""
        with torch.no_grad():
            x = self.base.sample(torch.Size(sample_shape))
            return torch.where(torch.rand_like(x) < torch.sigmoid(self.gate_logits), 0.0, x)
