"""VectorQuantizer: each vector becomes the code that is nearest to it, e = argmin_k |z - e_k|^2."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_event, check_weight, nearest
from ..networks import full_precision
from .base import Quantized, counts_of, perplexity_of
from .codebook import Codebook, Metric
from .distances import nearest_code
from .through import Through, passed
from .updates import CodebookUpdate, update_of

Start = Literal["kmeans", "normal"]


class VectorQuantizer(Codebook):
    """One codebook for vectors of size ``dim``.

    Distances and running statistics are computed in float32 or better, also under autocast and for half-precision
    vectors. In training mode a call updates the running statistics, and with them the codes of ``EMA``.

    Args:
        num_codes: size of the codebook.
        dim: size of a vector.
        commitment: weight of the commitment term |z - sg e|^2 in ``cost``.
        update: "ema", "gradient", or a part such as ``EMA(0.95)``.
        metric: "euclidean", or "cosine" for vectors and codes of length 1: the values and all terms are then those of
            z / |z|, and gradients pass through that division.
        gradient: how gradients pass to z: "straight-through", or "rotation" (Fifty et al. 2024).
        revive: a code whose running share of use falls below revive / num_codes is replaced by a random vector of the
            batch; 0 for never.
        start: "kmeans" for a model that gives the codes vectors of its encoder to start at, as ``VQVAE`` does in
            ``fit``; "normal" to keep the random codes they are built with.

    Attributes:
        codebook: the codes' vectors, (num_codes, dim); a parameter with the update "gradient", else a buffer.
        counts: running counts of the codes, (num_codes,), by which dead ones are found.

    Raises:
        TypeError: an update that is neither a word nor a part.
        ValueError: a size below 1, a negative or infinite weight, or an unknown word.

    Source: van den Oord et al. 2017, "Neural discrete representation learning".

    Example:
        >>> q = VectorQuantizer(num_codes=8, dim=2)
        >>> out = q(torch.randn(5, 7, 2))
        >>> out.values.shape, out.codes.shape, sorted(out.loss_terms)
        (torch.Size([5, 7, 2]), torch.Size([5, 7]), ['commitment'])
    """

    def __init__(
        self,
        num_codes: int = 128,
        dim: int = 16,
        commitment: float = 0.25,
        update: CodebookUpdate | Literal["ema", "gradient"] = "ema",
        metric: Metric = "euclidean",
        gradient: Through = "straight-through",
        revive: float = 0.1,
        start: Start = "kmeans",
    ) -> None:
        super().__init__(num_codes, dim, update_of(update), _word("metric", metric, Metric), revive)
        self.commitment = check_weight("commitment", commitment)
        self.gradient: Through = _word("gradient", gradient, Through)
        self.start_from: Start = _word("start", start, Start)

    def forward(self, z: Tensor) -> Quantized:  # noqa: D102
        vectors = self.placed(full_precision(z))
        found = self.choose(vectors)
        return replace(found, values=passed(vectors, found.values, self.gradient).to(z.dtype))

    def choose(self, vectors: Tensor) -> Quantized:
        """Quantize as ``forward`` does, with values that pass no gradient on.

        Args:
            vectors: (..., dim) in float32 or better; of length 1 under the cosine metric.
        """
        check_event("z", vectors.shape, self.dim)
        if self.training and not self._deferred:
            self.replace_dead()
        with torch.autocast(vectors.device.type, enabled=False):
            codebook, flat = self.codes().to(vectors.dtype), vectors.reshape(-1, self.dim)
            codes = nearest_code(flat.detach(), codebook.detach())
            chosen = F.embedding(codes, codebook)
            terms = {"commitment": _squared(flat - chosen.detach())}
            if self.update.learned:
                terms["codebook"] = _squared(flat.detach() - chosen)
            counts = counts_of(codes, self.num_codes, self.counts)
            if self.training:
                self.learn_of(flat.detach(), codes, counts)
        lead = vectors.shape[:-1]
        return Quantized(chosen.detach().reshape(vectors.shape), codes.reshape(lead), terms, perplexity_of(counts))

    def lookup(self, codes: Tensor) -> Tensor:  # noqa: D102
        return F.embedding(codes, self.codes())

    @property
    def fresh(self) -> bool:  # noqa: D102
        return self.start_from == "kmeans" and self.untouched

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_codes={self.num_codes}, dim={self.dim}, metric={self.metric!r}, revive={self.revive:g}"


def _squared(difference: Tensor) -> Tensor:
    return difference.square().sum(-1).mean()


def _word(argument: str, value: str, choices: object) -> str:
    if value not in get_args(choices):
        raise ValueError(f"{argument} {value!r} is unknown; {nearest(str(value), get_args(choices))}")
    return value
