"""The inverse of softplus(x) = log(1 + e^x): y + log(1 - e^-y), which does not overflow."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value", float, Tensor)


def inverse_softplus(value: Value) -> Value:
    """The number, or tensor of any shape, whose softplus is ``value`` > 0.

    Example:
        >>> round(inverse_softplus(1.0), 6)
        0.541325
    """
    if isinstance(value, Tensor):
        return value + (-value).expm1().neg().log()
    return value + math.log(-math.expm1(-value))
