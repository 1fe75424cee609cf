"""The loop of one stage: its epochs and steps, its validation, its best weights.

One step: ``objective(*batch).value`` in mean nats per example, gradients added over ``accumulate`` batches and all
processes, weighted by their examples, then one step of every optimizer whose player moves. Whatever the number of
processes, a step sees the same examples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from .. import randomness
from ..data import Batches
from ..objectives import Stage, as_objective
from .history import Diverged
from .players import find_movers, turns
from .processes import Processes
from .progress import Log
from .settings import Settings, check_number
from .stages import seed_of, stage_words, try_once
from .steps import Steps
from .totals import FiniteCheck, Totals

SECONDS_BETWEEN_CHECKPOINTS = 60.0
CHECKPOINTS = 100  # at ends of epochs, about, of a stage with more epochs than this
STEPS_BETWEEN_CHECKS = 50  # of the loss on an accelerator, where each check waits for it

Group = list[tuple[int, tuple[Tensor, ...]]]


class Loop:
    """The training of one stage, from where it stands.

    Args:
        stage: what is trained.
        settings: of ``fit``; epochs and patience are the main stage's.
        batches: of the training data; order and noise are set to the stage's.
        valid: batches of the validation data, or None.
        processes: those of the run.

    Attributes:
        epoch: finished epochs.
        batch: batches done in the epoch that is under way.
        step: finished optimizer steps.
        seconds: of training in this stage; ``before`` of the stages before it.
        save: writes a checkpoint, or None where there is no run folder.
        asked: why callbacks asked for the stage to end, or "".
        close: takes the row of a finished epoch; gives words if callbacks ask for the stage to end.
        kept: words about what is kept, for errors.
    """

    def __init__(
        self, stage: Stage, settings: Settings, batches: Batches, valid: Batches | None, processes: Processes
    ) -> None:
        self.stage, self.objective = stage, as_objective(stage.objective)
        self.module = self.objective.itself
        if not stage.name and (stage.epochs, stage.patience, stage.keep) != (None, None, None):
            raise ValueError("the main stage takes epochs, patience and keep from fit; give its Stage none of them")
        check_number("lr_factor", stage.lr_factor)
        epochs = settings.epochs if stage.epochs is None else stage.epochs
        best = stage.patience is not None or (stage.keep == "best" and valid is not None)
        own: dict[str, Any] = {"patience": stage.patience, "keep": "best" if best else "last"}
        self.settings = replace(settings, epochs=epochs, **(own if stage.name else {}))
        self.batches, self.valid, self.processes = batches, valid, processes
        self.seed = seed_of(settings.seed, stage.name)
        self.total = -(-len(batches) // settings.accumulate) * self.settings.epochs
        self.epoch, self.batch, self.step = 0, 0, 0
        self.seconds, self.before, self.stale, self.stopped_early = 0.0, 0.0, 0, False
        self.asked = ""
        self.best: dict[str, Any] | None = None
        self.saved = time.monotonic()
        self.totals = Totals()
        self.check = FiniteCheck(1 if processes.device.type == "cpu" else STEPS_BETWEEN_CHECKS)
        self.save: Callable[[], None] | None = None
        self.close: Callable[[dict[str, Any]], str] = lambda row: ""
        self.kept: Callable[[], str] = lambda: ""

    # Before the first step

    def prepare(self, batch: tuple[Tensor, ...], whole: nn.Module) -> None:
        """Try the first batch, and find the players and how steps are made; ValueError if something cannot be."""
        self.module.to(self.processes.device)
        self.objective.prepare(*batch)
        if self.objective.whole_data is not None and (len(self.batches) > 1 or self.processes.count > 1):
            n, size = len(self.batches.split), self.settings.batch_size
            raise ValueError(
                f"batch_size is {size} of {n} data, but {self.objective.whole_data}, or use batch_size={n} in one "
                "process"
            )
        self._check_watch()
        try_once(self.module, batch, whole)
        self.processes.same_everywhere(self.module)
        self.movers = find_movers(self.objective, self.settings, self.stage.lr_factor)
        self.turns = turns(self.movers)
        self.parameters = [p for mover in self.movers for p in mover.parameters]
        full = len(range(self.processes.rank, self.settings.batch_size, self.processes.count))
        self.steps = Steps(self.module, self.settings, full, self.turns)

    def _check_watch(self) -> None:
        """ValueError unless there is something to watch where patience or the best weights ask for it."""
        patience, watch, words = self.settings.patience, self.objective.watch, stage_words(self.stage.name)
        if patience is None and self.settings.keep == "last":
            return
        asked, instead = (
            ("keep is 'best'", "keep='last'") if patience is None else (f"patience is {patience}", "patience=None")
        )
        if self.valid is None:
            raise ValueError(f"{asked}, but there is no valid data to watch; pass valid=")
        if watch is None:
            raise ValueError(f"{asked}, but the objective of {words} watches no term; use {instead}")
        if watch[1] not in ("min", "max"):
            raise ValueError(f"watch must be a term and 'min' or 'max', not {watch!r}")

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where a checkpoint stands."""
        self.epoch, self.batch, self.step = state["at"][1:]
        for mover in self.movers:
            mover.optimizer.load_state_dict(state["optimizers"][mover.name])
        device = self.processes.device
        sums = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in state["sums"].items()}
        self.totals, self.best, self.stale = Totals(sums), state["best"], state["stale"]

    # Training

    @property
    def over(self) -> bool:
        """Whether the stage ends before its epochs."""
        return self.stopped_early or bool(self.asked)

    @property
    def why(self) -> str:
        """Why it does, in words."""
        patience = f"no better validation for {self.settings.patience} epochs" if self.stopped_early else ""
        return "; ".join(filter(None, (self.asked, patience)))

    def train(self, log: Log, interrupted: Callable[[], bool]) -> None:
        """Run what is left of the epochs."""
        self.steps.say, self.saved = log.say, time.monotonic()
        self.batches.seed = self.seed
        self.batches.shuffle = self.settings.shuffle and self.objective.whole_data is None
        while self.epoch < self.settings.epochs and not self.over:
            self.train_epoch(log, interrupted)

    def train_epoch(self, log: Log, interrupted: Callable[[], bool]) -> None:
        """Run what is left of an epoch, and close it."""
        self.module.train()
        began, before = time.monotonic(), self.seconds
        with pyro.validation_enabled(False):
            for group in self._groups():
                self._step(group)
                self.seconds = before + time.monotonic() - began
                log.step(self.stage.name, self.epoch, self.settings.epochs, self.totals.means)
                stop = interrupted()
                if self.save is not None and (stop or self._checkpoint_is_due()):
                    self.stop_if_bad(self.check.first_bad())
                    self._save()
                if stop:
                    raise KeyboardInterrupt
        self.stop_if_bad(self.check.first_bad())
        self._close_epoch()

    def _groups(self) -> Iterator[Group]:
        """Batches of the epoch from where it stands, ``accumulate`` at a time, with their indices."""
        group: Group = []
        for index, batch in enumerate(self.batches.epoch(self.epoch, start=self.batch), start=self.batch):
            group.append((index, batch))
            if len(group) == self.settings.accumulate or index == len(self.batches) - 1:
                yield group
                group = []

    def _step(self, group: Group) -> None:
        lr, movers = self.settings.lr_at(self.step, self.total), self.turns[self.step % len(self.turns)]
        self.objective.at_step(self.step)
        for mover in movers:
            mover.set_lr(lr)
            mover.optimizer.zero_grad(set_to_none=True)
        everyone = sum(self._joint_size(index) for index, _ in group)
        for _, batch in group:
            share = len(batch[0]) / everyone
            if share:
                loss = self.steps(batch, share, movers, resumed=self.step > 0)
                value = sum(loss.others.values(), loss.value) if loss.others else loss.value
                self.stop_if_bad(self.check.add(self.step + 1, value), batch)
                self.totals.add(loss, len(batch[0]))
        for mover in movers:
            self.processes.add_gradients(mover.parameters)
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(mover.parameters, self.settings.clip)
        for mover in movers:
            mover.optimizer.step()
        self.step += 1
        self.batch = group[-1][0] + 1

    def _joint_size(self, index: int) -> int:
        """Examples of a batch over all processes."""
        return min(self.settings.batch_size, len(self.batches.split) - index * self.settings.batch_size)

    def stop_if_bad(self, found: tuple[int, float] | None, batch: tuple[Tensor, ...] = ()) -> None:
        """Raise Diverged if a loss was not finite; the checkpoint on disk is left alone."""
        if found is None:
            return
        step, value = found
        first = self.objective.diagnose(*batch) if batch else None
        where = f" of {stage_words(self.stage.name)}" if self.stage.name else ""
        why = f", where {first} is not finite" if first else ""
        raise Diverged(f"the loss became {value} at step {step}{where}{why}{self.kept()}")

    def _checkpoint_is_due(self) -> bool:
        if self.batch == len(self.batches):
            return False
        every = self.settings.checkpoint_every
        return (every is not None and self.step % every == 0) or self._long_ago()

    def _long_ago(self) -> bool:
        """Whether the last checkpoint is old, by the clock: only where one process decides alone."""
        return self.processes.count == 1 and time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS

    def _save(self) -> None:
        assert self.save is not None
        self.objective.at_step(max(self.step - 1, 0))  # what the last step has left to do is done before it is kept
        self.save()
        self.saved = time.monotonic()

    # After an epoch

    def _close_epoch(self) -> None:
        row: dict[str, Any] = {
            "stage": self.stage.name,
            "epoch": self.epoch + 1,
            "step": self.step,
            "seconds": round(self.before + self.seconds, 3),
            "examples_per_second": round((self.epoch + 1) * len(self.batches.split) / max(self.seconds, 1e-9), 1),
            "lr": self.movers[0].optimizer.param_groups[0]["lr"],
            **self.objective.at_step(self.step - 1),
            "train": Totals(self.processes.add_sums(self.totals.sums)).means(),
        }
        if self.valid is not None:
            row["valid"] = self._validate(self.valid)
        # Callbacks come before anything is changed: where one fails, the epoch can be closed again.
        self.asked = self.close(row)
        if self.valid is not None:
            self._watch(row["valid"])
        self.epoch, self.batch, self.totals = self.epoch + 1, 0, Totals()
        if self.asked and self.save is not None:
            self._save()  # a resumed run keeps to the callbacks' decision
        if self.save is not None and self.epoch < self.settings.epochs and not self.over:
            if self.epoch % -(-self.settings.epochs // CHECKPOINTS) == 0 or self._long_ago():
                self._save()

    @torch.no_grad()
    def _validate(self, batches: Batches) -> dict[str, float]:
        self.module.eval()
        totals = Totals()
        seed = randomness.apart(self.settings.seed + self.processes.rank)
        with randomness.isolated(seed, self.processes.device), pyro.validation_enabled(False):
            for batch in batches.epoch(0):
                if len(batch[0]):
                    with self.steps.context():
                        totals.add(self.module(*batch), len(batch[0]))
        return Totals(self.processes.add_sums(totals.sums)).means()

    def _watch(self, valid: dict[str, float]) -> None:
        watch, patience = self.objective.watch, self.settings.patience
        if watch is None or (patience is None and self.settings.keep == "last"):
            return
        term, better = watch
        if term not in valid:
            raise ValueError(f"watch names the term {term!r}, but the loss has {', '.join(valid)}")
        value = valid[term] if better == "min" else -valid[term]
        value = math.inf if math.isnan(value) else value
        if self.best is None or value < self.best["value"]:
            state = {key: item.detach().cpu().clone() for key, item in self.module.state_dict().items()}
            self.best, self.stale = {"value": value, "state": state}, 0
        else:
            self.stale += 1
        self.stopped_early = patience is not None and self.stale >= patience

    def take_best(self) -> None:
        """Load the weights of the best epoch, if epochs were compared and it is the best that is kept."""
        if self.best is not None and self.settings.keep == "best":
            self.module.load_state_dict(self.best["state"])
