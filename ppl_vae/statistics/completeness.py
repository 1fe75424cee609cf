"""Whether generated pictures pass for data.

completeness  share of the pictures of random codes that pass a test which 95 % of held-out data pass: of being
near to the training data, or of being recognised by a classifier that learned from them
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from torch import Tensor

from .. import randomness
from ..checks import check_share
from .finite import check_finite
from .probes import as_classes

LEARNED = 10_000  # training examples that the tests look at


def near_data(draws: Tensor, x: Tensor, held_out: Tensor, quantile: float = 0.95) -> float:
    """Share of the draws that are as near to the data x as a share ``quantile`` of held-out data are.

    Near is the Euclidean distance to the nearest example. It forgives blur: the classifier's test does not.

    Args:
        draws: pictures of random codes (N, *shape).
        x: training data (B, *shape); at most the first 10,000 are looked at.
        held_out: data not trained on (M, *shape).
        quantile: share of the held-out data that pass.

    Raises:
        ValueError: data of other shapes, that are NaN or infinite, or a quantile outside [0, 1].

    Example:
        >>> import torch
        >>> x = torch.arange(10.0)[:, None]
        >>> near_data(torch.tensor([[3.2], [20.0]]), x, x + 0.5)
        0.5
    """
    from sklearn.neighbors import NearestNeighbors

    known, held, drawn = _vectors(x=x[:LEARNED], held_out=held_out, draws=draws)
    search = NearestNeighbors(n_neighbors=1).fit(known)
    usual, ours = (search.kneighbors(part)[0][:, 0] for part in (held, drawn))
    return float((ours <= _quantile(usual, quantile)).mean())


def recognised(
    draws: Tensor, x: Tensor, y: Tensor, held_out: Tensor, quantile: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """How a classifier of the data x with labels y takes the draws.

    The classifier is a network with one hidden layer. It recognises a picture if it is as sure of it, by its largest
    class probability, as of a share ``quantile`` of held-out data.

    Args:
        draws: pictures of random codes (N, *shape).
        x: training data (B, *shape); at most the first 10,000 are learned from.
        y: labels (B,).
        held_out: data not trained on (M, *shape).
        quantile: share of the held-out data that are recognised.
        seed: of the classifier.

    Returns:
        the share of the draws that are recognised, and of these the effective share of the classes that occur: the
        exponential of the entropy of their labels over the number of classes, 1 where all are drawn as often.

    Raises:
        ValueError: data of other shapes, that are NaN or infinite, labels that are no whole numbers or of one class
            only, or a quantile outside [0, 1].
    """
    with randomness.unchanged():
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

    known, held, drawn = _vectors(x=x[:LEARNED], held_out=held_out, draws=draws)
    labels = as_classes("y", y[:LEARNED].cpu().numpy())
    if labels.shape != known.shape[:1] or len(np.unique(labels)) < 2:
        raise ValueError(f"y must hold a label for each of x, of at least two classes, not shape {tuple(y.shape)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        judge = MLPClassifier((128,), random_state=seed, early_stopping=True, max_iter=100).fit(known, labels)
    usual, ours = (np.asarray(judge.predict_proba(part)) for part in (held, drawn))
    sure = ours.max(1) >= _quantile(usual.max(1), 1 - quantile)
    counts = np.bincount(ours.argmax(1)[sure], minlength=ours.shape[1])
    shares = counts[counts > 0] / max(1, counts.sum())
    variety = math.exp(-(shares * np.log(shares)).sum()) / len(counts) if len(shares) else 0.0
    return float(sure.mean()), variety


def _vectors(**given: Tensor) -> list[np.ndarray]:
    """Examples as vectors (B, D) of one size."""
    shape = tuple(next(iter(given.values())).shape[1:])
    for name, values in given.items():
        if values.shape[1:] != shape or not len(values):
            raise ValueError(
                f"draws and data must be examples of one shape, {shape}, not {len(values)} of {tuple(values.shape[1:])}"
            )
        check_finite(name, values, "examples")
    return [values.detach().flatten(1).float().cpu().numpy() for values in given.values()]


def _quantile(values: np.ndarray, quantile: float) -> float:
    return float(np.quantile(values, check_share("quantile", quantile)))
