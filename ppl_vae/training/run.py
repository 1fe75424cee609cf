"""One training run: its stages one after the other, its folder, and how it goes on after it was killed.

A checkpoint holds [stage, epoch, batch, step], the whole model and the objective of the stage, as training left them:
best weights are taken and ``end`` is called afterwards, and again when a run that was killed there, or is done, is
resumed. ``begin`` is followed by a checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import __version__, randomness, supports
from ..data import Batches, Origin, Split
from ..data.origin import origin_of
from ..objectives import Objective
from ..parts import describe
from .callbacks import Callback, Callbacks, Context
from .checkpoint import load_state, of_today
from .folder import RunFolder
from .history import Diverged, History
from .loop import Loop
from .processes import Processes
from .progress import Log
from .settings import Settings
from .stages import alone, check_again, check_same_stages, stage_words, stages_of


class Run:
    """The state of one training run.

    Args:
        objective: the whole of what is trained.
        train: the training data, resolved.
        valid: the validation data, resolved, or None.
        settings: arguments of ``fit``.
        processes: those of the run.
        progress: whether to show a bar.
        callbacks: called at the start, after each epoch and at the end.

    Attributes:
        loops: one for each stage.
        index: of the stage that is under way.
    """

    def __init__(
        self,
        objective: Objective,
        train: Split,
        valid: Split | None,
        settings: Settings,
        processes: Processes,
        progress: bool,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.objective, self.whole = objective, objective.itself
        self.settings, self.processes, self.train_split = settings, processes, train
        shared: dict[str, Any] = {"rank": processes.rank, "world": processes.count, "workers": settings.workers}
        shared["device"] = processes.device
        self.batches = Batches(train, settings.batch_size, settings.seed, shuffle=settings.shuffle, **shared)
        self.valid_batches = None
        if valid is not None:
            size = min(4 * settings.batch_size, len(valid))
            self.valid_batches = Batches(valid, size, settings.seed, shuffle=False, **shared)
        self.supported = supports.of(objective.support)
        self.callbacks = Callbacks(callbacks, processes, settings.seed, lambda: (self.whole, self.loop.module))
        self.loops: list[Loop] = []
        self.index, self.progress = 0, progress and processes.main
        self.rows: list[dict[str, Any]] = []
        self.random: dict[str, Any] | None = None  # the generators' state to go on with
        self.folder: RunFolder | None = None

    @property
    def main(self) -> Loop:
        """The main stage's."""
        return next(loop for loop in self.loops if not loop.stage.name)

    # Starting

    def start(self, out: str | Path | None, resume: bool, extra: dict[str, Any] | None) -> None:
        """Move to the device, find the parameters, claim the run folder and take up its checkpoint."""
        if resume and out is None:
            raise ValueError("resume needs out, the run folder to go on with")
        self.objective.attach(self.train_split)
        self.objective.to(self.processes.device)
        stages = stages_of(self.objective, self.processes.device)
        self.loops = [Loop(stage, self.settings, self.batches, self.valid_batches, self.processes) for stage in stages]
        first = next(self.batches.epoch(0))
        for loop in self.loops:
            loop.kept = self._what_is_kept
            loop.prepare(first, self.whole)
        self.processes.same_everywhere(self.whole)
        for loop in self.loops:
            with alone(self.whole, loop.module):
                loop.steps.choose(first, loop.total * self.settings.accumulate)
        if out is not None:
            self._open(RunFolder(out), resume, extra)

    def _open(self, folder: RunFolder, resume: bool, extra: dict[str, Any] | None) -> None:
        checkpoint = None
        # Every process reads the folder; only the first one writes to it.
        if self.processes.main:
            checkpoint = folder.open(self._config(extra), resume)
            folder.keep_split(self.origin.index)
        self.processes.wait()
        if not self.processes.main and resume and folder.checkpoint_file.exists():
            checkpoint = folder.open(self._config(extra), resume)
        self.folder = folder
        self.main.steps.capture = folder.config()["training"].get("capture", False)
        for loop in self.loops:
            loop.save = self._save
        if checkpoint is not None:
            own = None if self.main.module is self.whole else self.main.module.state_dict()
            self._restore(of_today(checkpoint, self._planned(), own))

    @functools.cached_property
    def origin(self) -> Origin:
        """Where the training rows come from."""
        train = self.train_split
        return train.origin or origin_of(train.x, train.y, train.part)

    def _config(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        objective = describe(self.whole)
        objective.pop("model", None)
        return {
            "ppl_vae": __version__,
            "model": describe(self.objective.model),
            "objective": objective,
            "data": self.train_split.config,
            "coding": None if self.origin.coding is None else self.origin.coding.json,
            "fingerprint": {**self.origin.fingerprint},
            "training": {**self.settings.record(), "capture": self.main.steps.capture},
            **(extra or {}),
        }

    # Training

    def train(self) -> History:
        """Run what is left of the stages."""
        log = Log(self.progress, sum(loop.total for loop in self.loops), self._before() + self.loop.step)
        error = None
        try:
            self.callbacks.start(self._context)
            with self.processes.interruptible() as interrupted:
                self._train_stage(log, interrupted)
                while self.index < len(self.loops) - 1:
                    self.index += 1
                    self._train_stage(log, interrupted)
            self.objective.eval()
        except BaseException as one:
            error = one
            raise
        finally:
            log.close()
            self.callbacks.end(self._history(), error)
        return self._history()

    def _history(self) -> History:
        main = self.main
        return History(self.rows, main.over, main.steps.describe(), main.why, main.objective.watch)

    def _context(self) -> Context:
        folder, valid = self.folder, self.valid_batches
        return Context(
            self.objective.model,
            self._config(None) if folder is None else folder.config(),
            None if folder is None else folder.path,
            self.train_split,
            None if valid is None else valid.split,
            [*self.rows],
        )

    @property
    def loop(self) -> Loop:
        """The loop of the stage that is under way."""
        return self.loops[self.index]

    def _train_stage(self, log: Log, interrupted: Callable[[], bool]) -> None:
        loop, device = self.loop, self.processes.device
        loop.close = lambda row: self._close_epoch(row, log)
        loop.before = sum(loop.seconds for loop in self.loops[: self.index])
        with randomness.isolated(loop.seed + self.processes.rank, device), alone(self.whole, loop.module):
            if self.random is not None:
                randomness.restore(self.random, device)
                self.random = None
            else:
                with self.folder.claimed(not self.index) if self.folder else contextlib.nullcontext():
                    self._change(loop.stage.begin)
                if self.valid_batches is not None:
                    check_again(self.valid_batches.split, self.objective, self.supported)
                if self.index:
                    self._save()
            loop.train(log, interrupted)
            last = self.index == len(self.loops) - 1
            if last:
                self._save()  # from here the stage can be made longer
            loop.take_best()
            self._change(loop.stage.end)
            if last and self.folder is not None and self.processes.main:
                self.folder.save_weights(self.objective.model)

    @torch.no_grad()
    def _change(self, hook: Callable[[Split], None] | None) -> None:
        """Call ``begin`` or ``end`` of a stage, with noise that follows from the stage's seed alone."""
        if hook is None:
            return
        loop = self.loop
        loop.module.eval()
        with randomness.isolated(randomness.apart(loop.seed), self.processes.device):
            hook(self.train_split)
        for module in (self.whole, loop.module):
            self.processes.same_everywhere(module)

    def _close_epoch(self, row: dict[str, Any], log: Log) -> str:
        asked, error = self.callbacks.epoch(row, self.objective.model)
        if error is not None:
            self._save()  # with the epoch still open: a resumed run closes it again and calls the callbacks again
            raise error
        self.rows.append(row)
        log.epoch(row)
        if asked:
            log.say(f"{stage_words(self.loop.stage.name)} stops after epoch {row['epoch']}: {asked}")
        return asked

    def _before(self) -> int:
        """Optimizer steps planned for the stages before the one under way."""
        return sum(loop.total for loop in self.loops[: self.index])

    # Saving

    def _what_is_kept(self) -> str:
        kept = ""
        if self.folder is not None and self.folder.checkpoint_file.exists():
            kept = f"; the last good checkpoint is kept in {self.folder.path}"
        return f"{kept}; use a smaller lr or clip="

    def _save(self) -> None:
        if self.folder is None:
            return
        if not all(p.isfinite().all() for p in self.loop.parameters):
            raise Diverged(f"a parameter became NaN or infinite by step {self.loop.step}{self._what_is_kept()}")
        states = self.processes.gather(randomness.capture(self.processes.device))
        if self.processes.main:
            self.folder.save(self._state(states), self.objective.model)

    def _state(self, random_states: list[dict[str, Any]]) -> dict[str, Any]:
        loop = self.loop
        return {
            "at": [self.index, loop.epoch, loop.batch, loop.step],
            "stages": [
                {
                    "name": loop.stage.name,
                    "epochs": loop.settings.epochs,
                    "capture": loop.steps.capture,
                    "seconds": loop.seconds,
                    "stopped_early": loop.stopped_early,
                    "asked": loop.asked,
                }
                for loop in self.loops
            ],
            "objective": self.whole.state_dict(),
            "stage": None if loop.module is self.whole else loop.module.state_dict(),
            "optimizers": {mover.name: mover.optimizer.state_dict() for mover in loop.movers},
            "random": random_states,
            "sums": loop.totals.sums,
            "rows": self.rows,
            "best": loop.best,
            "stale": loop.stale,
        }

    def _planned(self) -> list[tuple[str, int]]:
        """Names and epochs of the stages."""
        return [(loop.stage.name, loop.settings.epochs) for loop in self.loops]

    def _restore(self, state: dict[str, Any]) -> None:
        assert self.folder is not None
        if len(state["random"]) != self.processes.count:
            raise ValueError(
                f"the run in {self.folder.path} was trained by {len(state['random'])} processes and is now resumed by "
                f"{self.processes.count}; start as many"
            )
        now, constant = self._planned(), self.settings.schedule == "constant"
        check_same_stages(state["stages"], now, constant, f"the run in {self.folder.path}")
        for loop, known in zip(self.loops, state["stages"], strict=True):
            loop.steps.capture, loop.seconds = known["capture"], known["seconds"]
            loop.stopped_early = known["stopped_early"]
            # Who asks for more epochs overrules a callback that stopped the stage.
            loop.asked = "" if loop.settings.epochs > known["epochs"] else known.get("asked", "")
        self.index, self.rows, self.random = state["at"][0], state["rows"], state["random"][self.processes.rank]
        load_state(self.whole, state["objective"], self.folder.checkpoint_file)
        if state["stage"] is not None:
            load_state(self.loop.module, state["stage"], self.folder.checkpoint_file)
        if state["optimizers"].keys() != {mover.name for mover in self.loop.movers}:
            raise ValueError(f"{self.folder.checkpoint_file} is of other players; it was not loaded")
        self.loop.restore(state)
