"""Imputation: the missing entries of x from the posterior predictive.

    p(x_m | x_o) = E[p(x_m | z)],   z ~ p(z | x_o)

with z from q(z | x_o), or re-weighted to the exact posterior by w_k = p(x_o, z_k) / q(z_k | x_o), self-normalised.

Models that were trained on whole data are fed with their own guesses (``inpaint``): an autoencoder's guess is iterated,
a VAE's codes and missing entries are drawn in turn (pseudo-Gibbs sampling):

    x_m <- d(e(x))_m                      z ~ q(z | x),   x_m ~ p(x_m | z)

For a VAE the chain leaves p(x_m | x_o) invariant if q is the exact posterior. Its first half is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical

from .. import supports
from ..checks import check_size
from ..data.checks import check_values
from ..distributions.means import mean_and_variance
from ..distributions.missing import MissingEntries
from ..distributions.product import Product
from ..likelihoods import Columns, Missing
from ..models import VAE, AuxiliaryVAE, Codec, SemiSupervisedVAE, StackedSemiSupervisedVAE
from .coding import check_codec
from .doors import PIECE, batches, check_data, evaluating

DRAWS = 64  # for moments that are not known
NUMBERS = 2**22  # numbers in the intermediate tensors of one piece


@dataclass(frozen=True)
class Imputation:
    """Data with their missing entries filled in.

    Attributes:
        x: (B, *shape), given entries as they were, the others at the predictive mean, rounded for counts; for binary,
            categorical and ordinal columns at the most probable level.
        uncertainty: (B, *shape), 0 where x was given; the predictive standard deviation of the others, for columns with
            levels the probability of any other level.
        missing: bool (B, *shape), which entries were filled in.
    """

    x: Tensor
    uncertainty: Tensor
    missing: Tensor

    def __repr__(self) -> str:
        rows, *shape = self.x.shape
        filled = f"{int(self.missing.sum())} of {self.missing.numel()} entries filled in"
        return f"Imputation({rows} rows of shape {tuple(shape)}, {filled})"


def impute(
    vae: VAE | SemiSupervisedVAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num_samples: int = 100,
    seed: int = 0,
    weighted: bool = False,
) -> Imputation:
    """Fill in the entries of x that are NaN; ``inpaint`` does it with models that were trained on whole data.

    Args:
        vae: a VAE whose likelihood takes missing entries: ``likelihoods.Columns``, or any in ``likelihoods.Missing``.
        x: (B, *shape), NaN where missing.
        y: labels (B, ...), or None. Of a ``SemiSupervisedVAE``, unknown labels are drawn from q(y | x).
        num_samples: draws of z for every row.
        seed: of the draws.
        weighted: whether the draws are importance-weighted towards the exact posterior.

    Raises:
        TypeError: a model that is no VAE, or a number in the place of y.
        ValueError: no data, data outside the likelihood's support, or labels that do not fit.

    Source: Rezende et al. 2014; weights, Mattei and Frellsen 2019, "MIWAE".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> kinds = {"age": "positive", "sex": "binary"}
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.TableEncoder(2, [8], kinds=kinds), 2),
        ...     likelihoods.Columns(networks.MLP(2, [8]), 2, kinds),
        ... )
        >>> impute(vae, torch.tensor([[30.0, float("nan")]])).missing
        tensor([[False,  True]])
    """
    check_size("num_samples", num_samples)
    if not imputable(vae):
        raise TypeError(f"vae must be a VAE to impute, not {type(vae).__name__}; inpaint takes any models.Codec")
    x, y = check_data(vae, x, y, third="num_samples")
    levels = levels_of(vae.likelihood, tuple(x.shape[1:]))
    size = max(1, NUMBERS // (num_samples * levels.numel() * (2 + max(0, int(levels.max())))))
    with evaluating(vae, seed) as device:
        levels = levels.to(device)
        pieces = [_piece(vae, levels, num_samples, weighted, *batch) for batch in batches(device, size, x, y)]
    return filled(x, pieces)


def filled(x: Tensor, pieces: list[tuple[Tensor, Tensor]]) -> Imputation:
    """x with what was guessed in the place of its NaN, from pieces of guesses and uncertainties of every entry."""
    x, missing = x.cpu(), x.cpu().isnan()
    best, spread = (torch.cat(column).to(x) for column in zip(*pieces, strict=True))
    return Imputation(torch.where(missing, best, x), torch.where(missing, spread, torch.zeros_like(x)), missing)


def imputable(model: Any) -> bool:
    """Whether ``impute`` takes a model: one whose codes are those of x itself, with a likelihood of x given them."""
    return isinstance(model, VAE | SemiSupervisedVAE) and not isinstance(model, StackedSemiSupervisedVAE)


def levels_of(likelihood: Any, shape: tuple[int, ...]) -> Tensor:
    """For every entry its number of levels, 0 for numbers and -1 for counts."""
    inner = likelihood.likelihood if isinstance(likelihood, Missing) else likelihood
    if isinstance(inner, Columns):
        return torch.tensor([-1 if c.kind == "count" else c.levels or 0 for c in inner.columns])
    space = supports.of(likelihood.support)
    return torch.full(shape, {supports.BINARY: 2, supports.COUNTS: -1}.get(space, 0))


def _piece(
    vae: Any, levels: Tensor, count: int, weighted: bool, x: Tensor, y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Best guess and uncertainty of every entry of x (B, *shape)."""
    every, z, ratio = _draws(vae, x, y, count)
    p = vae.likelihood(z, every)
    weight = torch.full(z.shape[:2], 1 / count).to(z)
    if weighted:
        weight = (p.log_prob(x) + ratio()).softmax(0)
    weight = weight.reshape(*weight.shape, *[1] * (x.dim() - 1))
    p = p.base if isinstance(p, MissingEntries) else p
    means, variances = mean_and_variance(p, DRAWS)
    mean = (weight * means).sum(0)
    spread = (weight * (variances + (means - mean).square())).sum(0).sqrt()
    best = torch.where(levels < 0, mean.round(), mean)
    if (levels > 0).any():
        if isinstance(p, Product):
            probs = (weight[..., None] * p.level_probs(int(levels.max()))).sum(0)
        else:
            probs = torch.stack([1 - mean, mean], -1)
        most, code = probs.max(-1)
        best, spread = (
            torch.where(levels > 0, torch.where(most.isnan(), most, code.to(best)), best),
            torch.where(levels > 0, (1 - most).clamp(min=0), spread),
        )
    return best, spread


def _draws(model: Any, x: Tensor, y: Tensor | None, count: int) -> tuple[Tensor | None, Tensor, Callable[[], Tensor]]:
    """Labels (count, B), codes (count, B, dim) of the guide, and what gives log of p(y, z) / q(y, z | x) of each."""
    if isinstance(model, AuxiliaryVAE):
        label, z, ratio = model.draw(x, y, count)
        return label, z, lambda: ratio
    if isinstance(model, SemiSupervisedVAE):
        every, extra = _labels(model, x, y, count)
        q = model.posterior(x, every)
        z = q.sample()
        return every, z, lambda: extra + model.prior(every).log_prob(z) - q.log_prob(z)
    given, q = None if y is None else y.expand(count, *y.shape), model.posterior(x, y)
    z = q.sample((count,))
    return given, z, lambda: model.prior(given).log_prob(z) - q.log_prob(z)


def _labels(model: SemiSupervisedVAE, x: Tensor, y: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Labels (count, B) drawn of q(y | x) where they are not known, and log p(y) - log q(y | x) of them, 0 if known."""
    log_q = model.classify(x)
    drawn = Categorical(logits=log_q).sample((count,))
    log_weight = (model.frequency.log() - log_q).expand(count, *log_q.shape).gather(-1, drawn[..., None])[..., 0]
    if y is None:
        return drawn, log_weight
    known = model.target.known(y)
    return torch.where(known, y, drawn), torch.where(known, 0.0, log_weight)


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
    step: Any = _chain if imputable(model) else _iterated
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


def _chain(model: Any, start: Tensor, steps: int, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Best guess and uncertainty of every entry, over the second half of a chain of codes and entries."""
    missing, kept = x.isnan(), range(steps // 2, steps)
    guess, total, square = torch.where(missing, start, x), torch.zeros_like(x), torch.zeros_like(x)
    for step in range(steps):
        label, z, _ = _draws(model, guess, y, 1)
        p = model.likelihood(z[0], None if label is None else label[0])
        if step in kept:
            mean, variance = mean_and_variance(p, DRAWS)
            total, square = total + mean, square + variance + mean.square()
        guess = torch.where(missing, p.sample(), x)
    mean = total / len(kept)
    spread = (square / len(kept) - mean.square()).clamp(min=0).sqrt()
    levels = levels_of(model.likelihood, tuple(x.shape[1:])).to(x.device)
    best = torch.where(levels == 0, mean, mean.round())
    return best, torch.where(levels == 2, torch.minimum(mean, 1 - mean), spread)
