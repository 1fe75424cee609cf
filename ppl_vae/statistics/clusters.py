"""How well clusters agree with classes that were not used to find them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def confusion(classes: Tensor, found: Tensor, shape: tuple[int, int] | None = None) -> Tensor:
    """Table (C, K) of how many examples of each class, a row, were given each of K labels, a column.

    Args:
        classes: true classes (N,), 0 to C - 1.
        found: what was found (N,), 0 to K - 1: predicted classes, or clusters.
        shape: (C, K); None for the largest that occur.

    Raises:
        ValueError: different numbers of classes and findings, or none.

    Example:
        >>> confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0]))
        tensor([[0, 2],
                [1, 0]])
    """
    if len(classes) != len(found) or not len(classes):
        raise ValueError(f"classes and found must be as many, at least one, not {len(classes)} and {len(found)}")
    rows, columns = shape or (int(classes.max()) + 1, int(found.max()) + 1)
    return torch.bincount(classes.cpu() * columns + found.cpu(), minlength=rows * columns).reshape(rows, columns)


def matched(table: Tensor) -> dict[int, int]:
    """The class of each cluster, one to one, for which most examples agree; a cluster beyond the classes has none.

    Args:
        table: (C, K) of ``confusion``.

    Source: Kuhn 1955, "The Hungarian method for the assignment problem"; by scipy.

    Example:
        >>> matched(torch.tensor([[0, 5], [4, 1]]))
        {1: 0, 0: 1}
    """
    from scipy.optimize import linear_sum_assignment  # costly to import

    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return {int(cluster): int(of) for of, cluster in zip(rows, columns, strict=True)}


def cluster_accuracy(classes: Tensor, found: Tensor) -> float:
    """Share of the examples whose cluster is matched to their class, by the best one-to-one matching.

    Arguments and errors as of ``confusion``.

    Source: Xie et al. 2016, "Unsupervised deep embedding for clustering analysis".

    Example:
        >>> cluster_accuracy(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 1]))
        0.75
    """
    table = confusion(classes, found)
    return sum(int(table[of, cluster]) for cluster, of in matched(table).items()) / len(classes)


def cluster_agreement(classes: Tensor, found: Tensor) -> dict[str, float]:
    """``cluster_accuracy``, ``nmi`` and ``ari`` by name; the last two by scikit-learn.

    nmi is the mutual information of classes and clusters over the mean of their entropies, ari the Rand index adjusted
    for chance, which is 0 on average for random clusters.

    Arguments and errors as of ``confusion``.

    Source: Strehl and Ghosh 2002; Hubert and Arabie 1985, "Comparing partitions".

    Example:
        >>> cluster_agreement(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0]))
        {'cluster_accuracy': 1.0, 'nmi': 1.0, 'ari': 1.0}
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # costly to import

    accuracy, pair = cluster_accuracy(classes, found), [np.asarray(one.cpu()) for one in (classes, found)]
    nmi, ari = float(normalized_mutual_info_score(*pair)), float(adjusted_rand_score(*pair))
    return {"cluster_accuracy": accuracy, "nmi": nmi, "ari": ari}
