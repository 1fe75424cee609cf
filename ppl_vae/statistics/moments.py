"""Mean and variance of vectors that come one at a time, and of quadratic functions of the mean, with standard errors.

|mean|^2 of R vectors exceeds |E v|^2 by the trace of their covariance over R, which ``Moments.squared`` takes out. Its
error is jackknifed over blocks of vectors. Where E v = 0 the jackknife is as noisy as what it measures, so there is a
floor, sqrt(2 tr(S^2)) for the covariance S of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCKS = 20  # of vectors, left out one at a time


@dataclass(frozen=True)
class Estimate:
    """Values with their standard errors, both (Ks,) and on the CPU."""

    value: Tensor
    stderr: Tensor

    def root(self) -> Estimate:
        """Square root of the positive part; its error is half the root's range over one error either way.

        Example:
            >>> root = Estimate(torch.tensor([4.0, -1.0]), torch.tensor([0.04, 4.0])).root()
            >>> [round(v, 3) for v in (*root.value.tolist(), *root.stderr.tolist())]
            [2.0, 0.0, 0.01, 1.0]
        """
        value = self.value.clamp(min=0)
        low, high = (value - self.stderr).clamp(min=0).sqrt(), (value + self.stderr).sqrt()
        return Estimate(value.sqrt(), (high - low) / 2)


class Moments:
    """Mean by entry, and variance summed over the entries, of blocks of vectors (Welford 1962).

    Args:
        size: entries of a vector.
        repeats: how many vectors there will be, at least 4.
        like: a tensor of the dtype and device to work in.
    """

    def __init__(self, size: int, repeats: int, like: Tensor) -> None:
        self.blocks, self.repeats = min(BLOCKS, repeats), repeats
        self.means = like.new_zeros(self.blocks, size)
        self.counts = torch.zeros(self.blocks, dtype=torch.float64)
        self.squares = torch.zeros(self.blocks, dtype=torch.float64)

    def add(self, index: int, vector: Tensor) -> None:
        """Take in vector number ``index``."""
        b = index * self.blocks // self.repeats
        self.counts[b] += 1
        change = vector - self.means[b]
        self.means[b] += change / self.counts[b].item()
        self.squares[b] += (change * (vector - self.means[b])).sum(dtype=torch.float64).cpu()

    def mean(self) -> Tensor:
        """Mean by entry."""
        return (self.counts.to(self.means) / self.repeats) @ self.means

    def squared(self, origin: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """|mean - origin|^2 free of noise, and the variance of one vector summed over its entries; (1 + blocks,) each.

        The first of either is of all vectors, the others leave out one block each.
        """
        center, spread = self._spread()
        shift = (center - origin).double()
        gram, along, offset = (spread @ spread.T).cpu(), (spread @ shift).cpu(), shift.square().sum().cpu()
        kept = 1 - torch.cat([torch.zeros(1, self.blocks), torch.eye(self.blocks)]).double()
        counts = kept * self.counts
        total = counts.sum(1)
        share = counts / total[:, None]
        moved = (share @ gram * share).sum(1)  # |mean - center|^2
        variance = (kept @ self.squares + counts @ gram.diagonal() - total * moved).clamp(min=0) / (total - 1)
        return offset + 2 * share @ along + moved - variance / total, variance

    def noise(self) -> Tensor:
        """Standard deviation of ``squared``'s first where the expected vector is the origin: sqrt(2 tr(S^2)), ().

        S is the covariance of the mean, whose tr(S^2) is estimated from the block means without bias (Srivastava 2005).
        """
        spread, n = self._spread()[1], self.blocks - 1
        gram = (spread @ spread.T).cpu() / n / self.blocks
        square = (gram.square().sum() - gram.trace().square() / n) * n**2 / ((n - 1) * (n + 2))
        least = gram.trace().square() / max(spread.shape[1], 1)
        return (2 * square.maximum(least)).sqrt()

    def _spread(self) -> tuple[Tensor, Tensor]:
        """The mean, and the block means around it."""
        center = self.mean()
        return center, (self.means - center).double()


def jackknife(values: Tensor, floor: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """The first value, and its standard error from the others, which leave one block out each; at least ``floor``.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 6.0])
        >>> value, error = jackknife(torch.tensor([x.mean(), *((x.sum() - v) / 2 for v in x)]))
        >>> torch.allclose(error, x.std() / 3**0.5)
        True
    """
    left, count = values[1:], len(values) - 1
    error = ((left - left.mean()).square().sum() * (count - 1) / count).sqrt()
    return values[0], error.clamp(min=torch.as_tensor(floor).to(error))
