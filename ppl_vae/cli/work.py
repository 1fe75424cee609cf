"""Work: what one process does with one cell of a comparison: train it as ``ppl-vae train`` does, and measure it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..comparison.cells import Cell
from . import failing


@dataclass(frozen=True)
class Work:
    """What a process does with a cell: train it, measure it, and keep the figures in its result.json.

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
        """Figures, or under "error" why there are none."""
        try:
            return self._train(cell, threads)
        except Exception as error:
            return {"error": _sentence(error), "threads": threads}

    def file(self, cell: Cell) -> Path:
        """Where a cell's figures are kept."""
        return self.root / self.places[cell.name] / "result.json"

    def finished(self, cell: Cell) -> dict[str, Any] | None:
        """The figures of a cell that is done, measured as is asked now; None if it is not."""
        found = read_json(self.file(cell))
        asked = {"num_particles": self.num_particles, "limit": self.limit}
        return found["outcome"] if found and found.get("asked") == asked else None

    def _train(self, cell: Cell, threads: int) -> dict[str, Any]:
        from ..comparison import figures
        from ..comparison.table import defined
        from ..training import RunFolder, fit
        from ..training.checkpoint import write_atomically
        from ..training.processes import Processes
        from .build import build_objective, fit_arguments, load_data
        from .run import store

        chosen, folder = cell.settings, self.file(cell).parent
        data = load_data(chosen)
        objective = build_objective(chosen, data)
        arguments = fit_arguments(chosen)
        figures.warm_up(objective, data, arguments["device"])
        with figures.PeakMemory(Processes(arguments["device"]).device) as memory:
            history = fit(
                objective,
                data.train,
                data.valid if len(data.valid) else None,
                out=folder,
                resume=True,
                progress=False,
                extra={"shell": chosen.kept()},
                callback=figures.Watch(objective, data, chosen["epochs"], memory),
                **arguments,
            )
        last, earlier = history.rows[-1], (read_json(self.file(cell)) or {}).get("outcome", {})
        found = figures.final(objective, data, self.num_particles, self.limit)
        outcome = {
            **found,
            "seconds": last["seconds"],
            "steps": last["step"],
            "epochs": last["epoch"],
            "seconds_per_step": last["seconds"] / last["step"],
            "memory_mib": earlier.get("memory_mib", memory.peak),
            "threads": earlier.get("threads", threads),
            "history": [{k: row[k] for k in ("epoch", "step", "seconds", "test") if k in row} for row in history.rows],
        }
        # So called, to be told from the error over seeds.
        outcome["log_likelihood_mc_error"] = outcome.pop("log_likelihood_stderr", None)
        outcome = defined(outcome)
        asked = {"num_particles": self.num_particles, "limit": self.limit}
        store(RunFolder(folder), {"test": found})
        content = json.dumps({"asked": asked, "settings": chosen.kept(), "outcome": outcome}, indent=1) + "\n"
        write_atomically(folder / "result.json", content.encode())
        return outcome


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON file; None if there is none or it does not read."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _sentence(error: Exception) -> str:
    """One sentence for a mistake of the user's; for one of ours, its type and where it happened."""
    if failing.is_ours(error):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return failing.sentence(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said} (at {Path(frame.filename).name}:{frame.lineno} in {frame.name})"
