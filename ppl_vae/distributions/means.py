"""Mean and variance of a distribution, sampled where no formula is known."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .given_total import GivenTotal

DRAWS = 256


def mean_of(p: Any, like: Tensor | None = None) -> Tensor:
    """Mean (*batch_shape, *event_shape) of a distribution; the average of 256 draws if no formula is known.

    Args:
        p: the distribution.
        like: data (..., *event_shape); the mean of counts given their total uses that of each row.

    Example:
        >>> import torch
        >>> from ppl_vae.distributions.multinomial import Multinomial
        >>> mean_of(Multinomial(torch.zeros(4)), like=torch.tensor([3.0, 5.0, 0.0, 0.0]))
        tensor([2., 2., 2., 2.])
    """
    if like is not None and isinstance(p, GivenTotal):
        return p.mean_for(like)
    try:
        return p.mean
    except (NotImplementedError, AttributeError):
        return p.sample((DRAWS,)).mean(0)


def mean_and_variance(p: Any, draws: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every entry of a distribution, from so many draws where they are not known."""
    try:
        return p.mean, p.variance
    except (NotImplementedError, AttributeError):
        sample = p.sample((draws,))
        return sample.mean(0), sample.var(0)
