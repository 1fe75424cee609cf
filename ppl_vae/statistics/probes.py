"""Representations: how well labels can be read off codes that were learned without them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size
from .finite import check_finite


def linear_probe(z: Tensor, y: Tensor, test_z: Tensor, test_y: Tensor) -> float:
    """Test accuracy of a multinomial logistic regression on standardised codes.

    Args:
        z: codes to learn from (N, dim).
        y: their labels (N,).
        test_z: codes to be judged on (M, dim).
        test_y: their labels (M,).

    Raises:
        ValueError: tensors that do not fit together, codes that are NaN or infinite, labels that are no whole numbers
            or of one class only.

    Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes".

    Example:
        >>> import torch
        >>> z, y = torch.arange(20.0)[:, None], torch.arange(20) >= 10
        >>> linear_probe(z, y, z, y)
        1.0
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = _checked(z, y, test_z, test_y)
    if len(np.unique(train[1])) < 2:
        raise ValueError("y must hold at least two classes to be told apart")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*train)
    return float(probe.score(*test))


def knn_accuracy(z: Tensor, y: Tensor, test_z: Tensor, test_y: Tensor, k: int = 5) -> float:
    """Test accuracy of the vote of the k nearest codes, in Euclidean distance.

    Args:
        z: codes that vote (N, dim).
        y: their labels (N,).
        test_z: codes to be judged on (M, dim).
        test_y: their labels (M,).
        k: how many vote.

    Raises:
        ValueError: tensors that do not fit together, codes that are NaN or infinite, labels that are no whole numbers,
            or fewer codes than k.

    Example:
        >>> import torch
        >>> z, y = torch.arange(20.0)[:, None], torch.arange(20) >= 10
        >>> knn_accuracy(z, y, z + 0.1, y, k=1)
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    train, test = _checked(z, y, test_z, test_y)
    if check_size("k", k) > len(train[0]):
        raise ValueError(f"k must be at most the number of codes, {len(train[0])}, not {k}")
    return float(KNeighborsClassifier(k).fit(*train).score(*test))


def _checked(*given: Tensor) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(codes, labels) twice, as arrays of fitting shapes."""
    z, y, test_z, test_y = (value.detach().cpu().numpy() for value in given)
    for name, codes, labels in (("z", z, y), ("test_z", test_z, test_y)):
        if codes.ndim != 2 or labels.shape != codes.shape[:1] or not len(codes):
            raise ValueError(f"{name} must be codes (N, dim) with a label each, not {codes.shape} and {labels.shape}")
        check_finite(name, torch.from_numpy(codes), "codes")
    if z.shape[1] != test_z.shape[1]:
        raise ValueError(f"test_z must have codes of size {z.shape[1]}, not {test_z.shape[1]}")
    return (z, as_classes("y", y)), (test_z, as_classes("test_y", test_y))


def as_classes(name: str, labels: np.ndarray) -> np.ndarray:
    """Labels as classes: whole numbers, whatever their dtype; ValueError for a label that is none."""
    if labels.dtype.kind != "f":
        return labels
    odd = labels[~(np.isfinite(labels) & (labels == np.floor(labels)))]
    if odd.size:
        raise ValueError(f"{name} holds {odd[0]:g}, which is no class; classes are whole numbers such as 0, 1, 2")
    return labels.astype(np.int64)
