"""Scores of how odd data are, and how well they tell anomalies apart.

A threshold is a quantile of the scores of normal data. AUROC is the probability that an anomaly scores higher than a
normal datum, ties counted as one half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_share


def threshold(scores: Tensor, quantile: float = 0.95) -> float:
    """The score that a share ``quantile`` of normal data stay at or below.

    Raises:
        ValueError: no scores, scores that are NaN, or a quantile outside [0, 1].

    Example:
        >>> threshold(torch.arange(101.0), 0.95)
        95.0
    """
    check_share("quantile", quantile)
    if scores.numel() == 0:
        raise ValueError("scores is empty; give those of normal data")
    ordered = check_scores("scores", scores).double().flatten().sort().values
    place = quantile * (len(ordered) - 1)
    low, high = ordered[math.floor(place)].item(), ordered[math.ceil(place)].item()
    between = place - math.floor(place)  # scores may be infinite
    return low if low == high or math.isinf(low) or between == 0 else low + between * (high - low)


def check_scores(name: str, scores: Tensor) -> Tensor:
    """The scores (B,); ValueError if one is NaN."""
    bad = scores.isnan().flatten().nonzero()
    if len(bad):
        raise ValueError(
            f"{name} holds {len(bad)} NaN among {scores.numel()}, the first at place {int(bad[0])}; leave out the data "
            "that have no score"
        )
    return scores


def auroc(scores: Tensor, anomalous: Tensor) -> float:
    """Area under the receiver operating characteristic: P(an anomaly scores higher than a normal datum).

    Args:
        scores: (B,).
        anomalous: which are anomalies, bool (B,).

    Raises:
        ValueError: other shapes, only one of the two kinds, or scores that are NaN.

    Example:
        >>> auroc(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([False, False, True]))
        1.0
    """
    anomalous = check_scores("anomalous", anomalous).bool()
    if scores.shape != anomalous.shape or scores.dim() != 1:
        raise ValueError(f"scores and anomalous must be vectors of one length, not {[*scores.shape, *anomalous.shape]}")
    if anomalous.all() or not anomalous.any():
        raise ValueError("anomalous must hold both kinds, normal data and anomalies")
    check_scores("scores", scores)
    normal = scores[~anomalous].double().sort().values
    above = scores[anomalous].double()
    wins = torch.searchsorted(normal, above, right=False) + torch.searchsorted(normal, above, right=True)
    return (wins.double().mean() / (2 * len(normal))).item()
