"""The mean of a distribution, sampled where no formula is known."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .multinomial import Multinomial

DRAWS = 256


def mean_of(p: Any, like: Tensor | None = None) -> Tensor:
    """Mean (*batch_shape, *event_shape) of a distribution; the average of 256 draws if no formula is known.

    Args:
        p: the distribution.
        like: data (..., *event_shape); the mean of a ``Multinomial`` uses their totals.

    Example:
        >>> import torch
        >>> mean_of(Multinomial(torch.zeros(4)), like=torch.tensor([3.0, 5.0, 0.0, 0.0]))
        tensor([2., 2., 2., 2.])
    """
    if like is not None and isinstance(p, Multinomial):
        return p.mean_for(like)
    try:
        return p.mean
    except (NotImplementedError, AttributeError):
        return p.sample((DRAWS,)).mean(0)
