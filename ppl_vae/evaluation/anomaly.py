"""Anomaly detection: data that a model explains badly.

The score of x is its squared reconstruction error, for a VAE -log p(x) (importance-sampled, in nats), or for a model
with integer codes c, such as a VQ-VAE, the bound -log p(c) - log p(x | c) >= -log p(x) in nats: high is anomalous.
A threshold is a quantile of the scores of normal data. AUROC is the probability that an anomaly scores higher than a
normal datum, ties counted as one half.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..checks import nearest
from ..models import Codec, Discrete, Pair
from ..models.protocols import is_pair
from .coding import reconstruction_error
from .discrete import bound
from .doors import check_data
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
        model: an autoencoder, a VAE, or a model with integer codes.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        score: "reconstruction" for the squared error, "log-likelihood" for -log p(x) of a VAE in nats; "auto" takes the
            second where there is one, and for a model with integer codes the bound, its negative ELBO.
        num_particles: samples of z for every datum, for the log-likelihood.
        seed: of the samples.

    Raises:
        ValueError: an unknown score, or data outside the model's support.
        TypeError: the log-likelihood of a model that has none, or a number or a word in the place of y.

    Source: An and Cho 2015, "Variational autoencoder based anomaly detection".

    Example:
        >>> import torch
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> anomaly_scores(ae, torch.rand(5, 6)).shape
        torch.Size([5])
    """
    if score not in SCORES:
        raise ValueError(f"score {score!r} is unknown; {nearest(str(score), SCORES)}")
    check_data(model, x, y, values=False, third="score")
    if score == "log-likelihood" and not is_pair(model):
        which = "'auto', a bound on it" if isinstance(model, Discrete) else "'reconstruction'"
        raise TypeError(f"{type(model).__name__} has no log-likelihood; use score {which}")
    if isinstance(model, Discrete) and score == "auto":
        reconstruction, rate = bound(model, x, y)
        return rate - reconstruction
    if is_pair(model) and score != "reconstruction":
        return -log_likelihood(model, x, y, num_particles=num_particles, seed=seed).value
    return reconstruction_error(model, x, y)
