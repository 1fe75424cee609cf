"""Categorical posterior over one-hot codes whose gradients are straight-through: those of Gumbel-softmax samples.

    z_k = 1 for k = argmax_j (l_j(x) + g_j), g Gumbel;    dz taken to be d softmax((l(x) + g) / T)

Codes, their probabilities and the KL are those of the categorical variable, in training and in evaluation, so that
every value is of the discrete model. The temperature T changes gradients only: they are biased, less so for small T,
and noisy for small T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions, supports
from .tempered import Tempered


class GumbelSoftmax(Tempered):
    """One-hot codes of one or of ``groups`` categorical variables, with straight-through gradients. A mass.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code: number of classes, of all groups together.
        temperature: T, a positive number; or a schedule, a function of the optimizer step, such as
            ``handlers.Linear(steps=1000, start=1.0, end=0.5)``. The current temperature is saved with the weights.
        groups: number of categorical variables, each of dim / groups classes, at least 2; as many as the prior's, which
            the shell takes if none is given.
        end_temperature: T that a temperature given as a number moves to, linearly; None stays where it is.
        steps: optimizer steps until ``end_temperature``; 1,000 if not given.

    Needs ``estimators.MeanFieldELBO``, the default, and a prior whose KL is known, ``priors.OneHotCategorical``: log
    q(z) of a one-hot code has no gradient through z. The loss is then E_q[-log p(x | z)] + KL(q || p), with the KL and
    its gradient exact. Evaluation takes any number of samples: bounds and log-likelihood are of the discrete model, and
    compare with those of ``OneHotCategorical`` and with the bits of a VQ-VAE.

    Raises:
        ValueError: groups that do not divide dim into at least 2 classes each, a temperature that is not a positive
            number or schedule, or a schedule and an end_temperature.

    Source: Jang et al. 2017, "Categorical reparameterization with Gumbel-softmax", section 2.2.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> GumbelSoftmax(networks.MLP(6, [8]), 64, groups=8)(torch.zeros(2, 6)).rsample().sum(-1).tolist()
        [8.0, 8.0]
    """

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        temperature: float | Callable[[int], float] = 1.0,
        groups: int = 1,
        end_temperature: float | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__(network, dim, temperature, groups, end_temperature, steps)
        self.support = supports.grouped(constraints.one_hot, groups) if groups > 1 else constraints.one_hot

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        """Categorical of batch shape (B,) and event shape (dim,), with straight-through samples."""
        return self.made(distributions.GumbelSoftmax, x, y)
