"""Table: one row a cell, and the mean and standard error over seeds of every figure of a setting.

    stderr = sd / sqrt(n),    sd with n - 1, over the n seeds that succeeded

It says how far another choice of seeds might move the mean, not how well one model's figure is known.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cells import Cell

COLUMNS = (
    *("log_likelihood", "log_likelihood_mc_error", "error_unknown", "elbo", "gap", "reconstruction", "kl"),
    *("snr_encoder", "snr_decoder", "reconstruction_error", "loss", "active_units", "khat"),
    *("seconds_per_step", "seconds", "memory_mib", "steps", "epochs", "parameters", "n", "num_particles", "threads"),
)
"""The figures of a row; in the means, "<figure>_stderr" is the standard error over seeds."""

UNBOUNDED = {"reconstruction_error": "squared error", "loss": "loss"}
"""Figures that are shown where a setting has no ELBO."""

COUNT = "_seeds"
"""Text after a figure's name that counts the seeds that have it, where some lack it."""


@dataclass(frozen=True)
class Table:
    """What a comparison gave.

    Attributes:
        rows: one dict a finished or failed cell: "cell", "setting", every axis, every figure, "error", "history".
        axes: names of the axes, the seed among them.
        path: folder of the comparison.
    """

    rows: list[dict[str, Any]]
    axes: tuple[str, ...]
    path: Path

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of the cells that failed, each with a sentence under "error"."""
        return [row for row in self.rows if row["error"]]

    @property
    def means(self) -> list[dict[str, Any]]:
        """One dict a setting: "setting", its axes, "seeds", every figure's mean, and its error as "<figure>_stderr".

        Where a figure is not defined for some of the seeds, "<figure>_seeds" says for how many it is.
        Best log-likelihood first; settings without one come last.
        """
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            if not row["error"]:
                groups.setdefault(row["setting"], []).append(row)
        means = [self._mean(rows) for rows in groups.values()]
        return sorted(means, key=lambda mean: -_or(mean.get("log_likelihood"), -math.inf))

    def _mean(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {"setting": rows[0]["setting"], "seeds": len(rows)}
        out |= {axis: rows[0][axis] for axis in self.axes if axis != "seed"}
        for name in COLUMNS:
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                out[name], out[f"{name}_stderr"] = mean_and_error(values)
                known = sum(value is not None and not math.isnan(value) for value in values)
                out |= {f"{name}{COUNT}": known} if known < len(rows) else {}
        return out

    def write(self) -> None:
        """Write table.csv and table.json, each whole or not at all."""
        from ..evaluation.figures import FIGURES
        from ..training.checkpoint import write_atomically

        write_atomically(self.path / "table.csv", self.csv().encode())
        told = {name: FIGURES[name].told() for name in COLUMNS}
        content = {"axes": list(self.axes), "cells": self.rows, "means": self.means, "figures": told}
        write_atomically(self.path / "table.json", (json.dumps(defined(content), indent=1) + "\n").encode())

    def csv(self) -> str:
        """One line a cell; a figure that is not defined is empty."""
        file = io.StringIO()
        columns = ["cell", "setting", *self.axes, *COLUMNS, "error"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({name: _cell(value) for name, value in defined(row).items()})
        return file.getvalue()

    def __str__(self) -> str:
        """The means as lines of text."""
        shown = {"log_likelihood": "log p(x)", "elbo": "ELBO", "gap": "gap", **UNBOUNDED}
        shown = {name: head for name, head in shown.items() if any(name in mean for mean in self.means)}
        if all("elbo" in mean for mean in self.means):
            shown = {name: head for name, head in shown.items() if name not in UNBOUNDED}
        lines = [["", *shown.values(), "ms/step"]]
        for mean in self.means:
            figures = [spoken(mean.get(name), mean.get(f"{name}_stderr")) + of_seeds(mean, name) for name in shown]
            lines.append([mean["setting"], *figures, f"{1000 * _or(mean.get('seconds_per_step'), math.nan):.1f}"])
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        )


def row_of(cell: Cell, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's row."""
    return {"cell": cell.name, "setting": cell.label, **cell.axes, "error": None, **outcome}


def mean_and_error(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard error of those values that are defined; None where there are too few for it.

    Example:
        >>> mean_and_error([1.0, 3.0, None])
        (2.0, 1.0)
        >>> mean_and_error([1.0])
        (1.0, None)
    """
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not known:
        return None, None
    mean = math.fsum(known) / len(known)
    if len(known) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1) / len(known))


def spoken(value: float | None, error: float | None, digits: int = 2) -> str:
    """A figure with its error, or a dash.

    Example:
        >>> spoken(-91.234, 0.05), spoken(3.0, None), spoken(None, None)
        ('-91.23 +- 0.05', '3.00', '-')
    """
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + (f" +- {error:.{digits}f}" if error is not None else "")


def of_seeds(mean: Mapping[str, Any], name: str) -> str:
    """How many of a setting's seeds a figure is the mean of, in words; "" if of all.

    Example:
        >>> of_seeds({"seeds": 3, "elbo": -90.0, "elbo_seeds": 2}, "elbo")
        ' (2 of 3 seeds)'
    """
    count = mean.get(f"{name}{COUNT}")
    return f" ({count} of {mean['seeds']} seeds)" if count else ""


def defined(value: Any) -> Any:
    """The same with None for every number that is not finite, as JSON wants it."""
    if isinstance(value, Mapping):
        return {key: defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [defined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _or(value: float | None, other: float) -> float:
    return other if value is None or math.isnan(value) else value


def _cell(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value
