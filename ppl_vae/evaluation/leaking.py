"""How much of y is left in codes, by probes that predict it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import as_split
from ..data.hiding import known_rows
from ..models import VAE, Codec
from .coding import codes
from .doors import check_data, in_pieces

MOST = 5000  # training rows of the probes, whose cost grows faster than their number


@dataclass(frozen=True)
class Leakage:
    """How well probes predict y from codes, on rows that were not used to fit the probes.

    Attributes:
        linear: of a logistic or ridge regression: the accuracy for classes, for numbers the share of the variance that
            is explained, at least 0.
        nonlinear: the same of a support vector machine with a Gaussian kernel.
        chance: what a probe without codes has: the share of the most frequent class, or 0 for numbers.
        n: rows on which the probes are judged.

    Example:
        >>> Leakage(0.25, 0.75, 0.5, 100).left
        0.5
    """

    linear: float
    nonlinear: float
    chance: float
    n: int

    @property
    def left(self) -> float:
        """Share of y that the better probe finds: 0 at chance, 1 where it predicts all."""
        better = max(self.linear, self.nonlinear)
        return max(0.0, (better - self.chance) / (1 - self.chance)) if self.chance < 1 else math.nan

    def __str__(self) -> str:
        return f"linear {self.linear:.3f}, nonlinear {self.nonlinear:.3f}, by chance {self.chance:.3f} (n={self.n})"


def leakage(model: Codec, train: Any, test: Any, *, draws: bool = False, seed: int = 0) -> Leakage:
    """How well a linear and a nonlinear probe predict y from a model's codes.

    Codes are the means of q(z | x, y), as ``evaluation.codes`` gives them. Means tell more than draws: a dimension
    whose means differ by less than the noise of q carries few nats, but a probe reads it all the same.

    Args:
        model: any ``models.Codec``; a conditional one is given y, as whoever encodes with it gives it.
        train: rows with y to fit the probes to: a split, or what ``fit`` takes for one; at most 5,000 are used.
        test: rows with y to judge the probes on.
        draws: take one draw of q(z | x, y) for each row in place of its mean, for a VAE.
        seed: of the rows chosen, and of the draws.

    Raises:
        ValueError: rows without y, one class only in the training rows, or y that is neither a class nor a number.

    Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes"; Louizos et al.
    2016, "The variational fair autoencoder", section 4.

    Example:
        >>> import torch
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> x, y = torch.rand(60, 6), torch.arange(60) % 3
        >>> leakage(ae, (x[:40], y[:40]), (x[40:], y[40:])).n
        20
    """
    z, y = _coded(model, train, "train", MOST, draws, seed)
    test_z, test_y = _coded(model, test, "test", None, draws, seed + 1)
    classes = y.dtype.kind != "f"
    if classes and len(np.unique(y)) < 2:
        raise ValueError("y of the training rows must hold at least two classes to be told apart")
    found = [_score(probe, z, y, test_z, test_y) for probe in _probes(classes)]
    chance = float(np.mean(test_y == np.bincount(y).argmax())) if classes else 0.0
    return Leakage(*found, chance, len(test_y))


def _probes(classes: bool) -> list[Any]:
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    made = [LogisticRegression(max_iter=1000), SVC()] if classes else [RidgeCV(), SVR()]
    return [make_pipeline(StandardScaler(), probe) for probe in made]


def _score(probe: Any, z: np.ndarray, y: np.ndarray, test_z: np.ndarray, test_y: np.ndarray) -> float:
    """Accuracy, or the share of the variance explained, averaged over the entries of y."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if y.dtype.kind != "f":
            return float(probe.fit(z, y).score(test_z, test_y))
        spread = np.where(y.std(0) > 0, y.std(0), 1.0)
        y, test_y = (y - y.mean(0)) / spread, (test_y - y.mean(0)) / spread
        scores = [probe.fit(z, one).score(test_z, other) for one, other in zip(y.T, test_y.T, strict=True)]
        return max(0.0, float(np.mean(scores)))


def _coded(
    model: Codec, rows: Any, part: str, most: int | None, draws: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, D) and y of rows: classes (N,), or numbers (N, size) in float64."""
    split = as_split(rows, part=part).resolve(model.support if isinstance(model, Codec) else None)
    if not split.labelled:
        raise ValueError(f"leakage needs y, but the {part} rows have none")
    chosen: Any = slice(0, len(split))
    if most is not None and len(split) > most:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:most])
    x, y = split.take(chosen)
    if y.dim() > 2:
        raise ValueError(f"leakage takes y that are classes or numbers, not of shape {tuple(y.shape[1:])}")
    known = known_rows(y)
    if not len(known):
        raise ValueError(f"leakage needs y, but all y of the {part} rows are unknown")
    x, y = x[known], y[known].cpu()
    given = y if model.condition is not None else None
    if not (draws and isinstance(model, VAE)):
        z = codes(model, x, given, seed=seed)
    else:
        x, given = check_data(model, x, given, values=False, third=None)
        z = in_pieces(model, lambda *batch: model.posterior(*batch).sample(), x, given, seed=seed)
    return z.flatten(1).double().numpy(), (y.double().reshape(len(y), -1) if y.is_floating_point() else y).numpy()
