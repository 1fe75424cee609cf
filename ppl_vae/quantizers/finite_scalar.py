"""FiniteScalarQuantizer: every entry is bounded and rounded to one of a few levels.

z_i -> round(tanh(z_i + s) h - o),  h = (L - 1)(1 + 1e-3) / 2,  o = 1/2 for even L, else 0,  s = atanh(o / h)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import check_event, check_size
from ..networks import full_precision
from .base import Counted, Quantized, counts_of, perplexity_of
from .through import straight_through

MOST = 2**24  # codes, whose use is counted in float32


class FiniteScalarQuantizer(Counted):
    """Rounds entry i of a vector to ``levels[i]`` levels, with the gradient of the bounding tanh; nothing is learned.

    Values are k / floor(L / 2) for whole numbers k: from -1 to 1 for odd L, from -1 to 1 - 2 / L for even L. A code is
    one number whose digits are the entries' levels, the first entry's the lowest. There are no terms for the loss.
    With two levels the bound is not shifted, so that they are equally likely at 0.

    Args:
        levels: number of levels of every entry, at least 2 each; dim is how many there are.

    Raises:
        ValueError: no levels, fewer than 2 of an entry, or more than 2^24 codes.

    Source: Mentzer et al. 2023, "Finite scalar quantization: VQ-VAE made simple".

    Example:
        >>> q = FiniteScalarQuantizer((8, 5, 5, 5))
        >>> q.num_codes, q(torch.zeros(1, 4)).codes
        (1000, tensor([500]))
    """

    commitment = 0.0
    sizes: Tensor
    places: Tensor

    def __init__(self, levels: Sequence[int] = (8, 5, 5, 5)) -> None:
        if isinstance(levels, int) or not len(levels):
            raise ValueError(
                f"levels must hold the number of levels of every entry, such as (8, 5, 5, 5), not {levels!r}"
            )
        levels = tuple(check_size("levels", size, least=2) for size in levels)
        if math.prod(levels) > MOST:
            raise ValueError(
                f"levels make {math.prod(levels)} codes, and at most {MOST} are counted; use fewer or smaller levels"
            )
        super().__init__(math.prod(levels), len(levels))
        self.levels = levels
        places = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("sizes", torch.tensor(levels), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, z: Tensor) -> Quantized:  # noqa: D102
        check_event("z", z.shape, self.dim)
        with torch.autocast(z.device.type, enabled=False):
            bounded = self._bounded(full_precision(z))
            level = bounded.detach().round()
            half = self.sizes // 2
            codes = ((level.long() + half) * self.places).sum(-1)
            counts = counts_of(codes, self.num_codes, self.usage)
            if self.training:
                self.learn([counts], [])
        values = straight_through(bounded, level) / half
        return Quantized(values.to(z.dtype), codes, {}, perplexity_of(counts))

    def lookup(self, codes: Tensor) -> Tensor:  # noqa: D102
        half = self.sizes // 2
        return (codes[..., None] // self.places % self.sizes - half).to(self.usage) / half

    def _bounded(self, z: Tensor) -> Tensor:
        sizes = self.sizes.to(z)
        reach = (sizes - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.sizes % 2 == 0, 0.5, 0.0).to(z)
        shift = torch.where(self.sizes == 2, torch.zeros_like(reach), (offset / reach).atanh())
        return (z + shift).tanh() * reach - offset

    def extra_repr(self) -> str:  # noqa: D102
        return f"levels={self.levels}"
