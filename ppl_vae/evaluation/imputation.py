"""Imputation: the missing entries of x from the posterior predictive.

    p(x_m | x_o) = E[p(x_m | z)],   z ~ p(z | x_o)

with z from q(z | x_o), or re-weighted to the exact posterior by w_k = p(x_o, z_k) / q(z_k | x_o), self-normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import supports
from ..checks import check_size
from .importance import check_data, evaluating

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


def impute(
    vae: nn.Module,
    x: Tensor,
    num_samples: int = 100,
    seed: int = 0,
    y: Tensor | None = None,
    weighted: bool = False,
) -> Imputation:
    """Fill in the entries of x that are NaN; ``inpaint`` does it with models that were trained on whole data.

    Args:
        vae: a VAE whose likelihood takes missing entries: ``likelihoods.Columns``, or any in ``likelihoods.Missing``.
        x: (B, *shape), NaN where missing.
        num_samples: draws of z for every row.
        seed: of the draws.
        y: labels (B, ...), or None.
        weighted: whether the draws are importance-weighted towards the exact posterior.

    Returns:
        an ``Imputation`` on the CPU.

    Raises:
        TypeError: a model without likelihood and posterior.
        ValueError: no data, or data outside the likelihood's support.

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
    if not (hasattr(vae, "likelihood") and hasattr(vae, "posterior")):
        raise TypeError(
            f"vae must have a likelihood and a posterior to impute; {type(vae).__name__} has not both, but inpaint "
            "takes any model with encode and decode"
        )
    check_data(vae, x)
    levels = _levels(vae.likelihood, tuple(x.shape[1:]))
    size = max(1, NUMBERS // (num_samples * levels.numel() * (2 + max(0, int(levels.max())))))
    pieces = []
    with evaluating(vae, seed) as device:
        levels = levels.to(device)
        for i in range(0, len(x), size):
            labels = None if y is None else y[i : i + size].to(device)
            pieces.append(_piece(vae, x[i : i + size].to(device), labels, levels, num_samples, weighted))
    best, spread = (torch.cat(column).to(x) for column in zip(*pieces, strict=True))
    missing = x.isnan()
    filled = torch.where(missing, best, x), torch.where(missing, spread, torch.zeros_like(x))
    return Imputation(*(value.cpu() for value in (*filled, missing)))


def _levels(likelihood: Any, shape: tuple[int, ...]) -> Tensor:
    """For every entry its number of levels, 0 for numbers and -1 for counts."""
    inner = getattr(likelihood, "likelihood", likelihood)  # of Missing
    if hasattr(inner, "columns"):
        return torch.tensor([-1 if c.kind == "count" else c.levels or 0 for c in inner.columns])
    space = supports.of(likelihood.support)
    return torch.full(shape, {supports.BINARY: 2, supports.COUNTS: -1}.get(space, 0))


def _piece(vae: Any, x: Tensor, y: Tensor | None, levels: Tensor, count: int, weighted: bool) -> tuple[Tensor, Tensor]:
    """Best guess and uncertainty of every entry of x (B, *shape)."""
    q = vae.posterior(x, y)
    z = q.sample((count,))
    p = vae.likelihood(z, None if y is None else y.expand(count, *y.shape))
    weight = torch.full(z.shape[:2], 1 / count).to(z)
    if weighted:
        weight = (p.log_prob(x) + vae.prior(y).log_prob(z) - q.log_prob(z)).softmax(0)
    weight = weight.reshape(*weight.shape, *[1] * (x.dim() - 1))
    p = getattr(p, "base", p)  # of MissingEntries
    means, variances = _moments(p)
    mean = (weight * means).sum(0)
    spread = (weight * (variances + (means - mean).square())).sum(0).sqrt()
    best = torch.where(levels < 0, mean.round(), mean)
    if (levels > 0).any():
        if hasattr(p, "level_probs"):
            probs = (weight[..., None] * p.level_probs(int(levels.max()))).sum(0)
        else:
            probs = torch.stack([1 - mean, mean], -1)
        most, code = probs.max(-1)
        best, spread = (
            torch.where(levels > 0, torch.where(most.isnan(), most, code.to(best)), best),
            torch.where(levels > 0, (1 - most).clamp(min=0), spread),
        )
    return best, spread


def _moments(p: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of every entry, from draws where they are not known."""
    try:
        return p.mean, p.variance
    except (NotImplementedError, AttributeError):
        draws = p.sample((DRAWS,))
        return draws.mean(0), draws.var(0)
