"""Runs: a run folder's model, data and metrics for the commands, and the files they write."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

from .arguments import UsageError

_ROWS = (
    ("log_likelihood", "log-likelihood", "nats an example"),
    (
        "log_likelihood_kind",
        "  of a",
        "mass: of exact values; density: per unit; posterior predictive: of either",
    ),
    ("error_unknown", "  error", "nats an example, of the sampling"),
    ("ess", "  effective samples", "median"),
    ("khat", "  Pareto k-hat", "median; above {trusted:.2g} the log-likelihood is not to be trusted"),
    ("elbo", "ELBO", "nats an example"),
    ("reconstruction", "  reconstruction", "nats an example"),
    ("kl", "  KL", "nats an example"),
    ("bits_per_dim", "bits per dimension", "bits"),
    ("active_units", "active units", "latent dimensions"),
    ("reconstruction_error", "squared error", "an example, summed over its entries"),
    ("n", "examples", ""),
    ("num_particles", "particles", "an example, for the log-likelihood"),
)


def model(chosen: dict[str, Any]) -> Any:
    """The trained model of the run that the flags name."""
    from ..training import load

    return load(chosen["run"])


def data(chosen: dict[str, Any]) -> Any:
    """The data a run was trained on, from its config.json."""
    from ..data import load
    from ..training import RunFolder

    record = RunFolder(chosen["run"]).config().get("data")
    if not record:
        raise UsageError(f"{chosen['run']} was trained on data of your own, which config.json cannot name; use Python")
    root = {} if chosen["data-root"] is None else {"root": chosen["data-root"]}
    return load(**{**record, **root})


def kinds(chosen: dict[str, Any]) -> dict[str, Any]:
    """The kinds of the columns that a run was trained on."""
    from ..training import RunFolder

    found = (RunFolder(chosen["run"]).config().get("data") or {}).get("kinds")
    if not found:
        raise UsageError(
            f"{chosen['run']} was not trained on a table with --likelihood columns, so it cannot fill one in"
        )
    return found


def table_files(data: str | None, out: str | None) -> tuple[Path, Path]:
    """The table to read and the one to write, checked before any work is done."""
    for flag, value in (("data", data), ("out", out)):
        if value is None or Path(value).suffix.lower() != ".csv":
            raise UsageError(f"--{flag} must name a .csv file, not {value or 'nothing'}")
    if not Path(str(data)).is_file():
        raise UsageError(f"--data {data} does not exist")
    if not Path(str(out)).parent.is_dir():
        raise UsageError(f"--out {out} lies in {Path(str(out)).parent}, which is not a folder")
    return Path(str(data)), Path(str(out))


def split(chosen: dict[str, Any]) -> Any:
    """The split that ``--split`` names, else the test split."""
    return getattr(data(chosen), chosen.get("split", "test"))


def target(out: str | None, kinds: tuple[str, str] = (".png", ".npy")) -> Path:
    """The file to write, checked before any work is done."""
    if out is None:
        raise UsageError(f"--out is needed: the file to write, {' or '.join(kinds)}")
    path = Path(out)
    if path.suffix.lower() not in kinds:
        raise UsageError(f"--out {out} must end in {' or '.join(kinds)}")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out} lies in {path.parent}, which is not a folder")
    return path


def write_array(path: Path, array: Any, plot: Any) -> None:
    """Write an array to a .npy, or what ``plot`` makes of it to a .png, whole or not at all."""
    import numpy as np

    from ..reporting import save
    from ..training.checkpoint import write_atomically

    if path.suffix.lower() == ".png":
        save(plot(array), path)
    else:
        content = io.BytesIO()
        np.save(content, array.numpy())
        write_atomically(path, content.getvalue())
    print(path)


def write_report(folder: Any, trained: Any, loaded: Any) -> Path:
    """Write report.html with whatever evaluations there are."""
    from ..reporting import write

    return write(folder.path, trained, loaded, folder.metrics(), folder.config(), stored(folder))


def stored(folder: Any) -> dict[str, Any]:
    """Metrics by split, of all evaluations so far; none if the file does not read."""
    file = folder.path / "evaluation.json"
    try:
        found = json.loads(file.read_text()) if file.exists() else {}
    except ValueError:
        return {}
    if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
        return {}
    words = {"inf": math.inf, "-inf": -math.inf}  # as ``to_json`` writes them
    return {
        name: {key: words.get(value, value) if isinstance(value, str) else value for key, value in part.items()}
        for name, part in found.items()
    }


def store(folder: Any, results: dict[str, Any]) -> None:
    """Add metrics by split to evaluation.json."""
    from ..training.checkpoint import write_atomically

    content = to_json(stored(folder) | results, indent=2) + "\n"
    write_atomically(folder.path / "evaluation.json", content.encode())


def to_json(results: dict[str, dict[str, Any]], indent: int | None = None) -> str:
    """JSON, where a number that is not defined is null and an infinite one a word, "inf" or "-inf"."""
    found = {name: plain(metrics) for name, metrics in results.items()}
    return json.dumps(found, indent=indent, allow_nan=False)


def plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same with None in place of NaN and a word in place of an infinite number, as JSON knows neither.

    Example:
        >>> plain({"elbo": math.nan, "log_likelihood": -math.inf, "n": 3})
        {'elbo': None, 'log_likelihood': '-inf', 'n': 3}
    """
    odd = {key: value for key, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)}
    return metrics | {key: None if math.isnan(value) else str(value) for key, value in odd.items()}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Metrics by split as lines of name, value and unit; a figure that is not defined says so."""
    from ..evaluation import trusted_khat

    lines = []
    for name, metrics in results.items():
        lines.append(name)
        for key, words, unit in _ROWS:
            if key in metrics:
                shown = metrics.get("log_likelihood_error") if key == "error_unknown" else metrics[key]
                value, unit = _spoken(shown), unit.format(trusted=trusted_khat(metrics.get("num_particles", 1)))
                if value is None:
                    value, unit = ("not known", _why(metrics)) if key == "error_unknown" else ("not defined", "")
                lines.append(f"  {words:<20}{value:>12}  {unit}".rstrip())
    return "\n".join(lines)


def _spoken(value: Any) -> str | None:
    """A figure in words; None if it is not defined."""
    if isinstance(value, float):
        return None if math.isnan(value) else f"{value:.3f}"
    return None if value is None else str(value)


def _why(metrics: dict[str, Any]) -> str:
    """Why the error of the log-likelihood is not known."""
    from ..statistics.weights import FEWEST, FINITE, trusted_khat

    if metrics["num_particles"] < FEWEST:
        return f"k-hat needs {FEWEST} particles"
    most = min(FINITE, trusted_khat(metrics["num_particles"]))
    return f"k-hat is above {most:.2g}, or not defined, for {metrics['error_unknown']:.0%} of the examples"
