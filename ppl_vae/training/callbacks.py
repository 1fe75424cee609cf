"""Callbacks: what a user wants done at the start, after every epoch and at the end of a training.

They see the model in eval mode, with random numbers of their own, and cannot change the bits of the training by
evaluating it. Only the main process calls them; what they decide reaches all.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .. import randomness
from ..data import Split
from ..files import plain
from .history import History
from .processes import Processes
from .stages import in_eval_mode

Row = dict[str, Any]
Function = Callable[[Row], Any]


class Stop(Exception):
    """Raised by a callback after an epoch: the stage under way ends there, as if it had run all its epochs.

    Its text is kept in ``History.stopped``.
    """


@dataclass(frozen=True, repr=False, eq=False)
class Context:
    """What callbacks are told at the start.

    Attributes:
        model: what is trained, on its device.
        config: what config.json holds: the arguments of model, objective, data and training.
        folder: the run folder, or None.
        train: the training data.
        valid: the validation data, or None.
        rows: those of epochs that an earlier part of the run finished, as in ``History.rows``.
    """

    model: nn.Module
    config: dict[str, Any]
    folder: Path | None
    train: Split
    valid: Split | None
    rows: list[Row]


class Callback:
    """Base of callbacks; every method does nothing unless it is overridden.

    A callback that remembers something keeps it in the row: a run that was killed hands the rows back to ``start``, so
    that it decides as it would have done without the break.

    Example:
        >>> import torch
        >>> from ppl_vae import Reconstruction, fit, models, networks
        >>> class Enough(Callback):
        ...     def epoch(self, row, model):
        ...         if row["epoch"] == 2:
        ...             raise Stop("two epochs are enough")
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> history = fit(Reconstruction(ae), torch.rand(64, 6), epochs=9, callbacks=[Enough()], progress=False)
        >>> len(history.rows), history.stopped
        (2, 'Enough: two epochs are enough')
    """

    def start(self, context: Context) -> None:
        """Called before the first step, and again when a run goes on."""

    def epoch(self, row: Row, model: nn.Module) -> None:
        """Called after each epoch of each stage, when its row is complete and before it is saved.

        Args:
            row: as in ``History.rows``; what is added to it is saved with it: numbers, text, None, lists or dicts.
            model: the model as training left it, in eval mode.

        Raises:
            Stop: the stage under way is to end here.
        """

    def end(self, history: History, error: BaseException | None) -> None:
        """Called once, however the training ended.

        Args:
            history: what ``fit`` returns, as far as it got.
            error: what ended the training too early, or None. ``Stop`` is no error.
        """


class _Each(Callback):
    """A function of the row as a callback."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def epoch(self, row: Row, model: nn.Module) -> None:
        self.function(row)


class Callbacks:
    """The callbacks of a run, called one after the other.

    Args:
        given: the callbacks.
        processes: those of the run.
        seed: of their random numbers.
        modules: what is in eval mode for them.
    """

    def __init__(
        self,
        given: Sequence[Callback],
        processes: Processes,
        seed: int,
        modules: Callable[[], tuple[nn.Module, ...]],
    ) -> None:
        self.all = [*given] if processes.main else []
        self.processes, self.seed, self.modules = processes, seed, modules

    @contextmanager
    def _called(self, callback: Callback, when: str) -> Iterator[Callable[[], Exception | None]]:
        """Evaluation mode and random numbers for a callback, whose error is kept, with a note that names it.

        The error stays what it is, for those who look for it.
        """
        found: list[Exception] = []
        with in_eval_mode(*self.modules()), randomness.isolated(randomness.apart(self.seed), self.processes.device):
            try:
                yield lambda: found[0] if found else None
            except Exception as error:
                error.add_note(f"raised by the callback {_name(callback)} {when}")
                found.append(error)

    def start(self, context: Callable[[], Context]) -> None:
        """Call ``start`` of each; ``context`` is made only if there are any."""
        error: Exception | None = None
        if self.all:
            told = context()
            for callback in self.all:
                with self._called(callback, "before the first step") as failed:
                    callback.start(told)
                if error := failed():
                    break
        self._agree("", error)

    def epoch(self, row: Row, model: nn.Module) -> tuple[str, Exception | None]:
        """Call ``epoch`` of each: why the stage is to stop, or "", and the first error, for every process."""
        said, error = [], None
        for callback in self.all:
            with self._called(callback, f"after epoch {row['epoch']}") as failed:
                try:
                    callback.epoch(row, model)
                except Stop as stop:
                    said.append(f"{_name(callback)}: {str(stop) or 'asked to stop'}")
                _check_row(row)
            if error := failed():
                break
        try:
            return self._agree("; ".join(said), error), None
        except Exception as one:
            return "", one

    def end(self, history: History, error: BaseException | None) -> None:
        """Call ``end`` of each; then raise the first error of theirs, unless the training has one."""
        first = None
        for callback in self.all:
            with self._called(callback, "at the end") as failed:
                callback.end(history, error)
            first = first or failed()
        if error is None:
            self._agree("", first)
        elif first is not None:
            error.add_note(f"{first.__notes__[-1]}: {first!r}")

    def _agree(self, said: str, error: Exception | None) -> str:
        """What the main process found, for all of them; raises its error, or one that repeats it."""
        failed = "" if error is None else f"{error.__notes__[-1]} in the main process: {error!r}"
        said, failed = self.processes.gather((said, failed))[0]
        if failed:
            raise error or RuntimeError(failed)
        return said


def as_callbacks(given: Any) -> list[Callback]:
    """A list of callbacks and functions of a row, as callbacks.

    Raises:
        TypeError: no list, or something in it that is neither.

    Example:
        >>> as_callbacks(3)
        Traceback (most recent call last):
        ...
        TypeError: callbacks must be a list of training.Callback objects or functions of a row, not 3
    """
    if not isinstance(given, list | tuple):
        raise TypeError(f"callbacks must be a list of training.Callback objects or functions of a row, not {given!r}")
    for i, one in enumerate(given):
        if isinstance(one, type) and issubclass(one, Callback):
            raise TypeError(f"callbacks[{i}] is the class {one.__name__}; give an object of it: {one.__name__}()")
        if not (isinstance(one, Callback) or callable(one)):
            raise TypeError(f"callbacks[{i}] must be a training.Callback or a function of a row, not {one!r}")
    return [one if isinstance(one, Callback) else _Each(one) for one in given]


def _check_row(row: Row) -> None:
    """TypeError unless metrics.jsonl can hold the row."""
    for name, value in row.items():
        try:
            json.dumps(plain(value))
        except (TypeError, ValueError):
            raise TypeError(
                f"row[{name!r}] is a {type(value).__name__}, which metrics.jsonl cannot hold; add numbers, text, "
                "None or lists of them, such as float(value)"
            ) from None


def _name(callback: Callback) -> str:
    given = callback.function if isinstance(callback, _Each) else callback
    return given.__qualname__ if inspect.isfunction(given) else type(given).__qualname__
