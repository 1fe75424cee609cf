"""One training run: its state, a step, an epoch, and what is saved when.

One step: ``objective(*batch).value`` in mean nats per example, gradients added over ``accumulate`` batches and all
processes, weighted by their examples, then one optimizer step. Whatever the number of processes, a step sees the same
examples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__, randomness
from ..data import Batches
from ..parts import describe
from .checkpoint import load_state
from .folder import RunFolder
from .processes import Processes
from .progress import Log
from .settings import Settings
from .steps import Steps
from .totals import FiniteCheck, Totals

SECONDS_BETWEEN_CHECKPOINTS = 60.0
STEPS_BETWEEN_CHECKS = 50  # of the loss on an accelerator, where each check waits for it


class Diverged(ValueError):
    """The loss stopped being a finite number."""


@dataclass
class History:
    """What ``fit`` returns.

    Attributes:
        rows: one dict an epoch: epoch, step, seconds, examples_per_second, lr, beta, and the means of the loss and its
            terms (nats per example) under train and valid; and what ``callback`` added.
        stopped_early: whether ``patience`` ran out.
        steps: how the steps were made: "captured", "eager", or "eager, since ..." where capturing failed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False
    steps: str = "eager"


class Run:
    """The state of one training run."""

    def __init__(
        self,
        objective: nn.Module,
        train: Any,
        valid: Any,
        settings: Settings,
        processes: Processes,
        progress: bool,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.objective: Any = objective
        self.settings, self.processes = settings, processes
        self.train_split, self.valid_split = train, valid
        shared = {"device": processes.device, "rank": processes.rank, "world": processes.count}
        self.batches = Batches(
            train, settings.batch_size, settings.seed, shuffle=settings.shuffle, workers=settings.workers, **shared
        )
        self.valid_batches = None
        if valid is not None:
            size = min(4 * settings.batch_size, len(valid))
            self.valid_batches = Batches(valid, size, settings.seed, shuffle=False, workers=settings.workers, **shared)
        self.steps_per_epoch = -(-len(self.batches) // settings.accumulate)
        self.total = self.steps_per_epoch * settings.epochs
        full = len(range(processes.rank, settings.batch_size, processes.count))
        self.steps = Steps(objective, settings, full)
        self.progress = progress and processes.main
        self.callback = callback if processes.main else None
        self.epoch, self.batch, self.step = 0, 0, 0
        self.totals = Totals()
        self.check = FiniteCheck(1 if processes.device.type == "cpu" else STEPS_BETWEEN_CHECKS)
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.seconds, self.stale, self.finished, self.stopped_early = 0.0, 0, False, False
        self.folder: RunFolder | None = None

    # Starting

    def start(self, out: str | Path | None, resume: bool, extra: dict[str, Any] | None) -> None:
        """Move to the device, find the parameters, claim the run folder and take up its checkpoint."""
        if resume and out is None:
            raise ValueError("resume needs out, the run folder to go on with")
        self.objective.to(self.processes.device)
        first = next(self.batches.epoch(0))
        if hasattr(self.objective, "prepare"):
            self.objective.prepare(*first)
        if getattr(self.objective, "whole_data", None) is not None:
            self._take_whole_data(self.objective.whole_data)
        self.processes.same_everywhere(self.objective)
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("objective has no parameters that require gradients, so there is nothing to train")
        self.optimizer = self.settings.make_optimizer(self.parameters)
        self.steps.choose(first, self.total * self.settings.accumulate)
        checkpoint = None
        if out is not None:
            folder = RunFolder(out)
            # Every process reads the folder; only the first one writes to it.
            if self.processes.main:
                checkpoint = folder.open(self._config(extra), resume)
            self.processes.wait()
            if not self.processes.main and resume and folder.checkpoint_file.exists():
                checkpoint = folder.open(self._config(extra), resume)
            self.folder = folder
            self.steps.capture = folder.config()["training"].get("capture", False)
        if checkpoint is None:
            self._train_stages()
        else:
            self._restore(checkpoint)

    def _take_whole_data(self, why: str) -> None:
        """One batch of all data, in their order; ValueError where the settings or a validation set do not allow it."""
        n, size = len(self.train_split), self.settings.batch_size
        if len(self.batches) > 1 or self.processes.count > 1:
            raise ValueError(f"batch_size is {size} of {n} data, but {why}, or use batch_size={n} in one process")
        self.batches.shuffle = False

    def _config(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        objective = describe(self.objective)
        objective.pop("model", None)
        return {
            "ppl_vae": __version__,
            "model": describe(self._model),
            "objective": objective,
            "data": getattr(self.train_split, "config", None),
            "training": {**self.settings.record(), "capture": self.steps.capture},
            **(extra or {}),
        }

    @property
    def _model(self) -> nn.Module:
        return getattr(self.objective, "model", self.objective)

    # Training

    def _train_stages(self) -> None:
        """Train what the objective names to be trained before it, each for epochs of its own, with the same data."""
        for stage, epochs in getattr(self.objective, "layers", tuple)():
            settings = replace(self.settings, epochs=epochs, patience=None, tensorboard=False)
            run = Run(stage, self.train_split, None, settings, self.processes, self.progress)
            run.start(None, False, None)
            run.train()

    def train(self) -> History:
        """Run what is left of the epochs."""
        log = Log(self.progress, self.total, self.step, self._log_folder())
        self.steps.say = log.say
        try:
            with self.processes.interruptible() as interrupted:
                while self.epoch < self.settings.epochs and not self.stopped_early and not self.finished:
                    self._train_epoch(log, interrupted)
        finally:
            log.close()
        self._finish()
        return History(self.rows, self.stopped_early, self.steps.describe())

    def _train_epoch(self, log: Log, interrupted: Callable[[], bool]) -> None:
        self.objective.train()
        began = last_saved = time.monotonic()
        before = self.seconds
        for group in self._groups():
            self._step(group)
            self.seconds = before + time.monotonic() - began
            log.step(self.epoch, self.settings.epochs, self.totals.means)
            if interrupted():
                self._stop_if_bad(self.check.first_bad())
                self._save()
                raise KeyboardInterrupt
            if self._checkpoint_is_due(last_saved):
                self._stop_if_bad(self.check.first_bad())
                self._save()
                last_saved = time.monotonic()
        self._stop_if_bad(self.check.first_bad())
        self._close_epoch(log)

    def _groups(self) -> Iterator[list[tuple[int, tuple[Tensor, ...]]]]:
        """Batches of the epoch from where it stands, ``accumulate`` at a time, with their indices."""
        group = []
        for index, batch in enumerate(self.batches.epoch(self.epoch, start=self.batch), start=self.batch):
            group.append((index, batch))
            if len(group) == self.settings.accumulate or index == len(self.batches) - 1:
                yield group
                group = []

    def _step(self, group: list[tuple[int, tuple[Tensor, ...]]]) -> None:
        lr = self.settings.lr_at(self.step, self.total)
        for params in self.optimizer.param_groups:
            if not callable(self.settings.optimizer) or self.settings.schedule != "constant" or self.settings.warmup:
                params["lr"] = lr
        if hasattr(self.objective, "at_step"):
            self.objective.at_step(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        everyone = sum(self._joint_size(index) for index, _ in group)
        for _, batch in group:
            share = len(batch[0]) / everyone
            if share:
                self._backward(batch, share)
        self.processes.add_gradients(self.parameters)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.optimizer.step()
        self.step += 1
        self.batch = group[-1][0] + 1

    def _backward(self, batch: tuple[Tensor, ...], share: float) -> None:
        loss = self.steps(batch, share, resumed=self.step > 0)
        self._stop_if_bad(self.check.add(self.step + 1, loss.value), batch)
        self.totals.add(loss, len(batch[0]))

    def _joint_size(self, index: int) -> int:
        """Examples of a batch over all processes."""
        return min(self.settings.batch_size, len(self.train_split) - index * self.settings.batch_size)

    def _stop_if_bad(self, found: tuple[int, float] | None, batch: tuple[Tensor, ...] = ()) -> None:
        """Raise Diverged if a loss was not finite; the checkpoint on disk is left alone."""
        if found is None:
            return
        step, value = found
        site = self.objective.diagnose(*batch) if batch and hasattr(self.objective, "diagnose") else None
        raise Diverged(
            f"the loss became {value} at step {step}{f' at site {site}' if site else ''}{self._what_is_kept()}"
        )

    def _what_is_kept(self) -> str:
        kept = ""
        if self.folder is not None and self.folder.checkpoint_file.exists():
            kept = f"; the last good checkpoint is kept in {self.folder.path}"
        return f"{kept}; a smaller lr or clip= may serve"

    @torch.no_grad()
    def _validate(self, batches: Batches) -> dict[str, float]:
        self.objective.eval()
        totals = Totals()
        with randomness.isolated(randomness.apart(self.settings.seed + self.processes.rank), self.processes.device):
            for batch in batches.epoch(0):
                if len(batch[0]):
                    with self.steps.context():
                        totals.add(self.objective(*batch), len(batch[0]))
        return Totals(self.processes.add_sums(totals.sums)).means()

    def _close_epoch(self, log: Log) -> None:
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "seconds": round(self.seconds, 3),
            "examples_per_second": round((self.epoch + 1) * len(self.train_split) / max(self.seconds, 1e-9), 1),
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        if hasattr(self.objective, "at_step"):
            row |= self.objective.at_step(self.step - 1)
        row["train"] = Totals(self.processes.add_sums(self.totals.sums)).means()
        if self.valid_batches is not None:
            row["valid"] = self._validate(self.valid_batches)
            self._watch(row["valid"])
        if self.callback is not None:
            with randomness.isolated(randomness.apart(self.settings.seed), self.processes.device):
                self.callback(row)
        self.rows.append(row)
        self.epoch, self.batch, self.totals = self.epoch + 1, 0, Totals()
        log.epoch(row)
        if self.epoch < self.settings.epochs and not self.stopped_early:
            self._save()

    def _watch(self, valid: dict[str, float]) -> None:
        if self.settings.patience is None:
            return
        name, way = getattr(self.objective, "watch", ("loss", "min"))
        value = -valid[name] if way == "max" else valid[name]
        if self.best is None or value < self.best["value"]:
            state = {key: item.detach().cpu().clone() for key, item in self.objective.state_dict().items()}
            self.best, self.stale = {"value": value, "state": state}, 0
        else:
            self.stale += 1
        self.stopped_early = self.stale >= self.settings.patience

    # Saving

    def _checkpoint_is_due(self, last_saved: float) -> bool:
        if self.folder is None or self.batch == len(self.batches):
            return False
        every = self.settings.checkpoint_every
        if every is not None and self.step % every == 0:
            return True
        # By the clock only where one process decides alone.
        return self.processes.count == 1 and time.monotonic() - last_saved > SECONDS_BETWEEN_CHECKPOINTS

    def _save(self) -> None:
        if self.folder is None:
            return
        if not all(p.isfinite().all() for p in self.parameters):
            raise Diverged(f"a parameter became NaN or infinite by step {self.step}{self._what_is_kept()}")
        states = self.processes.gather(randomness.capture(self.processes.device))
        if self.processes.main:
            self.folder.save(self._state(states), self._model)

    def _state(self, random_states: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": random_states,
            "at": [self.epoch, self.batch, self.step],
            "sums": self.totals.sums,
            "rows": self.rows,
            "best": self.best,
            "stale": self.stale,
            "seconds": self.seconds,
            "finished": self.finished,
            "stopped_early": self.stopped_early,
            "capture": self.steps.capture,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        assert self.folder is not None
        load_state(self.objective, state["objective"], self.folder.checkpoint_file)
        self.optimizer.load_state_dict(state["optimizer"])
        if len(state["random"]) != self.processes.count:
            raise ValueError(
                f"the run in {self.folder.path} was trained by {len(state['random'])} processes and is now resumed by "
                f"{self.processes.count}; start as many"
            )
        randomness.restore(state["random"][self.processes.rank], self.processes.device)
        self.epoch, self.batch, self.step = state["at"]
        device = self.processes.device
        sums = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in state["sums"].items()}
        self.totals = Totals(sums)
        self.rows, self.best, self.stale = state["rows"], state["best"], state["stale"]
        self.seconds, self.stopped_early = state["seconds"], state["stopped_early"]
        self.steps.capture = state.get("capture", False)
        self.finished = state["finished"] and (self.stopped_early or self.epoch >= self.settings.epochs)

    def _finish(self) -> None:
        if self.best is not None and not self.finished:
            self.objective.load_state_dict(self.best["state"])
        if hasattr(self.objective, "conclude") and not self.finished:
            self.objective.conclude(self.train_split.batches(device=self.processes.device))
        self.finished = True
        self._save()
        self.objective.eval()

    def _log_folder(self) -> Path | None:
        return self.folder.path / "tensorboard" if self.folder and self.settings.tensorboard else None
