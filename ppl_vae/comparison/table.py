"""Table: one row a cell, and the mean and standard error over seeds of every figure of a setting.

    stderr = sd / sqrt(n),    sd with n - 1, over the n seeds that succeeded

It says how far another choice of seeds might move the mean, not how well one model's figure is known.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..files import plain, write_atomically, write_json
from .cells import Cell

NAMES = (
    *("log_likelihood", "log_likelihood_mc_error", "error_unknown", "elbo", "gap", "reconstruction", "kl"),
    *("snr_encoder", "snr_decoder", "reconstruction_error", "loss", "active_units", "khat"),
    *("seconds_per_step", "seconds", "memory_mib", "steps", "epochs", "parameters", "n", "num_particles", "threads"),
)
"""The figures of a row; in the means, "<figure>_stderr" is the standard error over seeds."""

COUNT = "_seeds"
"""Text after a figure's name that counts the seeds that have it, where some lack it."""

SHOWN = {
    **{"log_likelihood": 2, "elbo": 2, "gap": 2, "kl": 2, "reconstruction_error": 3, "loss": 3},
    **{"snr_encoder": 2, "snr_decoder": 2, "seconds_per_step": 1, "memory_mib": 0},
}
"""The figures of the report and their decimals; the text of a table leaves out those that are not ``SHORT``."""
SHORT = ("log_likelihood", "elbo", "gap", "reconstruction_error", "loss", "seconds_per_step")


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
        known = [(mean.get("log_likelihood"), mean) for mean in means]
        return [mean for _, mean in sorted(known, key=lambda pair: math.inf if pair[0] is None else -pair[0])]

    def _mean(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {"setting": rows[0]["setting"], "seeds": len(rows)}
        out |= {axis: rows[0][axis] for axis in self.axes if axis != "seed"}
        for name in NAMES:
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                out[name], out[f"{name}_stderr"] = mean_and_error(values)
                known = sum(value is not None and not math.isnan(value) for value in values)
                out |= {f"{name}{COUNT}": known} if known < len(rows) else {}
        return out

    def write(self) -> None:
        """Write table.csv and table.json, each whole or not at all."""
        from ..evaluation.figures import FIGURES

        write_atomically(self.path / "table.csv", self.csv().encode())
        told = {name: FIGURES[name].told() for name in NAMES}
        content = {"axes": list(self.axes), "cells": self.rows, "means": self.means, "figures": told}
        write_json(self.path / "table.json", content)

    def csv(self) -> str:
        """One line a cell; a figure that is not defined is empty."""
        file = io.StringIO()
        columns = ["cell", "setting", *self.axes, *NAMES, "error"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            words = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in plain(row).items()}
            writer.writerow(words)
        return file.getvalue()

    def __repr__(self) -> str:
        settings = len({row["setting"] for row in self.rows})
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"Table({len(self.rows)} cells of {settings} settings{failed}, in {self.path})"

    def _repr_html_(self) -> str:
        """The means, for notebooks."""
        return f"<p>{escape(repr(self))}</p><pre>{escape(str(self))}</pre>"

    def __str__(self) -> str:
        """The means as lines of text."""
        names = [name for name in shown(self.means) if name in SHORT]
        lines = [["", *(" ".join(heading(name)).strip() for name in names)]]
        for mean in self.means:
            found = [words(mean, name) for name in names]
            lines.append(
                [mean["setting"], *(value + f" +- {error}" * bool(error) + some for value, error, some in found)]
            )
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        )


def row_of(cell: Cell, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's row."""
    return {"cell": cell.name, "setting": cell.label, **cell.axes, "error": None, **outcome}


def mean_and_error(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard error of those values that are defined; None where there are too few for it."""
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if len(known) < 2:
        return (known or [None])[0], None
    return statistics.fmean(known), statistics.stdev(known) / math.sqrt(len(known))


def shown(means: Sequence[Mapping[str, Any]]) -> list[str]:
    """The figures to show: those that some setting has; squared error and loss only where a setting has no ELBO."""
    bound = ("reconstruction_error", "loss") if all(mean.get("elbo") is not None for mean in means) else ()
    return [name for name in SHOWN if name not in bound and any(mean.get(name) is not None for mean in means)]


def heading(name: str) -> tuple[str, str]:
    """Title and unit of a figure as it is shown."""
    from ..evaluation.figures import FIGURES

    return FIGURES[name].title, "ms" if name == "seconds_per_step" else FIGURES[name].unit


def scaled(mean: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    """A setting's figure and its error in the unit in which they are shown."""
    factor = 1000.0 if name == "seconds_per_step" else 1.0
    value, error = mean.get(name), mean.get(f"{name}_stderr")
    return None if value is None else factor * value, None if error is None else factor * error


def words(mean: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    """The same in words, as ("-90.00", "0.50", " (2 of 3 seeds)"); the last where some seeds lack the figure."""
    value, error = ("" if number is None else f"{number:,.{SHOWN[name]}f}" for number in scaled(mean, name))
    some = f" ({mean[name + COUNT]} of {mean['seeds']} seeds)" if name + COUNT in mean and value else ""
    return value or "-", error, some
