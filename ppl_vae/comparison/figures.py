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
from torch import nn

from .. import evaluation
from ..training import fit

WATCHED, GRADIENTS = 200, 100
"""Test examples of the figures along the way, and of the gradients' signal-to-noise ratio."""
PARTICLES, TIMES, REPEATS = 100, 10, 20
"""Importance samples along the way, how often, and gradients for each ratio there."""
LAST_REPEATS = 100
"""Gradients for each ratio after training."""


def final(objective: Any, data: Any, num_particles: int, limit: int) -> dict[str, Any]:
    """Everything about a trained model, on the first ``limit`` test examples."""
    model = objective.model.eval()
    split = test_split(data).resolve(getattr(model, "support", None))
    found = evaluation.evaluate(model, split, num_particles=num_particles, limit=limit)
    if "elbo" in found:
        found["gap"] = found["log_likelihood"] - found["elbo"]
    parameters = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    return found | signal_to_noise(objective, split, LAST_REPEATS) | {"parameters": parameters}


def test_split(data: Any) -> Any:
    """The test examples, or without any the validation or training examples."""
    return next(split for split in (data.test, data.valid, data.train) if len(split))


def signal_to_noise(objective: Any, split: Any, repeats: int) -> dict[str, float]:
    """Signal-to-noise ratio of the estimator's gradients, encoder and decoder; nothing where there is none."""
    if not hasattr(objective, "estimator"):
        return {}
    from ..evaluation.gradients import snr

    batch = split.take(slice(0, min(GRADIENTS, len(split))))
    try:
        found = snr(objective.model, objective.estimator, *batch, repeats=repeats).snr
    except (ValueError, TypeError, NotImplementedError):  # one of Pyro's own, or latents outside the plate
        return {}
    return {f"snr_{group}": estimate.value[0].item() for group, estimate in found.items()}


def warm_up(objective: Any, data: Any, device: str) -> None:
    """One step of a copy on two examples: what a process loads at its first step is not the cell's time and memory."""
    with contextlib.suppress(Exception):  # the training itself will say it
        few = data.train.resolve(getattr(objective, "support", None)).take(slice(0, 2))
        fit(copy.deepcopy(objective), few, epochs=1, device=device, progress=False)


class Watch:
    """``fit``'s callback: adds row["test"] at up to ten epochs, the last among them, and ends the memory's watch.

    Args:
        objective: what is trained.
        data: where the test examples are.
        epochs: of the whole run.
        memory: stopped after the first epoch, before anything is evaluated here.
    """

    def __init__(self, objective: Any, data: Any, epochs: int, memory: PeakMemory) -> None:
        self.objective, self.data, self.memory = objective, data, memory
        self.epochs = {math.ceil(epochs * (i + 1) / TIMES) for i in range(TIMES)}

    def __call__(self, row: dict[str, Any]) -> None:
        """Add figures to the row of an epoch."""
        self.memory.stop()
        model: nn.Module = self.objective.model
        if row["epoch"] not in self.epochs or not hasattr(model, "guide"):
            return
        split = test_split(self.data).resolve(getattr(model, "support", None))
        x, *y = split.take(slice(0, min(WATCHED, len(split))))
        label = y[0] if y else None
        likelihood = evaluation.log_likelihood(model, x, num_particles=PARTICLES, y=label).mean
        elbo = evaluation.elbo(model, x, label).elbo.mean().item()
        test = {"log_likelihood": likelihood, "elbo": elbo, "gap": likelihood - elbo}
        row["test"] = {**test, **signal_to_noise(self.objective, split, REPEATS)}


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
