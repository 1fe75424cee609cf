"""ResidualQuantizer: stages, each of which quantizes what the stages before it have left of a vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..checks import check_size
from ..networks import full_precision
from .base import Quantized
from .distances import nearest_code
from .several import Several, added, mean
from .starting import checked
from .through import Through, passed
from .updates import CodebookUpdate
from .vector import Start, VectorQuantizer


class ResidualQuantizer(Several):
    """Codes e_1 + ... + e_S, where e_s is the code of stage s that is nearest to z - e_1 - ... - e_{s-1}.

    Terms are sums over stages, |z - e_1 - ... - e_s|^2 each. The gradient of the values passes to z once, as if the sum
    were one code.

    Args:
        num_codes: size of each stage's codebook.
        dim: size of a vector.
        stages: number of stages, the size of a code.
        commitment: as for ``VectorQuantizer``.
        update: as for ``VectorQuantizer``; a part serves all stages.
        gradient: as for ``VectorQuantizer``.
        revive: as for ``VectorQuantizer``.
        start: as for ``VectorQuantizer``.

    Raises:
        ValueError: what ``VectorQuantizer`` refuses.

    Source: Zeghidour et al. 2021, "SoundStream: an end-to-end neural audio codec", section III.C.

    Example:
        >>> q = ResidualQuantizer(num_codes=8, dim=2, stages=3)
        >>> out = q(torch.randn(5, 2))
        >>> out.values.shape, out.codes.shape
        (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        num_codes: int = 128,
        dim: int = 16,
        stages: int = 4,
        commitment: float = 0.25,
        update: CodebookUpdate | Literal["ema", "gradient"] = "ema",
        gradient: Through = "straight-through",
        revive: float = 0.1,
        start: Start = "kmeans",
    ) -> None:
        more = (commitment, update, "euclidean", gradient, revive, start)
        count = check_size("stages", stages)
        super().__init__(dim, [VectorQuantizer(num_codes, dim, *more) for _ in range(count)])
        self.gradient: Through = gradient

    def forward(self, z: Tensor) -> Quantized:  # noqa: D102
        self.check(z)
        whole = full_precision(z)
        left, found, total = whole, [], torch.zeros_like(whole)
        for part in self.parts:
            found.append(part.choose(left))
            left, total = left - found[-1].values, total + found[-1].values
        return Quantized(
            passed(whole, total, self.gradient).to(z.dtype),
            torch.stack([each.codes for each in found], -1),
            added([each.loss_terms for each in found]),
            mean([each.perplexity for each in found]),
        )

    def lookup(self, codes: Tensor) -> Tensor:  # noqa: D102
        return torch.stack([part.lookup(own) for part, own in zip(self.parts, codes.unbind(-1), strict=True)]).sum(0)

    @torch.no_grad()
    def start_at(self, vectors: Tensor) -> ResidualQuantizer:
        """Start every stage's codes at what is left of vectors (N, dim), as ``VectorQuantizer.start_at``."""
        left = checked(vectors, self.dim)
        for part in self.parts:
            part.start_at(left)
            codebook = part.codebook.detach().to(left)
            left = left - codebook[nearest_code(left, codebook)]
        return self
