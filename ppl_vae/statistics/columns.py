"""Statistics of the columns of a table: how far two tables differ, column by column and pair by pair.

Tables are (N, D), NaN where an entry is missing, codes 0, ..., L-1 in columns with levels. Nothing is assumed of the
columns' units, so that incomes and ages stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import randomness
from ..kinds import Column

NEVER_ONE = 0.9999  # a rank correlation of 1 has no Fisher transform


@dataclass(frozen=True)
class ColumnGaps:
    """How far two tables differ, column by column.

    Attributes:
        distance: (D,) between 0 and 1; NaN where there is nothing to compare: an empty column, or numbers all equal.
        p_value: (D,) probability of such a distance or a larger one between two tables of one distribution.
    """

    distance: Tensor
    p_value: Tensor

    def differing(self, level: float = 0.01) -> list[int]:
        """The columns that differ at this level of each single test, the farthest first."""
        wrong = (self.p_value < level).nonzero()[:, 0].tolist()
        return sorted(wrong, key=lambda i: -float(self.distance[i]))


def column_gaps(x: Tensor, other: Tensor, columns: Sequence[Column]) -> ColumnGaps:
    """Distances of the distributions of each column in two tables, such as data and a model's draws.

    Ordered columns: the Kolmogorov-Smirnov distance, the largest difference of the two cumulative distributions, and
    its asymptotic test (too cautious where there are ties). Binary and categorical columns: the total variation, half
    the summed differences of the levels' shares, and the chi-square test of two samples.

    Args:
        x: (N, D), NaN where missing.
        other: (M, D).
        columns: the D columns with their kinds.

    Raises:
        ValueError: tables that have not D columns.

    Example:
        >>> x = torch.linspace(0, 1, 100)[:, None]
        >>> column_gaps(x, x + 0.25, [Column("age")]).distance
        tensor([0.2500], dtype=torch.float64)
    """
    a, b = _arrays(columns, x=x, other=other)
    with randomness.unchanged():  # importing scipy draws from Python's random numbers
        from scipy import stats
    found = []
    for i, column in enumerate(columns):
        first, second = (values[~np.isnan(values)] for values in (a[:, i], b[:, i]))
        if not len(first) or not len(second) or (not column.levelled and column.kind != "count" and np.ptp(first) == 0):
            found.append((np.nan, np.nan))
        elif column.kind in ("binary", "categorical"):
            table = np.stack(
                [np.bincount(values.astype(int), minlength=column.levels or 2) for values in (first, second)]
            )
            shares = table / table.sum(1, keepdims=True)
            table = table[:, table.any(0)]
            p = stats.chi2_contingency(table, correction=False).pvalue if table.shape[1] > 1 else 1.0
            found.append((np.abs(shares[0] - shares[1]).sum() / 2, p))
        else:
            places = np.unique(np.concatenate([first, second]))
            below = [np.searchsorted(np.sort(v), places, side="right") / len(v) for v in (first, second)]
            distance = np.abs(below[0] - below[1]).max()
            size = len(first) * len(second) / (len(first) + len(second))
            found.append((distance, stats.kstwobign.sf(np.sqrt(size) * distance)))
    distance, p_value = torch.tensor(found, dtype=torch.float64).reshape(-1, 2).T
    return ColumnGaps(distance, p_value)


def column_scores(x: Tensor, means: Tensor, columns: Sequence[Column]) -> Tensor:
    """How much of each column its reconstruction explains, (D,): 1 is perfect, 0 no better than a constant.

    Numbers: R2 = 1 - sum (x - x')^2 / sum (x - mean)^2. Levels: (a - b) / (1 - b) with the accuracy a of the
    reconstructed level (rounded) and the share b of the most frequent one. NaN for columns that do not vary.

    Args:
        x: (N, D), NaN where missing.
        means: (N, D), the reconstructions.
        columns: the D columns with their kinds.

    Raises:
        ValueError: tables that have not D columns, or not the same rows.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 1.0]])
        >>> means = torch.tensor([[1.0, 0.2], [2.0, 0.3], [3.0, 0.9]])
        >>> column_scores(x, means, [Column("age"), Column("ill", "binary", 2)])
        tensor([1., 0.], dtype=torch.float64)
    """
    a, b = _arrays(columns, x=x, means=means)
    if len(a) != len(b):
        raise ValueError(f"means must have the {len(a)} rows of x, not {len(b)}")
    scores = []
    for i, column in enumerate(columns):
        seen = ~np.isnan(a[:, i])
        truth, guess = a[seen, i], b[seen, i]
        if not seen.any() or np.ptp(truth) == 0:
            scores.append(np.nan)
        elif column.levelled:
            most = np.unique(truth, return_counts=True)[1].max() / len(truth)
            scores.append((accuracy(truth, guess) - most) / (1 - most))
        else:
            scores.append(1 - np.square(truth - guess).sum() / np.square(truth - truth.mean()).sum())
    return torch.tensor(scores, dtype=torch.float64)


def accuracy(truth: Any, guess: Any) -> float:
    """The share of codes (N,) that a guess (N,) rounds to.

    Example:
        >>> accuracy([0, 1, 1], [0.2, 0.4, 0.9])
        0.6666666666666666
    """
    return float((np.floor(np.asarray(guess) + 0.5) == np.asarray(truth)).mean())


def rank_correlations(x: Tensor) -> Tensor:
    """Spearman's rank correlation (D, D) of the columns of x (N, D), of each pair over the rows that have both.

    Ties share their mean rank. NaN for columns that do not vary over these rows, and with fewer than three of them.

    Example:
        >>> x = torch.tensor([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0], [torch.nan, 5.0]])
        >>> round(rank_correlations(x)[0, 1].item(), 6)
        0.5
    """
    with randomness.unchanged():
        from scipy.stats import rankdata
    (values,) = _arrays(None, x=x)
    seen = ~np.isnan(values)
    whole = np.flatnonzero(seen.all(0))
    found = np.full((values.shape[1],) * 2, np.nan)
    if len(whole) and len(values) > 2:
        found[np.ix_(whole, whole)] = _pearson(rankdata(values[:, whole], axis=0))
    if len(values) > 2:
        for i in np.flatnonzero(~seen.all(0)):
            for j in range(values.shape[1]):
                both = seen[:, i] & seen[:, j]
                if both.sum() > 2:
                    ranks = rankdata(values[both][:, [i, j]], axis=0)
                    found[i, j] = found[j, i] = _pearson(ranks)[0, 1]
    return torch.from_numpy(found)


@dataclass(frozen=True)
class CorrelationGaps:
    """The rank correlations of two tables and how far they differ.

    Attributes:
        first: (D, D), of the first table.
        second: (D, D), of the second.
        z: (D, D), their difference in standard errors, about, by Fisher's transform.
    """

    first: Tensor
    second: Tensor
    z: Tensor

    def largest(self) -> tuple[int, int] | None:
        """The pair of columns whose correlations differ most; None if no pair has two."""
        gaps = (self.first - self.second).abs().triu(1).nan_to_num(0.0)
        if not self.z.triu(1).isfinite().any() or len(gaps) < 2 or not bool(gaps.any()):
            return None
        i, j = divmod(int(gaps.argmax()), len(gaps))
        return i, j

    def differing(self, level: float = 2.0) -> tuple[int, int]:
        """How many pairs differ by more than so many standard errors, and of how many pairs."""
        places = torch.triu_indices(len(self.z), len(self.z), 1)
        z = self.z[places[0], places[1]]
        return int((z.abs() > level).sum()), int((~z.isnan()).sum())


def correlation_gaps(x: Tensor, other: Tensor) -> CorrelationGaps:
    """The rank correlations of the columns of x (N, D) and of other (M, D), and their differences.

    A rank correlation r of n rows has about the standard error sqrt((1 + r^2 / 2) / (n - 3)) after Fisher's transform.

    Source: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations".

    Example:
        >>> x = torch.arange(20.0)[:, None]
        >>> gaps = correlation_gaps(torch.cat([x, x.sin()], 1), torch.cat([x, x], 1))
        >>> gaps.largest(), bool(gaps.z[0, 1] < -2)
        ((0, 1), True)
    """
    first, second = rank_correlations(x), rank_correlations(other)
    parts = []
    for values, r in ((x, first), (other, second)):
        seen = (~values.cpu().isnan()).double()
        count = (seen.T @ seen - 3).clamp(min=1)
        parts.append((r.clamp(-NEVER_ONE, NEVER_ONE).atanh(), (1 + r.square() / 2) / count))
    z = (parts[0][0] - parts[1][0]) / (parts[0][1] + parts[1][1]).sqrt()
    return CorrelationGaps(first, second, z)


def _pearson(ranks: NDArray[np.floating]) -> NDArray[np.floating]:
    centred = ranks - ranks.mean(0)
    norm = np.sqrt(np.square(centred).sum(0))
    return (centred / np.where(norm > 0, norm, np.nan)).T @ (centred / np.where(norm > 0, norm, np.nan))


def _arrays(columns: Sequence[Column] | None, **tables: Tensor) -> list[NDArray[np.floating]]:
    """Tables as float64 arrays; ValueError unless each is (N, D)."""
    for name, table in tables.items():
        wanted = "D" if columns is None else len(columns)
        if table.dim() != 2 or (columns is not None and table.shape[1] != len(columns)):
            raise ValueError(f"{name} must be a table (N, {wanted}), not of shape {tuple(table.shape)}")
    return [table.detach().cpu().double().numpy() for table in tables.values()]
