"""The report of a comparison: one HTML file in the look of a run's report, that opens offline by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .. import evaluation
from ..files import write_atomically
from ..reporting.page import Section, page
from . import plots
from .cells import Parts
from .figures import LAST_REPEATS, PARTICLES, WATCHED
from .settings import common, differing
from .table import Table, heading, marks, only_bounded, scaled, shown, words

COURSES = ("log_likelihood", "elbo", "gap", "snr_encoder", "snr_decoder")
COSTS = ("seconds_per_step", "memory_mib")
BEHIND = ("active_units", "khat", "ess", "train_particles", "seeds", "snr_encoder", "snr_decoder", *COSTS)
"""The figures of the second table."""


def write(table: Table, data: Parts, total: int, command: str | None) -> Path:
    """Write ``report.html`` beside the table, of which ``total`` cells are to come in all, whole or not at all.

    ``command`` is what to type in a shell to do it again; None if it was not made in one.
    """
    path, means = table.path / "report.html", table.means
    html = page(
        "ppl_vae.comparison",
        title=f"Comparison on {data.name}" if data.name else "Comparison",
        run=table.path.resolve().name,
        facts=[*_facts(table, data, total)],
        lead=_lead(table, means),
        warnings=table.warnings,
        tables=[[heading(name) for name in names] for names in _tables(means)],
        settings=[*_settings(table, means)],
        **_all_settings(table, means),
        note=_note(table, data),
        failed=_failed(table),
        sections=[*_sections(table, means)],
        command=command,
        dashes=plots.DASHES,
    )
    write_atomically(path, html)
    return path


def _facts(table: Table, data: Parts, total: int) -> Iterator[str]:
    settings, seeds = ({row[name] for row in table.rows} for name in ("setting", "seed"))
    yield f"{len(settings)} settings, {len(seeds)} seed{'s' * (len(seeds) != 1)}"
    failed, waiting = len(table.failed), total - len(table.rows)
    parts = [f"{failed} failed"] * bool(failed) + [f"{waiting} to come"] * bool(waiting)
    yield f"{total - failed - waiting} of {total} runs done, {', '.join(parts)}" if parts else f"{total} runs"
    yield f"{len(data.train):,} training examples of shape {' × '.join(map(str, data.train.shape))}"
    epochs = {row["epochs"] for row in table.rows if row.get("epochs")}
    if len(epochs) == 1:
        yield f"{min(epochs)} epoch{'s' * (epochs != {1})}"


def _lead(table: Table, means: Sequence[Mapping[str, Any]]) -> str:
    several = any(mean["seeds"] > 1 for mean in means)
    what = "Mean over seeds ± its standard error. " if several else ""
    if any(map(only_bounded, means)):
        what += "The ELBO, a lower bound on log p(x), is what all have: how far below log p(x) it lies depends on the "
        what += "guide of a VAE, and of a model with integer codes on what other codes explain an example too. "
        return what + table.choice
    if any(mean.get("log_likelihood") is not None for mean in means):
        what += "log p(x) is the yardstick that is the same for all; the ELBO and the gap depend on the guide too: a "
        what += "collapsed model has the smallest gap. "
        return what + table.choice
    return what


def _note(table: Table, data: Parts) -> str:
    done = [row for row in table.rows if not row["error"]]
    row = next((row for row in done if row.get("num_particles")), next(iter(done), {}))
    where = {"test": "test", "valid": "validation", "train": "training"}[data.measured.part]
    said = [f"On {row.get('n', 0):,} {where} examples."]
    if count := row.get("num_particles"):
        said.append(f"log p(x) is estimated by {count:,} importance samples each, from below on average.")
        said.extend(_trust(table))
    if any(r.get("snr_encoder") is not None for r in table.rows):
        said.append(f"SNR is |mean| / standard deviation of a gradient over {LAST_REPEATS} of them, after training.")
    threads = sorted({r["threads"] for r in table.rows if r.get("threads")})
    if threads:
        count = f"{' or '.join(map(str, threads))} thread{'s' * (threads != [1])}"
        said.append(f"Training had {count} a run; memory is what it took above the process before it.")
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


def _settings(table: Table, means: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for mean in means:
        figures = [[_cell(mean, name) for name in names] for names in _tables(means)]
        label, best = mean["setting"], mean["setting"] == table.best
        yield {"label": label, "figures": figures, "best": best, "marks": marks(mean, None)}


def _tables(means: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The figures of the two tables: what was found, and what stands behind it."""
    names = shown(means)
    found = [[n for n in names if n not in BEHIND], [n for n in names if n in BEHIND]]
    return [each for each in found if each]


def _cell(mean: Mapping[str, Any], name: str) -> tuple[str, str]:
    value, error, some = words(mean, name)
    return value.replace("-", "\N{EN DASH}" if value == "-" else "\N{MINUS SIGN}") + some, error


def _all_settings(table: Table, means: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every entry of the configurations: those that are the same in all settings, and the others side by side."""
    found = {mean["setting"]: table.settings[mean["setting"]] for mean in means if mean["setting"] in table.settings}
    names = differing([*found.values()])
    rows = [(label, [of.get(name, "\N{EN DASH}") for name in names]) for label, of in found.items()]
    return {"same": common([*found.values()]), "names": names, "differing": rows}


def _sections(table: Table, means: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    order = [mean["setting"] for mean in means]
    courses = [
        (plots.course(drawn, _title(figure), against), f"{_title(figure)}, against {against}")
        for figure in COURSES
        for against in ("seconds", "step")
        if (drawn := plots.lines(table.rows, figure, against, order))
    ]
    if courses:
        text = (
            f"On at most {WATCHED} test examples, with {PARTICLES} importance samples each: every figure against "
            "seconds of training and against optimizer steps. A band is one standard error over seeds to each side."
        )
        yield Section("courses", "Along the way", text, courses, legend=True)
    costs: list[tuple[Figure, str]] = []
    for cost in COSTS:
        known: list[Any] = [(mean["setting"], *scaled(mean, cost)) for mean in means if mean.get(cost) is not None]
        if known:
            costs.append((plots.bars(known, _title(cost)), f"Bars of {_title(cost)}"))
    if costs:
        text = "Time of training only, without evaluation; memory above what the process held before."
        yield Section("cost", "What it took", text, costs)


def _title(figure: str) -> str:
    title, unit = heading(figure)
    return f"{title[0].upper()}{title[1:]}{', ' * bool(unit)}{unit}"
