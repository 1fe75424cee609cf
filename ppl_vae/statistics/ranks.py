"""What ranks of true codes among a guide's draws say: their histogram and ECDF, symmetry, and coverage of intervals."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size

SIMULATIONS = 10000  # of uniform ranks: no p-value is below 1/10001


@dataclass(frozen=True)
class SBC:
    """Ranks of true codes among the guide's draws.

    Attributes:
        ranks: (N, D) whole numbers 0 ... num_draws, of N simulated data and D code dimensions.
        num_draws: L.
        names: of the D dimensions, as in "z[3]".
        jitter: (N, D) in [0, 1), which spreads a rank over its cell.
    """

    ranks: Tensor
    num_draws: int
    names: tuple[str, ...]
    jitter: Tensor

    @property
    def pit(self) -> Tensor:
        """P_q(z_j < z*_j), (N, D): the ranks spread over (0, 1), exactly uniform if the guide is right."""
        return (self.ranks + self.jitter) / (self.num_draws + 1)

    def histogram(self, bins: int = 20) -> Tensor:
        """Counts of the ranks (bins, D); N / bins are expected in each.

        Raises:
            ValueError: ranks that cannot be shared equally among so many bins.
        """
        if (self.num_draws + 1) % check_size("bins", bins):
            raise ValueError(f"bins must divide the {self.num_draws + 1} possible ranks, which {bins} does not")
        cell = self.ranks * bins // (self.num_draws + 1)
        return torch.stack([(cell == b).sum(0) for b in range(bins)])

    @property
    def points(self) -> Tensor:
        """Where the ECDF is compared, i / (L + 1) for i = 1 ... L, (L,)."""
        return torch.arange(1, self.num_draws + 1).double() / (self.num_draws + 1)

    @property
    def ecdf_difference(self) -> Tensor:
        """Share of ranks below i, less i / (L + 1), at ``points``: (L, D); 0 is expected."""
        return self._counts().double() / len(self.ranks) - self.points[:, None]

    def band(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of one dimension's ECDF difference, at all ``points`` at once: (L,) each.

        The whole curve of a calibrated dimension stays inside with this probability: pointwise binomial intervals,
        widened together until simulated uniform ranks do (Sailynoja et al. 2022).

        Raises:
            ValueError: a level outside (0, 1).
        """
        check_level("level", level)
        n = len(self.ranks)
        tails, null = uniform_ranks(n, self.num_draws)
        inside = tails >= null[int((1 - level) * len(null))]
        low, high = inside.argmax(1), n - inside[:, ::-1].argmax(1)
        return torch.from_numpy(low / n) - self.points, torch.from_numpy(high / n) - self.points

    @property
    def p_values(self) -> Tensor:
        """For each dimension the probability, under uniform ranks, of an ECDF as far out as this one: (D,).

        How far out is the least pointwise binomial tail over ``points``, the statistic of ``band``: a curve leaves the
        band of level 1 - p.
        """
        tails, null = uniform_ranks(len(self.ranks), self.num_draws)
        least = tails[np.arange(self.num_draws)[:, None], self._counts().numpy()].min(0)
        return torch.from_numpy((1 + np.searchsorted(null, least, side="right")) / (len(null) + 1))

    def calibrated(self, error: float = 0.05) -> Tensor:
        """Which dimensions pass, bool (D,): with probability ``error`` at most, any calibrated one does not.

        Holm's correction of ``p_values`` over dimensions, valid however they depend on each other.
        """
        return ~holm(self.p_values, error)

    def verdicts(self, error: float = 0.05) -> list[str]:
        """A word for each dimension: "calibrated", or what is most wrong with the guide there.

        "too narrow" and "too wide" are its spread; "too low" and "too high" say where its draws lie beside z*.
        """
        u = self.pit - 0.5
        # Each as a share of the most it can be: 1 where all ranks are at one end, or half of them at each.
        shift, spread = 2 * u.mean(0), 6 * (u.square().mean(0) - 1 / 12)
        words = []
        for passed, a, b in zip(self.calibrated(error), shift, spread, strict=True):
            wrong = (
                ("too low" if a > 0 else "too high") if a.abs() >= b.abs() else "too narrow" if b > 0 else "too wide"
            )
            words.append("calibrated" if passed else wrong)
        return words

    def vsbc(self) -> VSBC:
        """The variational variant, from the same draws."""
        return VSBC(self.pit, self.names)

    def coverage(self, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)) -> Coverage:
        """Coverage of central intervals, from the same draws.

        Raises:
            ValueError: a level outside (0, 1), or none.
        """
        for level in levels:
            check_level("levels", level)
        if not len(levels):
            raise ValueError("levels must hold at least one level, such as 0.9")
        nominal = torch.tensor(levels, dtype=torch.float64)
        return Coverage(nominal, (self.pit - 0.5).abs() <= nominal[:, None, None] / 2, self.names)

    def _counts(self) -> Tensor:
        """How many ranks are below i = 1 ... L, (L, D)."""
        n, d = self.ranks.shape
        at = torch.zeros(self.num_draws + 1, d, dtype=torch.long)
        return at.scatter_add_(0, self.ranks, torch.ones(n, d, dtype=torch.long)).cumsum(0)[:-1]

    def __repr__(self) -> str:
        passed, least = int(self.calibrated().sum()), int(self.p_values.argmin())
        return (
            f"SBC({passed} of {len(self.names)} dimensions calibrated at 5%, n={len(self.ranks)}, L={self.num_draws}, "
            f"least p {self.p_values[least].item():.2g} at {self.names[least]})"
        )


@dataclass(frozen=True)
class VSBC:
    """Probabilities p_j = P_q(z_j < z*_j), symmetric about 1/2 where the guide is unbiased, if not too wide or narrow.

    Attributes:
        probabilities: (N, D).
        names: of the D dimensions.
    """

    probabilities: Tensor
    names: tuple[str, ...]

    def __repr__(self) -> str:
        biased = [f"{n} {said}" for n, said in zip(self.names, self.verdicts(), strict=True) if said != "unbiased"]
        more = f", {', '.join(biased[:3])}{', ...' if len(biased) > 3 else ''}" if biased else ""
        total = len(self.names)
        return f"VSBC({total - len(biased)} of {total} dimensions unbiased at 5%, n={len(self.probabilities)}{more})"

    @property
    def bias(self) -> Tensor:
        """1/2 - mean p_j, (D,): above 0 the guide's draws lie too high, below 0 too low."""
        return 0.5 - self.probabilities.mean(0)

    @property
    def p_values(self) -> Tensor:
        """Of the symmetry of p_j about 1/2, (D,): the Kolmogorov-Smirnov distance between p and 1 - p.

        The two samples mirror each other, so the distance is the farthest that a walk with a step of +1 or -1 a datum
        gets (Butler 1969), of which the distribution is exact.
        """
        away = self.probabilities - 0.5
        steps = away.sign().gather(0, away.abs().argsort(0, descending=True))
        return torch.tensor([walk_tail(len(away), int(d)) for d in steps.cumsum(0).abs().amax(0)]).double()

    def verdicts(self, error: float = 0.05) -> list[str]:
        """A word for each dimension: "too high" or "too low" where symmetry fails (Holm), else "unbiased"."""
        wrong = holm(self.p_values, error)
        return [
            ("too high" if b > 0 else "too low") if w else "unbiased" for w, b in zip(wrong, self.bias, strict=True)
        ]


@dataclass(frozen=True)
class Coverage:
    """How often central intervals of the guide hold the true code.

    Attributes:
        levels: nominal coverage, (C,).
        covered: bool (C, N, D), whether an interval holds z*.
        names: of the D dimensions.
    """

    levels: Tensor
    covered: Tensor
    names: tuple[str, ...]

    def __repr__(self) -> str:
        _, n, dims = self.covered.shape
        found = zip(self.levels, self.mean, self.mean_stderr, strict=True)
        said = ", ".join(f"{level:.0%} cover {mean:.1%} +- {error:.1%}" for level, mean, error in found)
        return f"Coverage(intervals of {said}; n={n}, {dims} dimensions)"

    @property
    def value(self) -> Tensor:
        """Share of z* inside, (C, D): below the level the guide is too sure."""
        return self.covered.double().mean(1)

    @property
    def stderr(self) -> Tensor:
        """Binomial standard error of each share if the guide is right, (C,)."""
        return (self.levels * (1 - self.levels) / self.covered.shape[1]).sqrt()

    @property
    def mean(self) -> Tensor:
        """Share over all dimensions, (C,)."""
        return self.value.mean(1)

    @property
    def mean_stderr(self) -> Tensor:
        """Standard error of ``mean``, (C,), from the spread between data: dimensions of one datum may depend."""
        return self.covered.double().mean(2).std(1) / self.covered.shape[1] ** 0.5


@functools.lru_cache(maxsize=8)
def uniform_ranks(n: int, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided binomial tails by point and count (L, n + 1), and the least tail of simulated uniform ranks, sorted."""
    from scipy.special import bdtr

    p = np.arange(1, num_draws + 1)[:, None] / (num_draws + 1)
    below = bdtr(np.arange(n + 1.0), n, p)
    above = 1 - np.concatenate([np.zeros((num_draws, 1)), below[:, :-1]], 1)
    tails = np.minimum(1.0, 2 * np.minimum(below, above))
    rng = np.random.default_rng(0)
    cells = np.full(num_draws + 1, 1 / (num_draws + 1))
    counts = rng.multinomial(n, cells, size=SIMULATIONS).cumsum(1)[:, :-1]
    return tails, np.sort(tails[np.arange(num_draws), counts].min(1))


def walk_tail(n: int, farthest: int) -> float:
    """P(max_k |S_k| >= farthest) of a symmetric walk of n steps of +-1, by reflection.

    Example:
        >>> [round(walk_tail(3, farthest), 6) for farthest in (3, 2, 1)]
        [0.25, 0.5, 1.0]
    """
    from scipy.stats import binom

    if farthest < 1:
        return 1.0
    ends = np.arange(-farthest + 1, farthest)
    total = 0.0
    for j in range(-(n // (2 * farthest)) - 1, n // (2 * farthest) + 2):
        for end, sign in ((ends + 4 * j * farthest, 1), (2 * farthest - ends + 4 * j * farthest, -1)):
            total += sign * np.where((n + end) % 2 == 0, binom.pmf((n + end) // 2, n, 0.5), 0.0).sum()
    return float(min(1.0, max(0.0, 1 - total)))


def holm(p: Tensor, error: float) -> Tensor:
    """Which hypotheses Holm's procedure rejects with family-wise error ``error``, bool (D,)."""
    check_level("error", error)
    order = p.argsort()
    small = p[order] <= error / torch.arange(len(p), 0, -1)
    rejected = torch.zeros_like(p, dtype=torch.bool)
    rejected[order] = small.long().cumprod(0).bool()
    return rejected


def check_level(argument: str, value: float) -> None:
    """A ValueError unless the value is a probability."""
    if not 0 < value < 1:
        raise ValueError(f"{argument} must lie between 0 and 1, not {value!r}")
