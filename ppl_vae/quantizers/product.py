"""ProductQuantizer: the entries of a vector in groups, each of which has a codebook of its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..checks import check_size
from .base import Quantized
from .several import Several, added, mean
from .starting import checked
from .through import Through
from .updates import CodebookUpdate
from .vector import Metric, Start, VectorQuantizer


class ProductQuantizer(Several):
    """``groups`` codebooks, each for the next dim / groups entries: num_codes ** groups vectors in all.

    Args:
        num_codes: size of each codebook.
        dim: size of a vector, divisible by ``groups``.
        groups: number of groups, the size of a code.
        commitment: as for ``VectorQuantizer``.
        update: as for ``VectorQuantizer``; a part serves all groups.
        metric: as for ``VectorQuantizer``, of each group.
        gradient: as for ``VectorQuantizer``, of each group.
        revive: as for ``VectorQuantizer``.
        start: as for ``VectorQuantizer``.

    Raises:
        ValueError: a dim that groups do not divide; what ``VectorQuantizer`` refuses.

    Source: Jegou et al. 2011, "Product quantization for nearest neighbor search".

    Example:
        >>> q = ProductQuantizer(num_codes=8, dim=6, groups=3)
        >>> out = q(torch.randn(5, 6))
        >>> out.values.shape, out.codes.shape
        (torch.Size([5, 6]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        num_codes: int = 128,
        dim: int = 16,
        groups: int = 4,
        commitment: float = 0.25,
        update: CodebookUpdate | Literal["ema", "gradient"] = "ema",
        metric: Metric = "euclidean",
        gradient: Through = "straight-through",
        revive: float = 0.1,
        start: Start = "kmeans",
    ) -> None:
        if check_size("dim", dim) % check_size("groups", groups):
            fit = ", ".join(str(n) for n in range(1, dim + 1) if dim % n == 0)
            raise ValueError(f"groups must divide dim, which is {dim}: choose from {fit}, not {groups}")
        size, more = dim // groups, (commitment, update, metric, gradient, revive, start)
        super().__init__(dim, [VectorQuantizer(num_codes, size, *more) for _ in range(groups)])

    def forward(self, z: Tensor) -> Quantized:  # noqa: D102
        self.check(z)
        found = [part(own) for part, own in zip(self.parts, z.chunk(len(self.parts), -1), strict=True)]
        return Quantized(
            torch.cat([each.values for each in found], -1),
            torch.stack([each.codes for each in found], -1),
            added([each.loss_terms for each in found]),
            mean([each.perplexity for each in found]),
        )

    def lookup(self, codes: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([part.lookup(own) for part, own in zip(self.parts, codes.unbind(-1), strict=True)], -1)

    def start_at(self, vectors: Tensor) -> ProductQuantizer:
        """Start every group's codes at its entries of vectors (N, dim), as ``VectorQuantizer.start_at``."""
        vectors = checked(vectors, self.dim)
        for part, own in zip(self.parts, vectors.chunk(len(self.parts), -1), strict=True):
            part.start_at(own)
        return self
