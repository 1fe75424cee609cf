"""Figures: what one trained model is measured by, on test examples, in nats per example at beta = 1.

The gap is log p(x) - ELBO = KL(q(z | x) || p(z | x)), estimated as the importance-sampled log-likelihood less the ELBO.
Of models with integer codes, such as a VQ-VAE, the ELBO is all that is known.
"""

from __future__ import annotations

import contextlib
import copy
import math
from typing import Any

import torch
from pyro.infer import ELBO

from .. import evaluation, randomness
from ..data import Split
from ..evaluation.gradients import snr
from ..memory import PeakMemory
from ..models.protocols import Codec, Discrete, is_pair
from ..objectives import SVI
from ..objectives.objective import Objective
from ..training import fit
from .cells import Parts

WATCHED, GRADIENTS = 200, 100
"""Test examples of the figures along the way, and of the gradients' signal-to-noise ratio."""
PARTICLES, TIMES, REPEATS = 100, 10, 20
"""Importance samples along the way, how often, and gradients for each ratio there."""
LAST_REPEATS = 100
"""Gradients for each ratio after training."""
PIECE = 1000
"""Examples at a time."""


def final(objective: Objective, split: Split, train: Split, num_particles: int, limit: int) -> dict[str, Any]:
    """Everything about a trained model, on the first ``limit`` examples; of a model of no known kind its loss."""
    model = objective.model.eval()
    if is_pair(model) or isinstance(model, Codec):
        found = evaluation.evaluate(model, split, num_particles=num_particles, limit=limit, train=train)
    else:
        found = _loss(objective, split, limit)
    if "log_likelihood" in found:
        found["gap"] = found["log_likelihood"] - found["elbo"]
    if isinstance(objective, SVI) and isinstance(objective.estimator, ELBO):
        found["train_particles"] = objective.estimator.num_particles
    parameters = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    return found | signal_to_noise(objective, split, LAST_REPEATS) | {"parameters": parameters}


def of_validation(objective: Objective, data: Parts, num_particles: int, limit: int) -> dict[str, Any] | None:
    """The figures of validation examples, to choose a setting by before its test figures are looked at.

    None without validation rows, if these are the measured ones, or if the model has no ELBO.
    """
    model = objective.model.eval()
    if data.valid is None or data.measured is data.valid or not (is_pair(model) or isinstance(model, Discrete)):
        return None
    split = data.valid.resolve(objective.support)
    return evaluation.evaluate(model, split, num_particles=num_particles, limit=limit, train=data.train)


def _loss(objective: Objective, split: Split, limit: int) -> dict[str, Any]:
    """The objective's own loss."""
    n, device = min(limit, len(split)), next(objective.parameters()).device
    total = 0.0
    with torch.no_grad(), randomness.isolated(0, device):
        for start in range(0, n, PIECE):
            batch = split.take(slice(start, min(start + PIECE, n)))
            total += len(batch[0]) * float(objective.eval()(*(part.to(device) for part in batch)).value)
    return {"loss": total / n, "n": n}


def signal_to_noise(objective: Objective, split: Split, repeats: int) -> dict[str, float]:
    """Signal-to-noise ratio of the estimator's gradients, encoder and decoder; nothing where there is none."""
    if not isinstance(objective, SVI):
        return {}
    batch = split.take(slice(0, min(GRADIENTS, len(split))))
    try:
        found = snr(objective.model, objective.estimator, *batch, repeats=repeats).snr
    except (ValueError, TypeError, NotImplementedError):  # one of Pyro's own, or latents outside the plate
        return {}
    return {f"snr_{group}": estimate.value[0].item() for group, estimate in found.items()}


def warm_up(objective: Objective, train: Split, device: str) -> None:
    """One step of a copy on two examples: what a process loads at its first step is not the cell's time and memory."""
    with contextlib.suppress(Exception):  # the training itself will say it
        few = train.resolve(objective.support).take(slice(0, 2))
        fit(copy.deepcopy(objective), few, epochs=1, device=device, progress=False)


class Watch:
    """``fit``'s callback: adds row["test"] at up to ten of the epochs, the last among them, on a split.

    Before it first evaluates, in the first epoch of the main stage, it ends the memory's watch.
    """

    def __init__(self, objective: Objective, split: Split, epochs: int, memory: PeakMemory) -> None:
        self.objective, self.split, self.memory = objective, split, memory
        self.epochs = {math.ceil(epochs * (i + 1) / TIMES) for i in range(TIMES)}

    def __call__(self, row: dict[str, Any]) -> None:
        """Add figures to the row of an epoch."""
        if row.get("stage"):  # before or after the main one
            return
        self.memory.stop()
        model = self.objective.model
        if row["epoch"] not in self.epochs or not is_pair(model):
            return
        x, *labels = self.split.take(slice(0, min(WATCHED, len(self.split))))
        told = not isinstance(model, Codec) or model.target is None  # else the final figures are of x alone
        y = labels[0] if labels and told else None
        likelihood = evaluation.log_likelihood(model, x, num_particles=PARTICLES, y=y).mean
        elbo = evaluation.elbo(model, x, y).elbo.mean().item()
        test = {"log_likelihood": likelihood, "elbo": elbo, "gap": likelihood - elbo}
        row["test"] = {**test, **signal_to_noise(self.objective, self.split, REPEATS)}
