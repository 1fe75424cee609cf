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
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ..files import plain, write_atomically, write_json
from .cells import Cell
from .settings import Settings

NAMES = (
    *("log_likelihood", "log_likelihood_mc_error", "error_unknown", "valid_log_likelihood"),
    *("baseline_log_likelihood", "gain", "gain_error", "elbo", "valid_elbo", "gap", "reconstruction", "kl"),
    *("bits_per_dim", "elbo_bits_per_dim", "code_perplexity", "codes_used", "num_codes"),
    *("accuracy", "prediction_error", "explained", "cluster_accuracy", "nmi", "ari"),
    *("snr_encoder", "snr_decoder", "reconstruction_error", "loss", "active_units", "khat", "ess", "train_particles"),
    *("seconds_per_step", "seconds", "memory_mib", "steps", "epochs", "parameters", "n", "num_particles", "threads"),
)
"""The figures of a row; in the means, "<figure>_stderr" is the standard error over seeds."""

COUNT = "_seeds"
"""Text after a figure's name that counts the seeds that have it, where some lack it."""

SHOWN = {
    **{"log_likelihood": 2, "valid_log_likelihood": 2, "gain": 2, "elbo": 2, "valid_elbo": 2, "gap": 2, "kl": 2},
    **{"elbo_bits_per_dim": 3, "code_perplexity": 1},
    **{"accuracy": 3, "prediction_error": 3, "explained": 3, "cluster_accuracy": 3, "nmi": 3, "ari": 3},
    **{"reconstruction_error": 3, "loss": 3, "active_units": 1, "khat": 2, "ess": 0, "train_particles": 0, "seeds": 0},
    **{"snr_encoder": 2, "snr_decoder": 2, "seconds_per_step": 1, "memory_mib": 0},
}
"""The figures of the report and their decimals; the text of a table leaves out those that are not ``SHORT``."""
SHORT = (
    *("log_likelihood", "gain", "elbo", "gap", "kl", "elbo_bits_per_dim", "code_perplexity"),
    *("accuracy", "explained", "cluster_accuracy"),
    *("reconstruction_error", "loss", "seconds_per_step"),
)
BOUNDS = ("valid_elbo", "elbo_bits_per_dim")
"""Figures that are shown where some setting has an ELBO and no log-likelihood, such as a VQ-VAE."""


@dataclass(frozen=True)
class Table:
    """What a comparison gave.

    Attributes:
        rows: one dict a finished or failed cell: "cell", "setting", every axis, every figure, "error", "history".
        axes: names of the axes, the seed among them.
        path: folder of the comparison.
        settings: everything that shapes a setting's training, defaults included, in words, by the setting.
        measured: the split that the figures are of: "test", or without test data "valid" or "train".
    """

    rows: list[dict[str, Any]]
    axes: tuple[str, ...]
    path: Path
    settings: Mapping[str, Settings] = field(default_factory=dict)
    measured: str = "test"

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of the cells that failed, each with a sentence under "error"."""
        return [row for row in self.rows if row["error"]]

    @property
    def means(self) -> list[dict[str, Any]]:
        """One dict a setting: "setting", its axes, "seeds", every figure's mean, and its error as "<figure>_stderr".

        Where a figure is not defined for some of the seeds, "<figure>_seeds" says for how many it is; "verdicts" says
        of how many seeds a verdict speaks, and "doubtful" whether one of them is serious. Best first, by the
        log-likelihood of validation examples where every setting has it; by the ELBO of these where some setting has
        nothing else, such as a VQ-VAE. Settings with a seed that is collapsed, overfitted, diverged or untrusted come
        after those without, and settings without either figure last.
        """
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            if not row["error"]:
                groups.setdefault(row["setting"], []).append(row)
        means = [self._mean(rows) for rows in groups.values()]
        by = _criterion(means)
        return sorted(means, key=lambda mean: (mean.get(by) is None, mean["doubtful"], -(mean.get(by) or 0.0)))

    @property
    def best(self) -> str | None:
        """The best setting, if there are several and it is sound: none is collapsed or else in doubt."""
        means = self.means
        first = means[0] if len(means) > 1 else {}
        sound = first.get(_criterion(means)) is not None and not first["doubtful"]
        return first["setting"] if sound else None

    @property
    def choice(self) -> str:
        """How the best setting was chosen, in a sentence or two."""
        means = self.means
        by = _criterion(means)
        if all(mean.get(by) is None for mean in means):
            return ""
        where = {"test": "test", "valid": "validation", "train": "training"}[self.measured]
        bound = by.endswith("elbo")
        which = "the ELBO of " if bound else ""
        if by.startswith("valid"):
            said = f"Settings are ranked by {which}validation examples and reported on {where} examples."
        else:
            said = (
                f"Settings are ranked by {which}the same {where} examples that are reported, which flatters the first."
            )
        if bound:
            said += " All have the ELBO, and not all a log-likelihood."
        if any(mean["doubtful"] for mean in means):
            said += " Settings with a run that is collapsed, overfitted, diverged or untrusted come after the others"
            said += "." if self.best or len(means) == 1 else ", and no setting is without."
        return said

    @property
    def warnings(self) -> list[str]:
        """What went wrong in which setting, with what to try: one sentence for each verdict, of its first seed."""
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            for one in row.get("verdicts") or ():
                found.setdefault((row["setting"], one["name"]), []).append({**one, "seed": row["seed"]})
        order = [mean["setting"] for mean in self.means]
        said = []
        for (setting, _), each in sorted(found.items(), key=lambda item: order.index(item[0][0])):
            seeds = f"seed{'s' * (len(each) > 1)} {', '.join(str(one['seed']) for one in each)}"
            said.append(f"{setting}, {seeds}: {each[0]['sentence']} Try: {each[0]['advice']}.")
        return said

    def _mean(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {"setting": rows[0]["setting"], "seeds": len(rows)}
        out |= {axis: rows[0][axis] for axis in self.axes if axis != "seed"}
        for name in NAMES:
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                out[name], out[f"{name}_stderr"] = mean_and_error(values)
                known = sum(value is not None and not math.isnan(value) for value in values)
                out |= {f"{name}{COUNT}": known} if known < len(rows) else {}
        found = [one for row in rows for one in row.get("verdicts") or ()]
        names = [one["name"] for one in found]
        out |= {"verdicts": {name: names.count(name) for name in dict.fromkeys(names)}} if names else {}
        return out | {"doubtful": any(one["serious"] for one in found)}

    def write(self) -> None:
        """Write table.csv and table.json, each whole or not at all."""
        from ..evaluation.figures import FIGURES

        write_atomically(self.path / "table.csv", self.csv().encode())
        told = {name: FIGURES[name].told() for name in NAMES}
        content = {"axes": list(self.axes), "cells": self.rows, "means": self.means, "figures": told}
        content |= {"best": self.best, "choice": self.choice, "settings": dict(self.settings)}
        write_json(self.path / "table.json", content)

    def csv(self) -> str:
        """One line a cell; a figure that is not defined is empty."""
        file = io.StringIO()
        columns = ["cell", "setting", *self.axes, *NAMES, "verdicts", "error"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            flat = {**row, "verdicts": [one["name"] for one in row.get("verdicts") or ()]}
            words = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in plain(flat).items()}
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
        """The means as lines of text, with what went wrong, and how they are ranked."""
        names = [name for name in shown(self.means) if name in SHORT]
        lines = [["", *(" ".join(heading(name)).strip() for name in names), ""]]
        for mean in self.means:
            found = [words(mean, name) for name in names]
            values = (value + f" +- {error}" * bool(error) + some for value, error, some in found)
            lines.append([mean["setting"], *values, marks(mean, self.best)])
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:-1], widths[1:-1]), line[-1]]).rstrip()
            for line in lines
        ]
        return "\n".join([*text, *[self.choice] * bool(self.choice), *self.warnings])


def row_of(cell: Cell, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's row."""
    return {"cell": cell.name, "setting": cell.label, **cell.axes, "error": None, **outcome}


def marks(mean: Mapping[str, Any], best: str | None) -> str:
    """Whether a setting is the best, and the verdicts on it, as "collapsed (2 of 3 seeds), undertrained"."""
    found, seeds = (mean.get("verdicts") or {}).items(), mean["seeds"]
    said = [name + (f" ({count} of {seeds} seeds)" if count < seeds else "") for name, count in found]
    return ", ".join(["best"] * (mean["setting"] == best) + said)


def _criterion(means: Sequence[Mapping[str, Any]]) -> str:
    """The figure by which settings are ranked: the ELBO where some have one and no log-likelihood."""
    name = "elbo" if any(map(only_bounded, means)) else "log_likelihood"
    known = [mean for mean in means if mean.get(name) is not None]
    valid = known and all(mean.get(f"valid_{name}") is not None for mean in known)
    return f"valid_{name}" if valid else name


def only_bounded(mean: Mapping[str, Any]) -> bool:
    """Whether a setting has an ELBO and no log-likelihood."""
    sampled = "log_likelihood" in mean or "num_particles" in mean  # which may have failed
    return mean.get("elbo") is not None and not sampled


def mean_and_error(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard error of those values that are defined; None where there are too few for it."""
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if len(known) < 2:
        return (known or [None])[0], None
    return statistics.fmean(known), statistics.stdev(known) / math.sqrt(len(known))


def shown(means: Sequence[Mapping[str, Any]]) -> list[str]:
    """The figures to show: those that some setting has; squared error and loss only where a setting has no ELBO."""
    bound = ("reconstruction_error", "loss") if all(mean.get("elbo") is not None for mean in means) else ()
    bound += () if any(map(only_bounded, means)) else BOUNDS
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
