"""Figures: what one trained model is measured by, on test examples, in nats per example at beta = 1.

The gap is log p(x) - ELBO = KL(q(z | x) || p(z | x)), estimated as the importance-sampled log-likelihood less the ELBO.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import math
import threading
from typing import Any

import psutil
import torch

from .. import evaluation, randomness
from ..data import Split
from ..evaluation.gradients import snr
from ..models.protocols import Codec, is_pair
from ..objectives import SVI
from ..objectives.objective import Objective
from ..training import fit

WATCHED, GRADIENTS = 200, 100
"""Test examples of the figures along the way, and of the gradients' signal-to-noise ratio."""
PARTICLES, TIMES, REPEATS = 100, 10, 20
"""Importance samples along the way, how often, and gradients for each ratio there."""
LAST_REPEATS = 100
"""Gradients for each ratio after training."""
PIECE = 1000
"""Examples at a time."""


def final(objective: Objective, split: Split, num_particles: int, limit: int) -> dict[str, Any]:
    """Everything about a trained model, on the first ``limit`` examples; of a model of no known kind its loss."""
    model = objective.model.eval()
    if is_pair(model) or isinstance(model, Codec):
        found = evaluation.evaluate(model, split, num_particles=num_particles, limit=limit)
    else:
        found = _loss(objective, split, limit)
    if "elbo" in found:
        found["gap"] = found["log_likelihood"] - found["elbo"]
    parameters = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    return found | signal_to_noise(objective, split, LAST_REPEATS) | {"parameters": parameters}


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
    """``fit``'s callback: adds row["test"] at up to ten epochs, the last among them, and ends the memory's watch.

    Args:
        objective: what is trained.
        split: the test examples.
        epochs: of the whole run.
        memory: stopped after the first epoch of the main stage, before anything is evaluated here.
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
        y = labels[0] if labels else None
        likelihood = evaluation.log_likelihood(model, x, num_particles=PARTICLES, y=y).mean
        elbo = evaluation.elbo(model, x, y).elbo.mean().item()
        test = {"log_likelihood": likelihood, "elbo": elbo, "gap": likelihood - elbo}
        row["test"] = {**test, **signal_to_noise(self.objective, self.split, REPEATS)}


class PeakMemory:
    """The most memory that training took above what the process held before, in MiB, as a context manager.

    On an accelerator that of CUDA's allocator, else the resident set, looked at every 10 ms.

    Args:
        device: where the training is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.peak = device, math.nan
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return self
        _give_back()
        self.process = psutil.Process()
        self.before = self.most = self.process.memory_info().rss
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the watch and say what it saw; what comes after does not count."""
        if self._done.is_set():
            return
        self._done.set()
        if self.device.type == "cuda":
            self.most = torch.cuda.max_memory_allocated(self.device)
        else:
            self._thread.join()
            self.most = max(self.most, self.process.memory_info().rss)
        self.peak = (self.most - self.before) / 2**20

    def __exit__(self, *_: object) -> None:
        self._done.set()  # where nothing was trained, nothing is said

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, self.process.memory_info().rss)


def _give_back() -> None:
    """Let the C library return what it holds free, or the second training of a process seems to take nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
