"""VectorQuantizer: each vector becomes the code that is nearest to it, e = argmin_k |z - e_k|^2."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_event, check_weight, nearest
from ..networks import full_precision
from ..parts import digest
from .base import DEAD, Counted, Quantized, counts_of, perplexity_of
from .distances import nearest_code
from .starting import checked, k_means
from .through import Through, passed
from .updates import CodebookUpdate, update_of

Metric = Literal["euclidean", "cosine"]
Start = Literal["kmeans", "normal"]


class VectorQuantizer(Counted):
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

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    candidates: Tensor
    dead: Tensor

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
        super().__init__(num_codes, dim)
        self.commitment = check_weight("commitment", commitment)
        self.update = update_of(update)
        self.metric: Metric = _word("metric", metric, Metric)
        self.gradient: Through = _word("gradient", gradient, Through)
        self.revive = check_weight("revive", revive)
        if revive >= 1:
            raise ValueError(f"revive must be below 1, since it is a part of an equal share of use, not {revive!r}")
        self.least = revive or DEAD
        self.start_from: Start = _word("start", start, Start)
        codes = self._placed(torch.randn(num_codes, dim))
        self.register_buffer("counts", torch.ones(num_codes))
        if self.update.learned:
            self.codebook = nn.Parameter(codes)
            if revive:
                self.register_buffer("candidates", torch.zeros_like(codes))
                self.register_buffer("dead", torch.zeros(num_codes, dtype=torch.bool))
        else:
            self.register_buffer("codebook", codes)
            self.register_buffer("sums", codes.clone())
        self._built = digest(codes)

    def forward(self, z: Tensor) -> Quantized:  # noqa: D102
        vectors = self._placed(full_precision(z))
        found = self.choose(vectors)
        return replace(found, values=passed(vectors, found.values, self.gradient).to(z.dtype))

    def choose(self, vectors: Tensor) -> Quantized:
        """Quantize as ``forward`` does, with values that pass no gradient on.

        Args:
            vectors: (..., dim) in float32 or better; of length 1 under the cosine metric.
        """
        check_event("z", vectors.shape, self.dim)
        if self.training and not self._deferred:
            self._replace()
        with torch.autocast(vectors.device.type, enabled=False):
            codebook, flat = self._codes().to(vectors.dtype), vectors.reshape(-1, self.dim)
            codes = nearest_code(flat.detach(), codebook.detach())
            chosen = F.embedding(codes, codebook)
            terms = {"commitment": _squared(flat - chosen.detach())}
            if self.update.learned:
                terms["codebook"] = _squared(flat.detach() - chosen)
            counts = counts_of(codes, self.num_codes, self.counts)
            if self.training:
                self._learn(flat.detach(), codes, counts)
        lead = vectors.shape[:-1]
        return Quantized(chosen.detach().reshape(vectors.shape), codes.reshape(lead), terms, perplexity_of(counts))

    def lookup(self, codes: Tensor) -> Tensor:  # noqa: D102
        return F.embedding(codes, self._codes())

    @property
    def fresh(self) -> bool:  # noqa: D102
        return self.start_from == "kmeans" and digest(self.codebook) == self._built

    @torch.no_grad()
    def start_at(self, vectors: Tensor) -> VectorQuantizer:
        """Start the codes at the centres of clusters of vectors (N, dim), and their counts at the clusters' sizes.

        Raises:
            ValueError: vectors of another size or with NaN or infinite values, or fewer distinct ones than codes.
        """
        centres, sizes = k_means(self._placed(checked(vectors, self.dim)), self.num_codes)
        centres, sizes = self._placed(centres).to(self.codebook), sizes.to(self.counts)
        self.codebook.copy_(centres)
        self.counts.copy_(sizes)
        self.usage.copy_(sizes / sizes.sum())
        if not self.update.learned:
            self.sums.copy_(sizes[:, None] * centres)
        elif self.revive:
            self.dead.zero_()
        return self

    def settle(self) -> None:  # noqa: D102
        super().settle()
        self._replace()

    def blank(self) -> tuple[list[Tensor], list[Tensor]]:  # noqa: D102
        of_codes = torch.zeros_like(self.codebook.detach())
        sums = [torch.zeros_like(self.counts)] + ([] if self.update.learned else [of_codes])
        return sums, ([of_codes.clone()] if self.revive else [])

    def _learn(self, vectors: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Learn of vectors (N, dim) and their codes (N,)."""
        sums, draws = [counts], []
        if not self.update.learned:  # a product, whose sums are in a fixed order on every device
            given = codes[:, None] == torch.arange(self.num_codes, device=codes.device)
            sums.append((given.to(vectors).T @ vectors).to(self.sums))
        if self.revive:
            draws.append(_drawn(vectors, self.num_codes).to(self.counts))
        self.learn(sums, draws)

    def absorb(self, counts: Tensor, *more: Tensor) -> None:  # noqa: D102
        super().absorb(counts)
        some = counts.sum() > 0
        part = (1 - self.update.decay) * some.to(counts)  # 0 where there were no vectors
        running = (1 - part) * self.counts + part * counts
        mean = running.mean()
        dead = (running < self.least * mean) & some
        if not self.update.learned:
            sums = (1 - part) * self.sums + part * more[0]
            codes = torch.where(some, self._placed(self.update.codes(running, sums)), self.codebook)
            if self.revive:
                codes = torch.where(dead[:, None], more[-1], codes)
                sums = torch.where(dead[:, None], mean * more[-1], sums)
            self.sums.copy_(sums)
            self.codebook.copy_(codes)
        elif self.revive:
            self.candidates.copy_(torch.where(dead[:, None], more[-1], self.candidates))
            self.dead.copy_(self.dead | dead)
        self.counts.copy_(torch.where(dead, mean, running) if self.revive else running)

    @torch.no_grad()
    def _replace(self) -> None:
        """Put vectors in the place of dead codes, and all codes on the sphere, where the codebook is a parameter."""
        if isinstance(self.codebook, nn.Parameter):  # in a captured step it is not, and cannot be changed
            if self.revive:
                self.codebook.copy_(torch.where(self.dead[:, None], self.candidates, self.codebook))
                self.dead.zero_()
            if self.metric == "cosine":  # rows that are there already keep their bits, however often this is called
                there = (self.codebook.norm(dim=1, keepdim=True) - 1).abs() < 1e-6
                self.codebook.copy_(torch.where(there, self.codebook, self._placed(self.codebook)))

    def _codes(self) -> Tensor:
        """The codes' vectors in float32 or better; an optimizer may have taken a parameter from the sphere."""
        codebook = full_precision(self.codebook)
        return self._placed(codebook) if self.update.learned else codebook

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1, eps=1e-6) if self.metric == "cosine" else vectors

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_codes={self.num_codes}, dim={self.dim}, metric={self.metric!r}, revive={self.revive:g}"


def _squared(difference: Tensor) -> Tensor:
    return difference.square().sum(-1).mean()


def _drawn(vectors: Tensor, k: int) -> Tensor:
    """k of the vectors (N, dim) at random, different ones where that can be; zeros where there are none."""
    n, device = len(vectors), vectors.device
    if not n:
        return vectors.new_zeros(k, vectors.shape[1])
    return vectors[torch.randperm(n, device=device)[:k] if n >= k else torch.randint(n, (k,), device=device)]


def _word(argument: str, value: str, choices: object) -> str:
    if value not in get_args(choices):
        raise ValueError(f"{argument} {value!r} is unknown; {nearest(str(value), get_args(choices))}")
    return value
