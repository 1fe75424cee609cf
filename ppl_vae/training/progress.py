"""What a run shows while it goes, with rate, ETA and terms in nats.

A terminal gets a bar and a line for every epoch; a notebook one display that is renewed once a second; anything else,
such as a log file, a line now and then: after 30 seconds, then after twice as long as before, at most 15 minutes.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_UPDATES = 0.5  # of the bar
SECONDS_BETWEEN_MESSAGES = 1.0  # to a notebook
FIRST_LINE, LONGEST_SILENCE = 30.0, 900.0  # seconds, in a log file

Means = Callable[[], dict[str, float]]


class Log:
    """What a run shows: a bar, a display or lines; nothing if it is not to.

    Args:
        show: whether to show anything.
        total: optimizer steps of the whole run.
        done: steps done by an earlier part of it.
    """

    def __init__(self, show: bool, total: int, done: int) -> None:
        self.shown = _kind()(total, done) if show else None

    def step(self, stage: str, epoch: int, epochs: int, means: Means) -> None:
        """Advance by a step; the terms' means are fetched only when they are shown."""
        if self.shown is not None:
            self.shown.step(f"{stage + ' ' * bool(stage)}epoch {epoch + 1}/{epochs}", means)

    def say(self, words: str) -> None:
        """Show a line."""
        if self.shown is not None:
            self.shown.say(words)

    def epoch(self, row: dict[str, Any]) -> None:
        """Show the row of a finished epoch."""
        if self.shown is not None:
            self.shown.epoch(row)

    def close(self) -> None:
        """End what is shown."""
        if self.shown is not None:
            self.shown.close()


class Bar:
    """A bar in a terminal."""

    def __init__(self, total: int, done: int) -> None:
        self.bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)
        self.updated = time.monotonic()

    def step(self, where: str, means: Means) -> None:
        """Advance the bar; the terms are fetched at most twice a second."""
        self.bar.update()
        if time.monotonic() - self.updated > SECONDS_BETWEEN_UPDATES:
            self.updated = time.monotonic()
            self.bar.set_description(where, refresh=False)
            self.bar.set_postfix({name: f"{value:.2f}" for name, value in means().items()})

    def say(self, words: str) -> None:
        """A line above the bar."""
        self.bar.write(words)

    def epoch(self, row: dict[str, Any]) -> None:
        """A line above the bar for an epoch."""
        speed, stage = f"{row['examples_per_second']:.0f} examples/s", row["stage"]
        self.bar.write(f"{stage + ' ' * bool(stage)}epoch {row['epoch']:>4}  {_terms(row)}  {speed}")

    def close(self) -> None:
        """End the bar."""
        self.bar.close()


class Lines:
    """Lines for a log file."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.before = total, done, done
        self.began = time.monotonic()
        self.wait = self.pause
        self.next = self.began + self.wait
        self.where, self.terms = "", ""

    pause = FIRST_LINE

    def step(self, where: str, means: Means) -> None:
        """Count a step; show a line if it is time."""
        self.done += 1
        self.where = where
        if (now := time.monotonic()) >= self.next:
            self.wait = self.longer(self.wait)
            self.next = now + self.wait
            self.show(self.terms or _terms({"train": means()}))

    def longer(self, wait: float) -> float:
        """Seconds until the next line."""
        return min(2 * wait, LONGEST_SILENCE)

    def say(self, words: str) -> None:
        """A line."""
        print(words, file=sys.stderr, flush=True)

    def epoch(self, row: dict[str, Any]) -> None:
        """Keep the terms for the next line."""
        self.terms = _terms(row)

    def words(self, terms: str) -> str:
        """Where the run stands, with its rate, the time left and some terms."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = (self.done - self.before) / seconds
        left = "" if self.done >= self.total else f", {tqdm.format_interval((self.total - self.done) / rate)} left"
        spent = tqdm.format_interval(seconds)
        return f"{self.where}, step {self.done} of {self.total}, {rate:.3g} steps/s, {spent} so far{left}  {terms}"

    def show(self, terms: str) -> None:
        """Show where the run stands."""
        print(self.words(terms), file=sys.stderr, flush=True)

    def close(self) -> None:
        """The last line, if there was a step."""
        if self.done > self.before:
            self.show(self.terms)


class Display(Lines):
    """One display of a notebook, renewed once a second."""

    pause = SECONDS_BETWEEN_MESSAGES

    def __init__(self, total: int, done: int) -> None:
        super().__init__(total, done)
        self.handle: Any = None
        self.said: list[str] = []

    def longer(self, wait: float) -> float:  # noqa: D102
        return wait

    def say(self, words: str) -> None:
        """A line under the bar, from the next renewal on."""
        self.said.append(words)

    def show(self, terms: str) -> None:  # noqa: D102
        from IPython.display import display

        shown = _Shown(self.done, self.total, [self.words(terms), *self.said])
        if self.handle is None:
            self.handle = display(shown, display_id=True)
        else:
            self.handle.update(shown)


class _Shown:
    """A bar and lines, for a notebook."""

    def __init__(self, done: int, total: int, lines: list[str]) -> None:
        self.done, self.total, self.lines = done, total, lines

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        lines = "<br>".join(map(html.escape, self.lines))
        return f'<progress value="{self.done}" max="{self.total}" style="width: 20em"></progress> {lines}'


def _terms(row: dict[str, Any]) -> str:
    """The terms of a row, of validation where there is one."""
    kind = "valid" if "valid" in row else "train"
    return "  ".join([kind, *(f"{name} {value:.2f}" for name, value in row[kind].items())])


def _kind() -> type[Bar | Lines]:
    """What suits where the program runs."""
    ipython = sys.modules.get("IPython")  # imported by whoever runs in it
    shell = None if ipython is None else ipython.get_ipython()
    if shell is not None and "IPKernelApp" in shell.config:
        return Display
    return Bar if sys.stderr.isatty() else Lines
