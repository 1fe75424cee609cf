"""Base of the likelihoods of counts: the decoder gives their means, or their shares of the row's total."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..distributions.given_total import CountsOfTotal
from .base import Likelihood
from .spread import positive, unpositive


class Counts(Likelihood):
    """Counts of a family with a mean, m_i = softplus(r_i), or m_i = N softmax(r)_i given the row's total N.

    With ``total="observed"`` N = sum_i x_i is treated as known, as the library size of a cell or the length of a
    document: log p(x | z, N). N then needs no code, and doubling a row doubles its means. Such figures compare only
    among models with the same ``total``. Samples have the mean total of the training data, which ``start_at`` stores
    (100 before); decoded codes of given rows have the totals of these rows. Single entries cannot be missing.

    Source: library sizes: Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics".
    """

    support = constraints.nonnegative_integer
    mass = True
    usual_total: Tensor

    def _set_total(self, total: str | None) -> None:
        """To call at the end of a constructor."""
        if total not in (None, "observed"):
            raise ValueError(
                f"total must be None (the decoder gives means) or 'observed' (it gives shares of the sum of each row), "
                f"not {total!r}"
            )
        self.given_total = total is not None
        if self.given_total:
            if math.prod(self.shape) < 2:
                raise ValueError(f"total='observed' needs at least 2 entries a row to share it, not shape {self.shape}")
            self.entrywise = False
            self.register_buffer("usual_total", torch.tensor(100.0))

    def counts(self, family: Callable[..., Any], raw: Tensor, *parameters: Tensor) -> TorchDistribution:
        """The family at the means that the head's output ``raw`` (..., *shape) stands for, over events."""
        if self.given_total:
            return CountsOfTotal(raw, family, parameters, self.usual_total, event_dim=len(self.shape))
        return family(positive(raw), *parameters).to_event(len(self.shape))

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Counts:
        """Start at the data's means, and store the mean total for samples."""
        super().start_at(mean, std)
        if self.given_total:
            self.usual_total.fill_(mean.sum().clamp(min=1))
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """Inverse softplus of the mean, clamped to at least 0.001; given the total, its log, at least log 0.0001."""
        return mean.clamp(min=1e-4).log() if self.given_total else unpositive(mean)


def concentration_for(mean: Tensor, std: Tensor) -> Tensor:
    """One r at which negative binomials have about these moments, but at least 1 and at most 100.

    The code explains a part of the variance, so that r ends above the r of the moments; from a small one the steps of
    an optimizer do not get there.

    Example:
        >>> concentration_for(torch.tensor([5.0]), torch.tensor([4.0]))
        tensor(2.2727)
    """
    excess = (std.square() - mean).mean().clamp(min=1e-6)
    return (mean.square().mean() / excess).clamp(1.0, 100.0)
