"""The report of a comparison: one HTML file in the look of a run's report, that opens offline by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import evaluation
from ..reporting.embed import embed
from ..reporting.page import page
from ..reporting.section import Section
from ..training.checkpoint import write_atomically
from . import plots
from .cells import Parts
from .figures import LAST_REPEATS, PARTICLES, WATCHED
from .table import UNBOUNDED, Table, of_seeds


@dataclass(frozen=True)
class Column:
    """A column of the page's table: a figure, its heading and unit, what it is multiplied by, and its decimals."""

    figure: str
    name: str
    unit: str
    factor: float = 1.0
    digits: int = 2


COLUMNS = (
    Column("log_likelihood", "log p(x)", "nats"),
    Column("elbo", "ELBO", "nats"),
    Column("gap", "Gap", "nats"),
    Column("kl", "KL", "nats"),
    Column("reconstruction_error", "Squared error", "", digits=3),
    Column("loss", "Loss", "", digits=3),
    Column("snr_encoder", "Encoder", "SNR"),
    Column("snr_decoder", "Decoder", "SNR"),
    Column("seconds_per_step", "Step", "ms", 1000.0, 1),
    Column("memory_mib", "Memory", "MiB", digits=0),
)
COURSES = {
    "log_likelihood": "Test log-likelihood, nats",
    "elbo": "Test ELBO, nats",
    "gap": "Gap between the two, nats",
    "snr_encoder": "SNR of the encoder's gradient",
    "snr_decoder": "SNR of the decoder's gradient",
}


def write(table: Table, data: Parts, total: int, command: str | None) -> Path:
    """Write ``report.html`` beside the table; the file appears whole or not at all.

    Args:
        table: what is there so far.
        data: what was trained on.
        total: cells that there will be.
        command: what to type in a shell to do it again; None if it was not made in one.
    """
    path, means = table.path / "report.html", table.means
    html = page(
        "ppl_vae.comparison",
        title=f"Comparison on {data.name}" if data.name else "Comparison",
        run=table.path.resolve().name,
        facts=list(_facts(table, data, total)),
        lead=_lead(means),
        columns=_columns(means),
        settings=_settings(means),
        note=_note(table, data),
        failed=_failed(table),
        sections=list(_sections(table, means)),
        command=command,
        dashes=plots.DASHES,
    )
    write_atomically(path, html)
    return path


def _facts(table: Table, data: Parts, total: int) -> Iterator[str]:
    seeds = {row["seed"] for row in table.rows}
    settings = {row["setting"] for row in table.rows}
    yield f"{len(settings)} settings, {len(seeds)} seed{'s' * (len(seeds) != 1)}"
    done = len(table.rows) - len(table.failed)
    if done < total:
        waiting = total - len(table.rows)
        parts = [f"{len(table.failed)} failed"] * bool(table.failed) + [f"{waiting} to come"] * bool(waiting)
        yield f"{done} of {total} runs done, {', '.join(parts)}"
    else:
        yield f"{total} runs"
    yield f"{len(data.train):,} training examples of shape {' × '.join(map(str, data.train.shape))}"
    epochs = {row["epochs"] for row in table.rows if row.get("epochs")}
    if len(epochs) == 1:
        count = epochs.pop()
        yield f"{count} epoch{'s' * (count != 1)}"


def _lead(means: Sequence[Mapping[str, Any]]) -> str:
    several = any(mean["seeds"] > 1 for mean in means)
    what = "Mean over seeds ± its standard error. " if several else ""
    if any(mean.get("log_likelihood") is not None for mean in means):
        what += "log p(x) is the yardstick that is the same for all; the ELBO and the gap depend on the guide too. "
        return what + "Best log-likelihood first."
    return what


def _note(table: Table, data: Parts) -> str:
    row = next((row for row in table.rows if not row["error"]), {})
    where = {"test": "test", "valid": "validation", "train": "training"}[data.measured.part]
    said = [f"On {row.get('n', 0):,} {where} examples."]
    if row.get("num_particles"):
        said.append(
            f"log p(x) is estimated by {row['num_particles']:,} importance samples each, from below on average."
        )
    if row.get("num_particles"):
        said.extend(_trust(table))
    if any(r.get("snr_encoder") is not None for r in table.rows):
        said.append(f"SNR is |mean| / standard deviation of a gradient over {LAST_REPEATS} of them, after training.")
    threads = sorted({r["threads"] for r in table.rows if r.get("threads")})
    if threads:
        said.append(
            f"Training had {' or '.join(map(str, threads))} thread{'s' * (threads != [1])} a run; memory is "
            "what it took above the process before it."
        )
    return " ".join(said)


def _trust(table: Table) -> Iterator[str]:
    """The settings whose log-likelihood is not to be trusted, or of whose weights nothing is known."""
    rows = [row for row in table.rows if row.get("num_particles")]
    limits = {row["num_particles"]: evaluation.trusted_khat(row["num_particles"]) for row in rows}
    most = f"{max(limits.values()):.2g}"
    known = [row for row in rows if row.get("khat") is not None]
    bad = sorted({row["setting"] for row in known if row["khat"] > limits[row["num_particles"]]})
    none = sorted({row["setting"] for row in rows if row.get("khat") is None})
    if bad:
        yield f"Median Pareto k-hat is above {most} for {'; '.join(bad)}: the true value may be higher there."
    if none:
        yield f"Pareto k-hat is not defined for {'; '.join(none)}: nothing says how far log p(x) can be trusted there."


def _failed(table: Table) -> list[dict[str, Any]]:
    """What failed, seeds with the same sentence together."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in table.failed:
        found.setdefault((row["setting"], row["error"]), []).append(row["seed"])
    return [{"setting": setting, "error": error, "seeds": seeds} for (setting, error), seeds in found.items()]


def _columns(means: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Those that some setting has; of squared error and loss only where some setting has no ELBO."""
    found = [column for column in COLUMNS if any(mean.get(column.figure) is not None for mean in means)]
    bound = all(mean.get("elbo") is not None for mean in means)
    return [column for column in found if not (bound and column.figure in UNBOUNDED)]


def _settings(means: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    columns, out = _columns(means), []
    for i, mean in enumerate(means):
        values = [_value(column, mean) for column in columns]
        best = i == 0 and len(means) > 1 and mean.get("log_likelihood") is not None
        out.append({"label": mean["setting"], "figures": values, "best": best})
    return out


def _value(column: Column, mean: Mapping[str, Any]) -> tuple[str, str]:
    """A figure and its error in words."""
    value, error = mean.get(column.figure), mean.get(f"{column.figure}_stderr")
    if value is None:
        return "–", ""
    said = f"{value * column.factor:,.{column.digits}f}".replace("-", "\N{MINUS SIGN}") + of_seeds(mean, column.figure)
    return said, "" if error is None else f"{error * column.factor:.{column.digits}f}"


def _sections(table: Table, means: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    order = [mean["setting"] for mean in means]
    figures = []
    for figure, name in COURSES.items():
        for against in ("seconds", "step"):
            drawn = plots.lines(table.rows, figure, against, order)
            if drawn:
                alt = f"{name}, against {against}"
                figures.append(embed(plots.course(drawn, name, against), alt))
    if figures:
        text = (
            f"On at most {WATCHED} test examples, with {PARTICLES} importance samples each: every figure against "
            "seconds of training and against optimizer steps. A band is one standard error over seeds to each side."
        )
        yield Section("courses", "Along the way", text, tuple(figures))
    took = [Column("seconds_per_step", "Milliseconds a step", "", 1000.0), Column("memory_mib", "Peak memory, MiB", "")]
    drawn = [embed(_bars(column, means), f"Bars of {column.name}") for column in took if _known(column, means)]
    if drawn:
        text = "Time of training only, without evaluation; memory above what the process held before."
        yield Section("cost", "What it took", text, tuple(drawn))


def _known(column: Column, means: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [mean for mean in means if mean.get(column.figure) is not None]


def _bars(column: Column, means: Sequence[Mapping[str, Any]]) -> Any:
    known = _known(column, means)
    values = [mean[column.figure] * column.factor for mean in known]
    sems = [mean.get(f"{column.figure}_stderr") for mean in known]
    errors = [None if sem is None else sem * column.factor for sem in sems]
    return plots.bars([mean["setting"] for mean in known], values, errors, column.name)
