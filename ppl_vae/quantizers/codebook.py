"""A codebook and what it learns of a batch without gradients: running counts, EMA codes, the revival of dead codes.

dead:  N_k < revive * mean of N, the running counts; the code becomes a random vector of the batch, N_k the mean
"""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_weight
from ..networks import full_precision
from ..parts import digest
from .base import DEAD, Counted
from .starting import checked, k_means
from .updates import CodebookUpdate

Metric = Literal["euclidean", "cosine"]


class Codebook(Counted):
    """Base of the quantizer with a codebook; a subclass quantizes, and calls ``learn_of`` in training mode.

    Args:
        num_codes: size of the codebook.
        dim: size of a vector.
        update: how codes are updated.
        metric: "cosine" for vectors and codes of length 1, else "euclidean".
        revive: the part of an equal share of use below which a code is dead; 0 for no revival.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    candidates: Tensor
    dead: Tensor

    def __init__(self, num_codes: int, dim: int, update: CodebookUpdate, metric: Metric, revive: float) -> None:
        super().__init__(num_codes, dim)
        self.update, self.metric = update, metric
        self.revive = check_weight("revive", revive)
        if revive >= 1:
            raise ValueError(f"revive must be below 1, since it is a part of an equal share of use, not {revive!r}")
        self.least = revive or DEAD
        codes = self.placed(torch.randn(num_codes, dim))
        self.register_buffer("counts", torch.ones(num_codes))
        if update.learned:
            self.codebook = nn.Parameter(codes)
            if revive:
                self.register_buffer("candidates", torch.zeros_like(codes))
                self.register_buffer("dead", torch.zeros(num_codes, dtype=torch.bool))
        else:
            self.register_buffer("codebook", codes)
            self.register_buffer("sums", codes.clone())
        self._built = digest(codes)

    @property
    def untouched(self) -> bool:
        """Whether the codes are those it was built with: not set, loaded or trained."""
        return digest(self.codebook) == self._built

    @torch.no_grad()
    def start_at(self, vectors: Tensor) -> Self:
        """Start the codes at the centres of clusters of vectors (N, dim), and their counts at the clusters' sizes.

        Raises:
            ValueError: vectors of another size or with NaN or infinite values, or fewer distinct ones than codes.
        """
        centres, sizes = k_means(self.placed(checked(vectors, self.dim)), self.num_codes)
        centres, sizes = self.placed(centres).to(self.codebook), sizes.to(self.counts)
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
        self.replace_dead()

    def blank(self) -> tuple[list[Tensor], list[Tensor]]:  # noqa: D102
        of_codes = torch.zeros_like(self.codebook.detach())
        sums = [torch.zeros_like(self.counts)] + ([] if self.update.learned else [of_codes])
        return sums, ([of_codes.clone()] if self.revive else [])

    def learn_of(self, vectors: Tensor, codes: Tensor, counts: Tensor) -> None:
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
            codes = torch.where(some, self.placed(self.update.codes(running, sums)), self.codebook)
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
    def replace_dead(self) -> None:
        """Put vectors in the place of dead codes, and all codes on the sphere, where the codebook is a parameter."""
        if isinstance(self.codebook, nn.Parameter):  # in a captured step it is not, and cannot be changed
            if self.revive:
                self.codebook.copy_(torch.where(self.dead[:, None], self.candidates, self.codebook))
                self.dead.zero_()
            if self.metric == "cosine":  # rows that are there already keep their bits, however often this is called
                there = (self.codebook.norm(dim=1, keepdim=True) - 1).abs() < 1e-6
                self.codebook.copy_(torch.where(there, self.codebook, self.placed(self.codebook)))

    def codes(self) -> Tensor:
        """The codes' vectors in float32 or better; an optimizer may have taken a parameter from the sphere."""
        codebook = full_precision(self.codebook)
        return self.placed(codebook) if self.update.learned else codebook

    def placed(self, vectors: Tensor) -> Tensor:
        """Vectors as they are quantized: of length 1 under the cosine metric."""
        return F.normalize(vectors, dim=-1, eps=1e-6) if self.metric == "cosine" else vectors


def _drawn(vectors: Tensor, k: int) -> Tensor:
    """k of the vectors (N, dim) at random, different ones where that can be; zeros where there are none."""
    n, device = len(vectors), vectors.device
    if not n:
        return vectors.new_zeros(k, vectors.shape[1])
    return vectors[torch.randperm(n, device=device)[:k] if n >= k else torch.randint(n, (k,), device=device)]
