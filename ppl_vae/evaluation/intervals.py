"""Imputation intervals: entries that are known are hidden, drawn again, and compared.

    x_m ~ p(x_m | z),   z ~ q(z | x_o)

The K draws of a hidden entry give its central interval. If the model and q are right, the truth and the draws are
exchangeable: the truth's rank among them, ties broken at random, is uniform, and the interval holds the truth with its
nominal probability, for numbers as for levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import supports
from ..checks import check_share, check_size
from ..models import VAE
from .doors import batches, check_data, evaluating

NUMBERS = 2**21  # drawn in one piece


@dataclass(frozen=True)
class Intervals:
    """Hidden entries of a table and what was drawn in their place, one entry a place of the vectors.

    Attributes:
        row: (M,) rows of x.
        column: (M,) columns of x.
        truth: (M,) what was hidden.
        low: (M,) the interval's lower end.
        middle: (M,) median of the draws.
        high: (M,) the interval's upper end.
        agreeing: (M,) share of the draws that equal the truth: of columns with levels, the truth's probability.
        rank: (M,) in (0, 1), the truth's rank among the draws, ties broken at random; uniform if the model is right.
        level: nominal coverage.
    """

    row: Tensor
    column: Tensor
    truth: Tensor
    low: Tensor
    middle: Tensor
    high: Tensor
    agreeing: Tensor
    rank: Tensor
    level: float

    @property
    def covered(self) -> Tensor:
        """Whether each interval holds its truth, bool (M,)."""
        return (self.rank - 0.5).abs() <= self.level / 2

    def coverage(self, column: int | None = None) -> tuple[float, float]:
        """The share of intervals that hold their truth and its standard error, of one column or of all.

        The error of one column is that of as many independent intervals of the nominal coverage, which is never 0. That
        of all columns counts each row once, since the entries of a row depend on each other. NaN without entries.
        """
        chosen = self.covered if column is None else self.covered[self.column == column]
        if not len(chosen):
            return math.nan, math.nan
        value = chosen.double().mean().item()
        if column is None:
            excess, rows = self.covered.double() - value, torch.unique(self.row, return_inverse=True)[1]
            sums = torch.zeros(int(rows.max()) + 1, dtype=torch.float64).index_add(0, rows, excess)
            return value, sums.square().sum().sqrt().item() / len(chosen)
        return value, math.sqrt(self.level * (1 - self.level) / len(chosen))


def imputation_intervals(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    level: float = 0.9,
    parts: int = 5,
    num_samples: int = 99,
    seed: int = 0,
    weighted: bool = False,
) -> Intervals:
    """Hide every known entry of x once, a random part of each row at a time, and draw it given the rest of its row.

    Args:
        vae: a VAE whose likelihood takes missing entries: ``likelihoods.Columns``, or any in ``likelihoods.Missing``.
        x: (B, D), NaN where missing.
        y: labels (B, ...), or None.
        level: nominal coverage of the intervals.
        parts: into how many parts the entries are divided, each hidden at once; at least 2.
        num_samples: draws of each hidden entry.
        seed: of the parts and the draws.
        weighted: whether the draws of z are resampled with importance weights, towards the exact posterior.

    Raises:
        TypeError: a model that is no VAE, or a number in the place of y.
        ValueError: a likelihood that takes no missing entries, no known entry, rows that are not vectors, data outside
            the support, or labels that do not fit.

    Source: ranks, Talts et al. 2018, "Validating Bayesian inference algorithms with simulation-based calibration".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.TableEncoder(3, [8]), 2),
        ...     likelihoods.Columns(networks.MLP(2, [8]), 3),
        ... )
        >>> found = imputation_intervals(vae, torch.randn(20, 3))
        >>> len(found.truth), 0 <= found.coverage(0)[0] <= 1
        (60, True)
    """
    if not isinstance(vae, VAE):
        raise TypeError(f"vae must be a VAE to draw missing entries, not {type(vae).__name__}")
    check_share("level", level)
    check_size("parts", parts, 2)
    check_size("num_samples", num_samples)
    x, y = check_data(vae, x, y, third="level")
    if not supports.allows_missing(vae.support):
        name = type(vae.likelihood).__name__
        raise ValueError(f"likelihood {name} takes no missing entries; use likelihoods.Columns or likelihoods.Missing")
    if x.dim() != 2:
        raise ValueError(f"x must be rows of a table (B, D), not of shape {tuple(x.shape)}")
    if not bool((~x.isnan()).any()):
        raise ValueError("x has no known entry to hide")
    found = []
    size = max(1, NUMBERS // (num_samples * x.shape[1]))
    with evaluating(vae, seed) as device:
        part = torch.rand(x.shape).argsort(-1).argsort(-1) % parts  # even in each row, at random
        part = (part + torch.randint(parts, (len(x), 1))) % parts
        for k in range(parts):
            hidden = (part == k) & ~x.cpu().isnan()
            start = 0
            for piece, *label in batches(device, size, x, y):
                here = hidden[start : start + len(piece)]
                if here.any():
                    drawn = _drawn(vae, piece.masked_fill(here.to(device), torch.nan), label, num_samples, weighted)
                    row, column = here.nonzero().T
                    truth = piece.cpu()[here]
                    found.append((start + row, column, truth, *_summary(drawn[:, here], truth, level)))
                start += len(piece)
    return Intervals(*(torch.cat(column) for column in zip(*found, strict=True)), level=level)


def _drawn(vae: VAE, x: Tensor, label: list[Tensor], count: int, weighted: bool) -> Tensor:
    """Draws (count, B, D) of every entry of x (B, D) given its known ones."""
    y = label[0] if label else None
    q = vae.posterior(x, y)
    z = q.sample((count,))
    if weighted:
        p = vae.likelihood(z, None if y is None else y.expand(count, *y.shape))
        weight = (p.log_prob(x) + vae.prior(y).log_prob(z) - q.log_prob(z)).softmax(0)
        chosen = torch.multinomial(weight.T, count, replacement=True).T
        z = z.gather(0, chosen.reshape(*chosen.shape, *[1] * (z.dim() - 2)).expand_as(z))
    return vae.likelihood(z, None if y is None else y.expand(count, *y.shape)).sample().cpu()


def _summary(drawn: Tensor, truth: Tensor, level: float) -> tuple[Tensor, ...]:
    """low, middle, high, agreeing and rank of draws (K, M) of the truth (M,)."""
    ends = torch.tensor([0.5 - level / 2, 0.5, 0.5 + level / 2], dtype=drawn.dtype)
    low, middle, high = drawn.quantile(ends, 0)
    equal = (drawn == truth).double()
    tied = torch.rand(truth.shape, dtype=torch.float64) * (equal.sum(0) + 1)
    rank = ((drawn < truth).double().sum(0) + tied) / (len(drawn) + 1)
    return low, middle, high, equal.mean(0), rank
