"""Anomalies: data that a model does not know how to explain.

The score of x is its squared reconstruction error, or for a VAE -log p(x) (importance-sampled, in nats): high is
anomalous. A threshold is a quantile of the scores of normal data. AUROC is the probability that an anomaly scores
higher than a normal datum, ties counted as one half.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..checks import nearest
from ..models import Codec, Pair
from ..models.protocols import is_pair
from .coding import reconstruction_error
from .doors import check_data, check_share
from .importance import log_likelihood

SCORES = ("auto", "reconstruction", "log-likelihood")


def anomaly_scores(
    model: Codec | Pair,
    x: Tensor,
    y: Tensor | None = None,
    *,
    score: Literal["auto", "reconstruction", "log-likelihood"] = "auto",
    num_particles: int = 100,
    seed: int = 0,
) -> Tensor:
    """Scores of x, (B,): the higher, the more anomalous.

    Args:
        model: an autoencoder or a VAE.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        score: "reconstruction" for the squared error, "log-likelihood" for -log p(x) of a VAE in nats; "auto" takes the
            second where there is one.
        num_particles: samples of z for every datum, for the log-likelihood.
        seed: of the samples.

    Raises:
        ValueError: an unknown score, or data outside the model's support.
        TypeError: the log-likelihood of a model that has none, or a number or a word in the place of y.

    Source: An and Cho 2015, "Variational autoencoder based anomaly detection".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> anomaly_scores(ae, torch.rand(5, 6)).shape
        torch.Size([5])
    """
    if score not in SCORES:
        raise ValueError(f"score {score!r} is unknown; {nearest(str(score), SCORES)}")
    check_data(model, x, y, values=False, third="score")
    if score == "log-likelihood" and not is_pair(model):
        raise TypeError(f"{type(model).__name__} has no log-likelihood; use score 'reconstruction'")
    if is_pair(model) and score != "reconstruction":
        return -log_likelihood(model, x, y, num_particles=num_particles, seed=seed).value
    return reconstruction_error(model, x, y)


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
