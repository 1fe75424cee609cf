"""What a run shows and logs while it goes: a bar with rate, ETA and terms in nats, and TensorBoard events."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_UPDATES = 0.5


class Log:
    """A progress bar and an optional TensorBoard writer.

    Args:
        show: whether to show the bar.
        total: optimizer steps of the whole run.
        done: steps done by an earlier part of it.
        tensorboard: folder for events, or None.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """

    def __init__(self, show: bool, total: int, done: int, tensorboard: Path | None) -> None:
        self.bar = tqdm(total=total, initial=done, disable=not show, unit="step", dynamic_ncols=True)
        self.updated = time.monotonic()
        self.writer = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ValueError("tensorboard is not installed; pip install 'ppl_vae[tensorboard]'") from None
            self.writer = SummaryWriter(str(tensorboard), purge_step=done)

    def step(self, stage: str, epoch: int, epochs: int, means: Callable[[], dict[str, float]]) -> None:
        """Advance the bar; the terms are fetched at most twice a second."""
        self.bar.update()
        if not self.bar.disable and time.monotonic() - self.updated > SECONDS_BETWEEN_UPDATES:
            self.updated = time.monotonic()
            self.bar.set_description(f"{stage + ' ' * bool(stage)}epoch {epoch + 1}/{epochs}", refresh=False)
            self.bar.set_postfix({name: f"{value:.2f}" for name, value in means().items()})

    def say(self, words: str) -> None:
        """A line above the bar."""
        if not self.bar.disable:
            self.bar.write(words)

    def epoch(self, row: dict[str, Any], before: int) -> None:
        """Show and log the row of a finished epoch; ``before``: steps of the stages before its own."""
        stage, step = row["stage"], before + row["step"]
        if not self.bar.disable:
            shown = row.get("valid", row["train"])
            kind = "valid" if "valid" in row else "train"
            terms = "  ".join(f"{name} {value:.2f}" for name, value in shown.items())
            speed = f"{row['examples_per_second']:.0f} examples/s"
            self.bar.write(f"{stage + ' ' * bool(stage)}epoch {row['epoch']:>4}  {kind}  {terms}  {speed}")
        if self.writer is not None:
            prefix = f"{stage}/" if stage else ""
            for kind in ("train", "valid"):
                for name, value in row.get(kind, {}).items():
                    self.writer.add_scalar(f"{prefix}{kind}/{name}", value, step)
            self.writer.add_scalar(f"{prefix}lr", row["lr"], step)

    def close(self) -> None:
        """End the bar and flush the events."""
        self.bar.close()
        if self.writer is not None:
            self.writer.close()
