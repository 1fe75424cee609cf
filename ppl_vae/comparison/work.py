"""Work: what one process does with one cell: train it with ``fit``, measure it, and keep its figures in result.json."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import failing
from .cells import Cell, read_json
from .table import defined


@dataclass(frozen=True)
class Work:
    """Called with a cell and a number of threads, gives its figures, or under "error" why there are none.

    Attributes:
        root: folder of the comparison.
        places: folder of every cell below it.
        num_particles: importance samples of the log-likelihood.
        limit: test examples.
    """

    root: Path
    places: Mapping[str, str]
    num_particles: int
    limit: int

    def __call__(self, cell: Cell, threads: int) -> dict[str, Any]:
        """Train and measure a cell; raises nothing but for Ctrl-C."""
        try:
            return self.train(cell, threads)
        except Exception as error:
            return {"error": sentence(error), "threads": threads}

    def finished(self, cell: Cell) -> dict[str, Any] | None:
        """The figures of a cell that is done, measured as is asked now; None if it is not."""
        found = read_json(self._folder(cell) / "result.json")
        return found["outcome"] if cell.record is not None and found and found.get("asked") == self._asked else None

    def train(self, cell: Cell, threads: int) -> dict[str, Any]:
        """Train and measure a cell, or go on where that was stopped."""
        from ..objectives.objective import as_objective
        from ..training import fit
        from ..training.processes import Processes
        from . import figures

        made, data = cell.make()
        objective, folder = as_objective(made), self._folder(cell)
        device = cell.fit.get("device", "auto")
        figures.warm_up(objective, data.train, device)
        with figures.PeakMemory(Processes(device).device) as memory:
            history = fit(
                made,
                data.train,
                data.valid,
                out=folder,
                resume=True,
                progress=False,
                extra={} if cell.record is None else {cell.section: cell.record},
                callback=figures.Watch(objective, data.measured, cell.fit["epochs"], memory),
                **cell.fit,
            )
        rows = [row for row in history.rows if not row.get("stage")]  # of the main stage
        last, earlier = rows[-1], (read_json(folder / "result.json") or {}).get("outcome", {})
        found = figures.final(objective, data.measured, self.num_particles, self.limit)
        outcome = {
            **found,
            "seconds": last["seconds"],
            "steps": last["step"],
            "epochs": last["epoch"],
            "seconds_per_step": last["seconds"] / last["step"],
            "memory_mib": earlier.get("memory_mib", memory.peak),
            "threads": earlier.get("threads", threads),
            "history": [{k: row[k] for k in ("epoch", "step", "seconds", "test") if k in row} for row in rows],
        }
        # So called, to be told from the error over seeds.
        outcome["log_likelihood_mc_error"] = outcome.pop("log_likelihood_stderr", None)
        outcome = defined(outcome)
        words = {name: str(v) for name, v in found.items() if isinstance(v, float) and math.isinf(v)}
        evaluated = (read_json(folder / "evaluation.json") or {}) | {data.measured.part: defined(found) | words}
        _write(folder / "evaluation.json", evaluated)
        _write(folder / "result.json", {"asked": self._asked, "settings": cell.record, "outcome": outcome})
        return outcome

    @property
    def _asked(self) -> dict[str, int]:
        return {"num_particles": self.num_particles, "limit": self.limit}

    def _folder(self, cell: Cell) -> Path:
        return self.root / self.places[cell.name]


def sentence(error: Exception) -> str:
    """One sentence for an error that tells the user something; for any other its type and where it happened."""
    if failing.is_ours(error):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return failing.sentence(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said} (at {Path(frame.filename).name}:{frame.lineno} in {frame.name})"


def _write(file: Path, content: Mapping[str, Any]) -> None:
    from ..training.checkpoint import write_atomically

    write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())
