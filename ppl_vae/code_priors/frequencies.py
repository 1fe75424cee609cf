"""Independent entries with the frequencies of the training data: p(c_t = k) = (n_tk + 1) / (N + K)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from .base import CodePrior, Stepper


class Frequencies(CodePrior):
    """Every entry has a categorical distribution of its own, that of the training codes with one added to each count.

    It is uniform until ``conclude`` counts the codes. A model that trains no other prior uses it.

    Source: Laplace's rule of succession.

    Example:
        >>> prior = Frequencies().attach((1,), 3)
        >>> prior.conclude([torch.tensor([[0], [0], [2]])])
        >>> prior().log_prob(torch.tensor([[0], [1], [2]])).exp()
        tensor([0.5000, 0.1667, 0.3333])
    """

    trained: ClassVar[bool] = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()

    def build(self, shape: tuple[int, ...], num_codes: int) -> None:  # noqa: D102
        self.register_buffer("counts", torch.zeros(*shape, num_codes))

    @torch.no_grad()
    def conclude(self, batches: Iterable[Tensor]) -> None:
        """Count the codes (B, *shape) of the training data, anew.

        Raises:
            ValueError: no codes, codes of another shape, or values that are not codes; the counts stay as they were.
        """
        self._check_attached()
        entries = self.counts[..., 0].numel()
        offsets = self.num_codes * torch.arange(entries, device=self.counts.device)
        counts = torch.zeros(entries * self.num_codes, dtype=torch.long, device=self.counts.device)
        for codes in batches:
            self.check_shape(codes)
            self.check_codes(codes)
            places = codes.to(self.counts.device).long().flatten(1) if self.shape else codes.long()[:, None]
            counts += torch.bincount((places + offsets).flatten(), minlength=len(counts))
        if not counts.any():
            raise ValueError("there are no codes to count: batches holds no rows")
        self.counts.copy_(counts.view_as(self.counts))

    def all_logits(self, codes: Tensor, seen: Tensor | None) -> Tensor:  # noqa: D102
        return self._log_shares().expand(len(codes), *self.counts.shape)

    def make_stepper(self, n: int, seen: Tensor | None) -> Stepper:  # noqa: D102
        return _Entries(self._log_shares().reshape(-1, self.num_codes), n)

    def _log_shares(self) -> Tensor:
        return ((self.counts + 1) / (self.counts.sum(-1, keepdim=True) + self.num_codes)).log()


class _Entries(Stepper):
    def __init__(self, logits: Tensor, n: int) -> None:
        super().__init__(len(logits))
        self.logits, self.n = logits, n

    def step(self, previous: Tensor | None) -> Tensor:
        return self.logits[self.entry].expand(self.n, -1)
