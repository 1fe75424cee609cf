"""Predictions of y and clusters of x by a model, and how many of them are right."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..models import Clustering, Predictor, SemiSupervisedVAE
from ..networks import Label
from ..statistics.clusters import cluster_agreement
from .doors import PIECE, check_data, in_pieces


def predict(model: Predictor, x: Tensor) -> Tensor:
    """Predictions of y from x, on the CPU: probabilities (B, classes) of classes, or means (B, *event) of numbers.

    Args:
        model: a ``models.Predictor``, such as a ``SemiSupervisedVAE``.
        x: data (B, *shape).

    Raises:
        TypeError: a model that predicts nothing.
        ValueError: no data, or data of another shape.
    """
    if not isinstance(model, Predictor):
        raise TypeError(
            f"predict needs a models.Predictor, such as a SemiSupervisedVAE or SupervisedVAE, not a "
            f"{type(model).__name__}; evaluation.linear_probe classifies codes"
        )
    x, _ = check_data(model, x, values=False, third=None)
    return in_pieces(model, model.predict, x, size=PIECE)


def assign(model: Clustering, x: Tensor) -> Tensor:
    """Probabilities (B, components) of the components of x, on the CPU.

    Args:
        model: a ``models.Clustering``, such as a ``MixtureVAE``.
        x: data (B, *shape).

    Raises:
        TypeError: a model without components.
        ValueError: no data, or data of another shape.
    """
    if not isinstance(model, Clustering):
        raise TypeError(f"assign needs a models.Clustering, such as a MixtureVAE, not a {type(model).__name__}")
    x, _ = check_data(model, x, values=False, third=None)
    return in_pieces(model, model.assign, x, size=PIECE)


def columns(model: Any, x: Tensor) -> dict[str, Tensor]:
    """What ``scores`` needs of x, predictions and components; of a ``SemiSupervisedVAE`` KL(q(y | x) || p(y)) too."""
    found = {"predicted": predict(model, x)} if isinstance(model, Predictor) else {}
    if isinstance(model, SemiSupervisedVAE):
        share = found["predicted"].double()
        found["label_kl"] = (torch.xlogy(share, share) - share * model.frequency.cpu().log()).sum(1)
    return found | ({"assigned": assign(model, x)} if isinstance(model, Clustering) else {})


def scores(model: Any, found: dict[str, Tensor], y: Tensor | None) -> dict[str, float]:
    """Figures of predictions and clusters against the labels y; none where there are no labels of their kind."""
    out: dict[str, float] = {}
    if y is None:
        return out
    if "predicted" in found:
        known = model.target.known(y)
        out |= _of_predictions(model.target, found["predicted"][known], y[known]) if known.any() else {}
    if "assigned" in found and y.dim() == 1 and not y.is_floating_point() and (known := y >= 0).any():
        out |= cluster_agreement(y[known], found["assigned"][known].argmax(-1))
    return out


def _of_predictions(target: Any, predicted: Tensor, y: Tensor) -> dict[str, float]:
    if isinstance(target, Label):
        return {"accuracy": (predicted.argmax(-1) == y).double().mean().item()}
    error = (predicted.double() - y.double()).square()
    spread = (y.double() - y.double().mean(0)).square().mean().item()
    explained = 1 - error.mean().item() / spread if spread else math.nan
    return {"prediction_error": math.sqrt(error.mean().item()), "explained": explained}
