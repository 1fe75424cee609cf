"""Work: what one process does with one cell: train it with ``fit``, measure it, and keep its figures in result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..failing import sentence
from ..files import plain, read_json, write_json
from .cells import Cell, identity

Asked = Mapping[str, int]
"""Arguments of the measurement: "num_particles" of the log-likelihood, and "limit", the number of test examples."""


def attempt(cell: Cell, threads: int, asked: Asked) -> dict[str, Any]:
    """The figures of a cell, or under "error" why there are none; raises nothing but for Ctrl-C."""
    try:
        return train(cell, threads, asked)
    except Exception as error:
        return {"error": sentence(error), "threads": threads}


def finished(cell: Cell, asked: Asked) -> dict[str, Any] | None:
    """The figures of a cell that is done, measured as is asked now; None if it is not."""
    found = read_json(cell.folder / "result.json") or {}
    same = cell.record and found.get("settings") and identity(found["settings"]) == identity(cell.record)
    return found["outcome"] if same and found["asked"] == asked else None


def train(cell: Cell, threads: int, asked: Asked) -> dict[str, Any]:
    """Train and measure a cell, or go on where that was stopped."""
    from ..evaluation import verdict
    from ..memory import PeakMemory
    from ..objectives.objective import as_objective
    from ..training import RunFolder, fit
    from ..training.defaults import default_epochs
    from ..training.processes import Processes
    from . import figures

    made, data = cell.make()
    objective, device = as_objective(made), cell.fit.get("device", "auto")
    split = data.measured.resolve(objective.support)
    epochs = cell.fit["epochs"]
    if epochs is None:
        epochs = default_epochs(len(data.train), cell.fit.get("batch_size"), cell.fit.get("accumulate", 1))
    figures.warm_up(objective, data.train, device)
    with PeakMemory(Processes(device).device) as memory:
        history = fit(
            made,
            data.train,
            data.valid,
            out=cell.folder,
            resume=True,
            progress=False,
            extra=({} if cell.record is None else {cell.section: cell.record}) | {"parts": cell.files},
            callback=figures.Watch(objective, split, epochs, memory),
            **cell.fit,
        )
    rows = [row for row in history.rows if not row.get("stage")]  # of the main stage
    before = history.rows[: history.rows.index(rows[0])]
    began = before[-1]["seconds"] if before else 0.0
    last, earlier = rows[-1], (read_json(cell.folder / "result.json") or {}).get("outcome", {})
    found = figures.final(objective, split, data.train, **asked)
    folder, valid = RunFolder(cell.folder), figures.of_validation(objective, data, **asked)
    judged = verdict(valid or found, rows, model=objective.model, patience=cell.fit.get("patience"))
    outcome = {
        **found,
        "valid": valid,
        "verdicts": [asdict(one) for one in judged],
        "seconds": history.rows[-1]["seconds"],
        "steps": last["step"],
        "epochs": last["epoch"],
        "seconds_per_step": (last["seconds"] - began) / last["step"],
        "memory_mib": earlier.get("memory_mib", memory.peak),
        "threads": earlier.get("threads", threads),
        "history": [{k: row[k] for k in ("epoch", "step", "seconds", "test") if k in row} for row in rows],
    }
    # So called, to be told from the errors over seeds.
    outcome["log_likelihood_mc_error"] = outcome.pop("log_likelihood_stderr", None)
    outcome["gain_error"] = outcome.pop("gain_stderr", None)
    outcome |= {f"valid_{name}": (valid or {}).get(name) for name in ("log_likelihood", "elbo")}
    result = {"asked": asked, "settings": cell.record, "outcome": plain(outcome)}
    folder.keep_evaluation(split.part, found)
    if valid is not None:
        folder.keep_evaluation("valid", valid)
    write_json(cell.folder / "result.json", result)
    return result["outcome"]
