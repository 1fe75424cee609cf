"""The base of quantizers that are made of several, all with codebooks of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_event
from .base import Quantizer
from .vector import VectorQuantizer


class Several(Quantizer):
    """Base of the quantizers made of several ``VectorQuantizer``.

    Attributes:
        parts: the quantizers, in the order of the entries of a code.
    """

    parts: Any

    def __init__(self, dim: int, parts: Sequence[VectorQuantizer]) -> None:
        super().__init__()
        self.dim, self.num_codes, self.code_shape = dim, parts[0].num_codes, (len(parts),)
        self.commitment = parts[0].commitment
        self.parts = nn.ModuleList(parts)

    @property
    def fresh(self) -> bool:  # noqa: D102
        return all(part.fresh for part in self.parts)

    def check(self, z: Tensor) -> None:
        """ValueError unless z has shape (..., dim)."""
        check_event("z", z.shape, self.dim)

    def settle(self) -> None:  # noqa: D102
        for part in self.parts:
            part.settle()

    def defer(self) -> None:  # noqa: D102
        for part in self.parts:
            part.defer()

    def figures(self) -> dict[str, Tensor]:  # noqa: D102
        each = [part.figures() for part in self.parts]
        return {
            "usage": torch.stack([figures["usage"] for figures in each]).mean(),
            "dead_codes": torch.stack([figures["dead_codes"] for figures in each]).sum(),
        }


def added(terms: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Terms of several quantizers added up by name."""
    return {name: torch.stack([each[name] for each in terms]).sum() for name in terms[0]}


def mean(scalars: Sequence[Tensor]) -> Tensor:
    """The mean of scalars."""
    return torch.stack([*scalars]).mean()
