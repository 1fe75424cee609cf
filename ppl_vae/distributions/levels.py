"""A categorical distribution over grey levels g_k = k / (levels - 1) in [0, 1], one for every entry."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .. import supports


class LevelsCategorical(TorchDistribution):
    """Mass softmax(logits)_k on the level k / (levels - 1).

    Args:
        logits: (..., levels); the last dimension is over the levels.

    Example:
        >>> p = LevelsCategorical(torch.zeros(5, 3))
        >>> p.log_prob(torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0])).exp()[0], p.mean[0]
        (tensor(0.3333), tensor(0.5000))
    """

    arg_constraints: dict[str, Any] = {"logits": constraints.independent(constraints.real, 1)}

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        self.levels = logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:  # noqa: D102
        return supports.grid(self.levels)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LevelsCategorical:  # noqa: D102
        return LevelsCategorical(self.logits.expand(*batch_shape, self.levels), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-mass of x, whose entries are levels."""
        if self._validate_args:
            self._validate_sample(x)
        k = (x * (self.levels - 1)).round().long().clamp(0, self.levels - 1)
        shape = torch.broadcast_shapes(k.shape, self.batch_shape)
        if shape == self.batch_shape and shape:  # the case of training: the fused loss is twice as fast
            return -F.cross_entropy(self.logits.movedim(-1, 1), k.expand(shape), reduction="none")
        logits = self.logits.expand(*shape, self.levels)
        chosen = logits.gather(-1, k.expand(shape).unsqueeze(-1)).squeeze(-1)
        return chosen - self.logits.logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sampled levels, in the logits' dtype."""
        with torch.no_grad():
            k = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(
                torch.Size(sample_shape)
            )
            return k.to(self.logits.dtype) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected level."""
        return self.logits.softmax(-1) @ self._grid

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return (self.logits.softmax(-1) * (self._grid - self.mean.unsqueeze(-1)).square()).sum(-1)

    @property
    def _grid(self) -> Tensor:
        return torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)


def tilt_of_mean(mean: Tensor, levels: int, rounds: int = 60) -> Tensor:
    """t at which logits t k / (levels - 1) have this mean in (0, 1): the maximum-entropy distribution with that mean.

    Example:
        >>> t = tilt_of_mean(torch.tensor(0.2), 256)
        >>> round(LevelsCategorical(t * torch.linspace(0, 1, 256)).mean.item(), 5)
        0.2
    """
    grid = torch.linspace(0, 1, levels, dtype=torch.float64, device=mean.device)
    flat = mean.double().flatten()
    # Bounds |t|: 1 / (distance to the nearer edge) for continuous x; between two levels, the log of the odds.
    edge = 1 / torch.minimum(flat, 1 - flat) + 20 * levels
    low, high = -edge, edge
    for _ in range(rounds):
        middle = (low + high) / 2
        above = (middle[:, None] * grid).softmax(-1) @ grid > flat
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return ((low + high) / 2).reshape(mean.shape).to(mean.dtype)
