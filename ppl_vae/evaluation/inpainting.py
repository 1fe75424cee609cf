"""Inpainting: missing entries by models that were trained on whole data, fed with their own guesses.

An autoencoder's guess is iterated, a VAE's codes and missing entries are drawn in turn (pseudo-Gibbs sampling):

    x_m <- d(e(x))_m                      z ~ q(z | x),   x_m ~ p(x_m | z)

For a VAE the chain leaves p(x_m | x_o) invariant if q is the exact posterior. Its first half is thrown away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_size
from ..data.checks import check_values
from .importance import check_shape, evaluating
from .imputation import Imputation, _levels, _moments
from .terms import PIECE


def inpaint(
    model: Any,
    x: Tensor,
    start: Tensor | float = 0.0,
    num_samples: int = 100,
    seed: int = 0,
    y: Tensor | None = None,
) -> Imputation:
    """Fill in the entries of x that are NaN, with a model that knows no missing entries.

    Args:
        model: an autoencoder or a VAE; ``impute`` is for VAEs whose likelihood takes missing entries.
        x: data (B, *shape), NaN where missing.
        start: what missing entries hold at first, a number or (*shape): such as the mean of the training data, or 0
            for a denoising autoencoder trained with masking.
        num_samples: steps, each with one code for every example.
        seed: of a VAE's draws.
        y: labels (B, ...), or None.

    Returns:
        an ``Imputation`` on the CPU: for a VAE means (for binary entries the more probable value) and standard
        deviations over the second half of the chain; for an autoencoder its last guess, whose uncertainty is not
        known: NaN.

    Raises:
        TypeError: a model without codes.
        ValueError: no data, or given entries outside the model's support.

    Source: Rezende, Mohamed and Wierstra 2014, "Stochastic backpropagation", section 5 and appendix F.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(3, [8]), networks.MLP(2, [8]), 2, 3)
        >>> inpaint(ae, torch.tensor([[0.5, float("nan"), 1.0]])).missing
        tensor([[False,  True, False]])
    """
    check_size("num_samples", num_samples)
    generative = hasattr(model, "likelihood") and hasattr(model, "posterior")
    if not generative and not (hasattr(model, "encode") and hasattr(model, "decode")):
        raise TypeError(f"model must be a VAE or have encode and decode to inpaint; {type(model).__name__} does not")
    x, support = check_shape(model, x), getattr(model, "support", None)
    if support is not None:
        check_values(x, np.arange(len(x)), "x", support, missing=True, ours=True)
    missing, pieces = x.isnan(), []
    with evaluating(model, seed) as device:
        first = torch.as_tensor(start, dtype=x.dtype, device=device)
        for i in range(0, len(x), PIECE):
            part, labels = x[i : i + PIECE].to(device), None if y is None else y[i : i + PIECE].to(device)
            step = _chain if generative else _iterated
            pieces.append([found.cpu() for found in step(model, part, labels, first, num_samples)])
    best, spread = (torch.cat(column) for column in zip(*pieces, strict=True))
    missing, x = missing.cpu(), x.cpu()
    return Imputation(torch.where(missing, best, x), torch.where(missing, spread, torch.zeros_like(x)), missing)


def _iterated(model: Any, x: Tensor, y: Tensor | None, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """An autoencoder's last guess of every entry, and an uncertainty that is not known."""
    missing = x.isnan()
    guess = torch.where(missing, start, x)
    for _ in range(steps):
        guess = torch.where(missing, model.decode(model.encode(guess)), x)
    return guess, torch.full_like(guess, torch.nan)


def _chain(model: Any, x: Tensor, y: Tensor | None, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Best guess and uncertainty of every entry, over the second half of a chain of codes and entries."""
    missing, kept = x.isnan(), range(steps // 2, steps)
    guess, total, square = torch.where(missing, start, x), torch.zeros_like(x), torch.zeros_like(x)
    for step in range(steps):
        p = model.likelihood(model.posterior(guess, y).sample(), y)
        if step in kept:
            mean, variance = _moments(p)
            total, square = total + mean, square + variance + mean.square()
        guess = torch.where(missing, p.sample(), x)
    mean = total / len(kept)
    spread = (square / len(kept) - mean.square()).clamp(min=0).sqrt()
    levels = _levels(model.likelihood, tuple(x.shape[1:])).to(x.device)
    best = torch.where(levels == 0, mean, mean.round())
    return best, torch.where(levels == 2, torch.minimum(mean, 1 - mean), spread)
