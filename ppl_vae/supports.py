"""Supports in words: which constraint sets are the same set, so that parts can be matched and errors can name them."""

from __future__ import annotations

from typing import Any

from torch.distributions import constraints


def name(support: Any) -> str:
    """The set that a constraint describes, in words; equal sets have equal names.

    Wrappers over event dimensions and mixtures are taken off. Boundaries of measure zero make no difference: positive
    and non-negative are one set, and so are the open and the closed unit interval.

    Example:
        >>> name(constraints.independent(constraints.real, 1)), name(constraints.interval(0.0, 1.0))
        ('the reals', 'the unit interval')
    """
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if hasattr(support, "_component_support"):  # what pyro and torch call the support of mixtures
        return name(support._component_support)
    kind = type(support).__name__.strip("_").lower()
    if isinstance(support, constraints.interval):
        low, high = float(support.lower_bound), float(support.upper_bound)
        return "the unit interval" if (low, high) == (0.0, 1.0) else f"the interval [{low:g}, {high:g}]"
    if kind in ("greaterthan", "greaterthaneq"):
        low = float(support.lower_bound)
        return "the positive numbers" if low == 0 else f"the numbers above {low:g}"
    known = {
        "real": "the reals",
        "softpluspositive": "the positive numbers",
        "simplex": "the simplex",
        "sphere": "the sphere",
        "boolean": "{0, 1}",
        "onehot": "one-hot vectors",
        "integergreaterthaneq": "the counts",
        "integergreaterthan": "the counts",
        "multinomial": "the counts",
        "integerinterval": "the whole numbers of an interval",
    }
    return known.get(kind, repr(support))


def same(a: Any, b: Any) -> bool:
    """Whether two constraints describe one set.

    Example:
        >>> same(constraints.positive, constraints.independent(constraints.nonnegative, 1))
        True
    """
    return name(a) == name(b)
