"""One-hot categorical distribution with straight-through Gumbel-softmax samples.

    z = one_hot(argmax_k (l_k + g_k)),   g Gumbel,   so that p(z = e_k) = softmax(l)_k exactly

    dz/dl is taken to be d softmax((l + g) / T) / dl

The samples and their probabilities are those of the categorical distribution; only the gradient is approximate.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import OneHotCategoricalStraightThrough

from .relaxed_one_hot_categorical import RelaxedOneHotCategorical

_ONE = torch.Size()


class GumbelSoftmax(OneHotCategoricalStraightThrough, TorchDistributionMixin):
    """A categorical distribution over one-hot vectors whose ``rsample`` is straight-through.

    Args:
        temperature: T, positive scalar tensor; it changes gradients only.
        logits: l (..., classes).

    Source: Jang et al. 2017, "Categorical reparameterization with Gumbel-softmax", section 2.2.

    Example:
        >>> logits = torch.zeros(3, requires_grad=True)
        >>> z = GumbelSoftmax(torch.tensor(1.0), logits).rsample()
        >>> sorted(z.tolist()), bool((torch.autograd.grad(z[0], logits)[0] != 0).all())
        ([0.0, 0.0, 1.0], True)
    """

    def __init__(self, temperature: Tensor, logits: Tensor, validate_args: bool | None = None) -> None:
        self.temperature = temperature
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GumbelSoftmax:  # noqa: D102
        wide = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return GumbelSoftmax(self.temperature, wide, validate_args=False)

    def rsample(self, sample_shape: Any = _ONE) -> Tensor:
        """One-hot samples (..., classes) with the gradient of relaxed ones."""
        soft = RelaxedOneHotCategorical(self.temperature, logits=self.logits).rsample(sample_shape)
        hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        return hard + (soft - soft.detach())  # in this order, which is exactly one-hot

    def sample(self, sample_shape: Any = _ONE) -> Tensor:  # noqa: D102
        with torch.no_grad():
            return super().sample(torch.Size(sample_shape))
