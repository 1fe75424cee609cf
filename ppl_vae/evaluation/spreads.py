"""How wide p(x | z) is, in standard deviations of the training data: whether a learned scale ran away."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from .. import supports
from ..data import as_split
from ..distributions.means import mean_and_variance
from ..likelihoods import Columns, Likelihood
from ..likelihoods.spread import Spread
from ..models import VAE, Discrete, SemiSupervisedVAE, StackedSemiSupervisedVAE
from .coding import likelihood_at
from .doors import check_data, evaluating, filled_labels

DRAWS = 256


def spreads(model: Any, x: Tensor, y: Tensor | None = None, *, train: Any) -> dict[str, float]:
    """Widths of p(x | z) at the codes of x: "spread_least" and "spread_most", in standard deviations of the data.

    The width of an entry is the median over x of its standard deviation. The least is that of the entry where it is
    smallest beside the data's; the most is the root mean square over the entries of the one, divided by the other's.
    Entries that do not vary in the training data are left out. Nothing where no scale is learned: for a mass, a fixed
    scale, entries in [0, 1], or a model without p(x | z).

    Args:
        model: a trained model.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        train: the training rows.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Normal(networks.MLP(2, [8]), 3))
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
        >>> {name: round(value) for name, value in spreads(vae, x, train=x).items()}
        {'spread_least': 1, 'spread_most': 1}
    """
    x, y = check_data(model, x, y, values=False, third=None)
    if not isinstance(model, VAE | Discrete | SemiSupervisedVAE):
        return {}
    if not isinstance(model.likelihood, Likelihood) or model.likelihood.mass:
        return {}
    if isinstance(model, StackedSemiSupervisedVAE):
        model, y = model.features, None
    y = filled_labels(model, x, y)
    learned = _learned(model.likelihood)
    if not learned.any():
        return {}
    with evaluating(model, 0) as device:
        label = None if y is None else y.to(device)
        variance = mean_and_variance(likelihood_at(model, model.encode(x.to(device), label), label), DRAWS)[1].cpu()
    width = variance.double().sqrt().nanmedian(0).values.flatten()
    std = as_split(train).resolve(model.support).std().double().flatten()
    if width.shape != std.shape:  # of a likelihood of the user's own
        return {}
    kept = learned & (std > 0) & width.isfinite() & std.isfinite()
    if not kept.any():
        return {}
    width, std = width[kept], std[kept]
    most = (width.square().mean() / std.square().mean()).sqrt()
    return {"spread_least": (width / std).min().item(), "spread_most": most.item()}


def _learned(likelihood: Likelihood) -> Tensor:
    """Which entries of x have a scale that training could make any number."""
    inner = [*likelihood.modules()]
    columns = next((module for module in inner if isinstance(module, Columns)), None)
    if columns is not None:
        return torch.tensor([column.kind in ("real", "positive") for column in columns.columns])
    fixed = any(isinstance(module, Spread) and isinstance(module.spread, int | float) for module in inner)
    place = supports.entry(likelihood.support)
    wide = any(place is each for each in (constraints.real, constraints.positive, constraints.nonnegative))
    return torch.full((torch.Size(likelihood.shape).numel(),), wide and not fixed)
