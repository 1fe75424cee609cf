"""Rows of a table as a model makes them, and what its columns are.

The rows follow the model's joint distribution, p(x) = E[p(x | z)] over z ~ p(z); each column alone is a marginal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import supports
from ..distributions.given_total import GivenTotal
from ..kinds import Column, parse_kinds
from ..likelihoods import Columns, Missing
from ..models import VAE, Codec, Discrete, Latent
from .coding import PICTURES, check_codec, decode, likelihood_at
from .doors import check_labels, in_pieces
from .generation import random_codes

_KINDS = {supports.BINARY: "binary", supports.COUNTS: "count", supports.POSITIVE: "positive"}


def columns_of(model: Codec, names: Sequence[str] | None = None, kinds: Any = None) -> tuple[Column, ...]:
    """The columns of the tables that a model is of: names, kinds, levels and their words.

    Args:
        model: a model whose rows are vectors (D,).
        names: of the columns; by default those of the kinds, else numbers from 0.
        kinds: the mapping of ``data.load(..., kinds=...).kinds``; by default those of ``likelihoods.Columns``, else all
            columns are of the kind that the model's support suggests.

    Raises:
        TypeError: a model without an encoder.
        ValueError: rows that are not vectors, or names or kinds that do not fit them.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(2, [8]), networks.MLP(1, [8]), 1, 2)
        >>> [(column.name, column.kind) for column in columns_of(ae, ["age", "height"])]
        [('age', 'real'), ('height', 'real')]
    """
    shape = tuple(check_codec(model).shape)
    if len(shape) != 1:
        raise ValueError(f"model must be one of tables, whose rows have one dimension, not of data of shape {shape}")
    if names is not None and len(names) != shape[0]:
        raise ValueError(f"names must hold one name for each of the {shape[0]} columns, not {len(names)}")
    if kinds is not None:
        return parse_kinds(kinds, shape[0] if names is None else names)
    likelihood = model.likelihood if isinstance(model, VAE | Discrete) else None
    inner = likelihood.likelihood if isinstance(likelihood, Missing) else likelihood
    if isinstance(inner, Columns):
        found = inner.columns
    else:
        kind = _KINDS.get(supports.of(model.support), "real") if likelihood is not None else "real"
        levels = 2 if kind == "binary" else None
        found = tuple(Column(str(i), kind, levels) for i in range(shape[0]))
    return found if names is None else tuple(replace(c, name=n) for c, n in zip(found, names, strict=True))


def sample_rows(
    model: Codec | Latent, n: int, y: Tensor | None = None, *, x: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Rows (n, D) as the model makes them: codes drawn from the prior, and x drawn from p(x | z, y).

    An autoencoder has no p(x | z): its rows are decoded random codes, which lack the noise of data.

    Args:
        model: a VAE or an autoencoder.
        n: how many.
        y: labels (n, ...) to draw for, or None.
        x: training data (N, D), for a model without a prior; rows of counts given their total get its rows' totals.
        seed: of the draws.

    Raises:
        TypeError: a model without a prior, and no x.
        ValueError: n below 1, or labels that do not fit.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Poisson(networks.MLP(2, [8]), 3))
        >>> sample_rows(vae, 5).shape
        torch.Size([5, 3])
    """
    z = random_codes(model, n, y, x=x, seed=seed)
    if not isinstance(model, VAE | Discrete):
        return decode(check_codec(model), z, y)
    y = check_labels(model, y, n)
    totals = None if x is None else x.nansum(-1)[torch.arange(n) % len(x)]

    def draw(z: Tensor, y: Tensor | None, totals: Tensor | None) -> Tensor:
        p = likelihood_at(model, z, y)
        if isinstance(p, GivenTotal) and totals is not None:
            p = p.at_total(totals)
        return p.sample()

    return in_pieces(model, draw, z, y, totals, seed=seed + 1, size=PICTURES)
