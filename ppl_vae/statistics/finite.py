"""Checks that examples and codes are numbers."""

from __future__ import annotations

from torch import Tensor


def check_finite(name: str, values: Tensor, what: str) -> Tensor:
    """The values (N, ...); ValueError if a row is NaN or infinite."""
    bad = (~values.isfinite()).flatten(1).any(1).nonzero()
    if len(bad):
        raise ValueError(f"{name} holds {len(bad)} {what} that are NaN or infinite, the first in row {int(bad[0])}")
    return values


def check_codes(z: Tensor, where: str) -> Tensor:
    """The codes z (B, ...) of the data ``where``; ValueError if one is NaN or infinite."""
    bad = (~z.isfinite()).flatten(1).any(1).nonzero()
    if len(bad):
        raise ValueError(
            f"the codes of {len(bad)} of the {len(z)} examples of {where} are NaN or infinite, the first in row "
            f"{int(bad[0])}; leave these out, or train a model that takes them"
        )
    return z
