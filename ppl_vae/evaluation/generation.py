"""Generation: whether random codes make data.

A model that samples has codes without gaps and without dead ends. Two figures tell, for any model alike:

    continuity    along the line between two codes, decoded in T even steps d_t = |d(z_{t+1}) - d(z_t)|:
                  max d_t / mean d_t, 1 where the picture changes evenly, T where it jumps at one place
    completeness  share of the pictures of random codes that pass a test which 95 % of held-out data pass: of being
                  near to the training data, or of being recognised by a classifier that learned from them
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size
from ..data.noise import own_randomness
from ..models.density import Density
from .denoising import decoded
from .importance import check_shape, evaluating
from .representation import as_classes
from .terms import check_codes, codes

LEARNED = 10_000  # training examples that the tests of completeness look at


def random_codes(model: Any, n: int, x: Tensor, seed: int = 0) -> Tensor:
    """Codes (n, dim): draws of the model's prior, or where it has none of a Normal fitted to the codes of x.

    Args:
        model: a VAE or an autoencoder.
        n: how many.
        x: training data (B, *shape).
        seed: of the draws.

    Raises:
        ValueError: n below 1, no data, or data of another shape.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> random_codes(ae, 5, torch.rand(50, 6)).shape
        torch.Size([5, 2])
    """
    check_size("n", n)
    if hasattr(model, "prior"):
        with evaluating(model, seed):
            prior = model.prior()
            return prior.sample(() if prior.batch_shape else (n,)).cpu()
    with own_randomness():  # importing scikit-learn draws from Python's random numbers
        density = Density(model.dim, 1).fit(check_codes(codes(model, x), "x"))
    with evaluating(density, seed):
        return density().sample((n,))


def continuity(model: Any, x0: Tensor, x1: Tensor, steps: int = 50) -> Tensor:
    """Largest change of the picture over the mean change, along the line between the codes of x0 and x1, (B,).

    A line on which nothing changes counts as even: 1. Where a picture on it is NaN, so is the figure.

    Args:
        model: a VAE or an autoencoder.
        x0: data (B, *shape) where lines begin.
        x1: data (B, *shape) where they end.
        steps: T, into which a line is cut.

    Returns:
        (B,) figures between 1 and T, or NaN.

    Raises:
        ValueError: data of other shapes, or fewer than 2 steps.

    Source: Berthelot et al. 2019, "Understanding and improving interpolation in autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> found = continuity(ae, torch.rand(4, 6), torch.rand(4, 6))
        >>> bool((found >= 1).all() and (found <= 50).all())
        True
    """
    check_size("steps", steps, least=2)
    x0, x1 = check_shape(model, x0), check_shape(model, x1)
    if x0.shape != x1.shape:
        raise ValueError(f"x1 must have the shape of x0, {tuple(x0.shape)}, not {tuple(x1.shape)}")
    weights = torch.linspace(0, 1, steps + 1)[:, None]
    line = torch.lerp(codes(model, x0)[:, None], codes(model, x1)[:, None], weights)
    pictures = decoded(model, line.flatten(0, 1)).reshape(len(x0), steps + 1, -1)
    change = pictures.diff(dim=1).norm(dim=2)
    mean = change.mean(1)
    return torch.where(mean == 0, 1.0, change.amax(1) / mean)


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
    with own_randomness():
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
        if not values.isfinite().all():
            bad = (~values.isfinite()).flatten(1).any(1).nonzero()
            raise ValueError(f"{name} holds {len(bad)} examples with NaN or infinity, the first in row {int(bad[0])}")
    return [values.detach().flatten(1).float().cpu().numpy() for values in given.values()]


def _quantile(values: np.ndarray, quantile: float) -> float:
    if isinstance(quantile, bool) or not 0 <= quantile <= 1:
        raise ValueError(f"quantile must be a share between 0 and 1, not {quantile!r}")
    return float(np.quantile(values, quantile))
