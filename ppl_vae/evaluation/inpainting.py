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
from ..models import VAE, Codec
from .coding import check_codec
from .doors import PIECE, batches, check_data, evaluating
from .imputation import DRAWS, Imputation, filled, levels_of
from .moments import mean_and_variance


def inpaint(
    model: Codec,
    x: Tensor,
    y: Tensor | None = None,
    *,
    start: Tensor | float = 0.0,
    num_samples: int = 100,
    seed: int = 0,
) -> Imputation:
    """Fill in the entries of x that are NaN, with a model that knows no missing entries.

    Args:
        model: an autoencoder or a VAE; ``impute`` is for VAEs whose likelihood takes missing entries.
        x: data (B, *shape), NaN where missing.
        y: labels (B, ...), or None.
        start: what missing entries hold at first, a number or (*shape): such as the mean of the training data, or 0
            for a denoising autoencoder trained with masking.
        num_samples: steps, each with one code for every example.
        seed: of a VAE's draws.

    Returns:
        an ``Imputation`` on the CPU: for a VAE means (for binary entries the more probable value) and standard
        deviations over the second half of the chain; for an autoencoder its last guess, whose uncertainty is not
        known: NaN.

    Raises:
        TypeError: a model without encoder and decoder, or a number in the place of y.
        ValueError: no data, given entries outside the model's support, or labels that do not fit.

    Source: Rezende, Mohamed and Wierstra 2014, "Stochastic backpropagation", section 5 and appendix F.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(3, [8]), networks.MLP(2, [8]), 2, 3)
        >>> inpaint(ae, torch.tensor([[0.5, float("nan"), 1.0]])).missing
        tensor([[False,  True, False]])
    """
    check_size("num_samples", num_samples)
    x, y = check_data(check_codec(model), x, y, values=False, third="start")
    if model.support is not None:
        check_values(x, np.arange(len(x)), "x", model.support, missing=True, ours=True)
    step: Any = _chain if isinstance(model, VAE) else _iterated
    with evaluating(model, seed) as device:
        first = torch.as_tensor(start, dtype=x.dtype, device=device)
        return filled(x, [step(model, first, num_samples, *batch) for batch in batches(device, PIECE, x, y)])


def _iterated(model: Codec, start: Tensor, steps: int, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """An autoencoder's last guess of every entry, and an uncertainty that is not known."""
    missing = x.isnan()
    guess = torch.where(missing, start, x)
    for _ in range(steps):
        guess = torch.where(missing, model.decode(model.encode(guess, y), y, like=guess), x)
    return guess, torch.full_like(guess, torch.nan)


def _chain(model: VAE, start: Tensor, steps: int, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Best guess and uncertainty of every entry, over the second half of a chain of codes and entries."""
    missing, kept = x.isnan(), range(steps // 2, steps)
    guess, total, square = torch.where(missing, start, x), torch.zeros_like(x), torch.zeros_like(x)
    for step in range(steps):
        p = model.likelihood(model.posterior(guess, y).sample(), y)
        if step in kept:
            mean, variance = mean_and_variance(p, DRAWS)
            total, square = total + mean, square + variance + mean.square()
        guess = torch.where(missing, p.sample(), x)
    mean = total / len(kept)
    spread = (square / len(kept) - mean.square()).clamp(min=0).sqrt()
    levels = levels_of(model.likelihood, tuple(x.shape[1:])).to(x.device)
    best = torch.where(levels == 0, mean, mean.round())
    return best, torch.where(levels == 2, torch.minimum(mean, 1 - mean), spread)
