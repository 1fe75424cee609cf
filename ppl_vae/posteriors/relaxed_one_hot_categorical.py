"""Relaxed one-hot categorical posterior on the simplex: z = softmax((l(x) + g) / T), g_k Gumbel.

The temperature T may follow a schedule over the optimizer steps. A code of several variables is their points side by
side. Codes that are exactly one-hot are ``GumbelSoftmax``'s.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions, supports
from .tempered import Tempered


class RelaxedOneHotCategorical(Tempered):
    """Concrete (Gumbel-softmax) distribution with logits linear in the features. A density, reparameterised.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code: number of classes, of all groups together.
        temperature: T, a positive number; or a schedule, a function of the optimizer step, such as
            ``handlers.Linear(steps=1000, start=1.0, end=0.5)``. The current temperature is saved with the weights.
        groups: number of categorical variables, each of dim / groups classes, at least 2; as many as the prior's, which
            the shell takes if none is given.
        end_temperature: T that a temperature given as a number moves to, linearly; None stays where it is.
        steps: optimizer steps until ``end_temperature``; 1,000 if not given.

    Raises:
        ValueError: groups that do not divide dim into at least 2 classes each, a temperature that is not a positive
            number or schedule, or a schedule and an end_temperature.

    Source: Maddison et al. 2017, "The Concrete distribution", whose posterior temperature is 2/3; Jang et al. 2017.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> RelaxedOneHotCategorical(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).event_shape
        torch.Size([4])
    """

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        temperature: float | Callable[[int], float] = 0.6666666666666666,
        groups: int = 1,
        end_temperature: float | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__(network, dim, temperature, groups, end_temperature, steps)
        self.support = supports.grouped(constraints.simplex, groups) if groups > 1 else constraints.simplex

    def forward(self, x: Tensor, y: Tensor | None = None) -> distributions.RelaxedOneHotCategorical:
        """Relaxed one-hot categorical of batch shape (B,) and event shape (dim,)."""
        return self.made(distributions.RelaxedOneHotCategorical, x, y)
