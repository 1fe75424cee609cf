"""Normal likelihood: log p(x | z) = sum_i log N(x_i; m_i(z), s_i^2), a density on the reals.

The scale s is a fixed number, one learned number, a learned number for every entry of x, or a function of z; or the
closed-form optimum for one number, the root mean squared error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .spread import SCALE_FLOOR, Spread

MOMENTUM = 0.05  # weight of the last batch in the running mean squared error


class Normal(Spread):
    """Independent Normal entries with means linear in the network's features.

    With scale="optimal" the variance is not a parameter. In training, log_prob uses for every batch the variance that
    maximises it, s^2 = mean over particles, examples and entries of (x - m(z))^2 (without missing entries, at least
    1e-6); no gradient flows through it, since it is 0 at the maximum. The result is the profile log-likelihood of the
    batch, which is a little higher than a density of its examples. The buffer ``variance`` is a running mean of s^2
    over batches; in evaluation mode, and always for samples, p(x | z) is N(m(z), variance), an ordinary density. With
    several processes each uses the s^2 of its own rows.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        scale: a positive number (fixed); "learned", one parameter for all entries; "pixel", one parameter for every
            entry; "network", a second output of the network; "optimal", as above. Learned scales are
            softplus(.) + 0.001 and start at 1, or with ``start_at`` at the data's scale: from a larger one training
            ends in posterior collapse (the code is not used).

    Raises:
        ValueError: any other scale.

    Source: Kingma and Welling 2014; learned scales: Dai and Wipf 2019; optimal: Rybkin et al. 2021, "Simple and
    effective VAE training with calibrated decoders".

    Example:
        >>> from ppl_vae import networks
        >>> p = Normal(networks.MLP(4, [32]), 3, scale="learned")(torch.zeros(5, 4))
        >>> p.base_dist.scale.shape
        torch.Size([5, 3])
    """

    support = constraints.real
    variance: Tensor
    batches: Tensor

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        scale: float | Literal["learned", "pixel", "network", "optimal"] = "learned",
    ) -> None:
        super().__init__(network, shape, scale, also=("optimal",))
        self.scale = scale
        if scale == "optimal":
            self.register_buffer("variance", torch.ones(()))
            self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Normal of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        if self.scale != "optimal":
            return dist.Normal(parts[0], self.spread_of(parts)).to_event(len(self.shape))
        scale = self.variance.to(parts[0].dtype).sqrt().expand_as(parts[0])
        p = FittedNormal(parts[0], scale, self._keep) if self.training else dist.Normal(parts[0], scale)
        return p.to_event(len(self.shape))

    def _keep(self, variance: Tensor) -> None:
        """Update the running mean squared error with that of a training batch."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.batches.add_(1)
                weight = self.batches.to(self.variance.dtype).reciprocal().clamp(min=MOMENTUM)
                self.variance.add_(weight * (variance.to(self.variance.dtype) - self.variance))

    def _start_spread(self, value: Tensor) -> None:
        if self.scale == "optimal":
            self.variance.fill_(value.square().clamp(min=SCALE_FLOOR**2).item())
        super()._start_spread(value)


class FittedNormal(dist.Normal):
    """Normal entries whose log_prob uses the variance that maximises it: the mean squared error of all entries.

    Args:
        loc: means.
        scale: standard deviation of samples.
        keep: called with the variance of each ``log_prob``.
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, keep: Callable[[Tensor], None], validate_args: bool | None = None
    ) -> None:
        self.keep = keep
        super().__init__(loc, scale, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FittedNormal:  # noqa: D102
        return FittedNormal(
            self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.keep, validate_args=False
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of every entry under that variance."""
        return self.entry_log_prob(x, torch.ones_like(x, dtype=torch.bool))

    def entry_log_prob(self, x: Tensor, seen: Tensor) -> Tensor:
        """Log-density of every entry, the variance computed from the observed ones."""
        if self._validate_args:
            self._validate_sample(x)
        with torch.no_grad():
            squared = (x - self.loc).square()
            seen = seen.expand_as(squared)
            variance = torch.where(seen, squared, squared.new_zeros(())).sum() / seen.sum().clamp(min=1)
            variance = variance.clamp(min=SCALE_FLOOR**2)
        self.keep(variance)
        return dist.Normal(self.loc, variance.sqrt().expand_as(self.loc), validate_args=False).log_prob(x)
