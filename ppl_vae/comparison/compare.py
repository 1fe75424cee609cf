"""Compare: objectives trained side by side on one data set, each under several seeds, and put into one table."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import check_size, nearest
from . import work
from .cells import Cell, Parts, folder_name, identity, placed
from .settings import settings_of
from .table import Table, heading, only_bounded, row_of, shown, words

if TYPE_CHECKING:
    from torch import nn

Build = Callable[..., "nn.Module"]
"""A function of the seed, or of nothing, that builds a fresh objective."""


def _or_words(of_objects: Callable[..., Table]) -> Callable[..., Table]:
    """The function, but a call with the name of a data set in place of the mapping goes to the shell's ``compare``."""

    @functools.wraps(of_objects)
    def compare(*args: Any, **named: Any) -> Table:
        cells = args[0] if args else named.get("cells")
        if cells is None or isinstance(cells, str | os.PathLike):
            return importlib.import_module("ppl_vae.cli.compare").compare(*args, **named)
        return of_objects(*args, **named)

    return compare


@_or_words
def compare(
    cells: Mapping[str, Build],
    data: Any,
    *,
    seeds: Sequence[int] = (0, 1),
    epochs: int | None = None,
    out: str | Path = "runs/compare",
    num_particles: int = 100,
    limit: int = 500,
    jobs: int = 1,
    backend: str = "loky",
    progress: bool = True,
    **fit_arguments: Any,
) -> Table:
    """Train objectives on one data set, each under several seeds, and put them side by side.

    Every cell (an objective under a seed) is a run folder in ``out``. Finished cells are kept and unfinished ones
    resumed; a cell that fails does not stop the others. All cells of a seed see the same data in the same order, and
    are built from the same random state.

    With the name or path of a data set in place of the mapping, the settings are words, as ``ppl-vae compare`` takes
    them, ``compare("digits", estimator=["stl", "iwae:num-particles=5"])``: see ``ppl_vae.cli.compare.compare``.

    Args:
        cells: functions by name, each building a fresh objective with a fresh model: ``lambda seed: SVI(...)``, or of
            no argument. The random state is seeded before the call.
        data: a ``Data``, training data as ``fit`` takes them, or (train, valid, test), the last two of which may be
            None. The figures are of the test data, or without any of the validation or training data; the best setting
            is chosen on the validation data where there are test data too.
        seeds: of the initial weights and the training.
        epochs: passes over the training data; if not given, as many as ``fit`` takes, with the best weights kept.
        out: folder for table.csv, table.json, report.html and, in cells, the runs.
        num_particles: importance samples of an example for the log-likelihood.
        limit: test examples, and as many validation examples, that the figures are of.
        jobs: processes that train at the same time; each takes its share of the cores.
        backend: "loky" for processes of this machine; "dask" or "ray" for those of a cluster that share ``out``.
        progress: show a line for each cell that is finished, and in a terminal a bar.
        **fit_arguments: further arguments of ``fit``, the same for all cells, such as ``lr`` and ``batch_size``.

    Returns:
        a ``Table`` with figures in nats per example at beta = 1; a model that is neither a ``Codec`` nor a ``Pair`` has
        only its loss.

    Raises:
        TypeError: a cell that is not a function.
        ValueError: before anything is trained: arguments or data that cannot be right, functions whose objectives share
            parameters, or a folder in ``out`` that holds a cell of the same name and another configuration.

    Example:
        >>> import tempfile, torch
        >>> from ppl_vae import Reconstruction, models, networks
        >>> def build(hidden):
        ...     return Reconstruction(models.Autoencoder(networks.MLP(6, [hidden]), networks.MLP(2, [hidden]), 2, 6))
        >>> cells = {f"hidden {hidden}": lambda hidden=hidden: build(hidden) for hidden in (4, 8)}
        >>> with tempfile.TemporaryDirectory() as out:
        ...     table = compare(cells, torch.rand(60, 6), seeds=[0], epochs=1, out=out, progress=False)
        >>> [row["setting"] for row in table.rows], table.failed
        (['hidden 4', 'hidden 8'], [])
    """
    from ..parallel import check_backend
    from ..training.settings import Settings

    for name, value in {"jobs": jobs, "num_particles": num_particles, "limit": limit}.items():
        check_size(name, value)
    check_backend(backend)
    known = {field.name for field in fields(Settings)} - {"seed"} | {"seeds"}
    for name in fit_arguments:
        if name not in known:
            raise ValueError(f"{name} is no argument of compare, nor of fit for all cells; {nearest(name, known)}")
    parts = Parts.of(data)
    made = _cells(cells, parts, seeds, {"epochs": epochs, **fit_arguments})
    asked = {"num_particles": num_particles, "limit": limit, "jobs": jobs, "backend": backend}
    return run(made, parts, Path(out), **asked, progress=progress)


def run(
    cells: Sequence[Cell],
    data: Parts,
    out: Path,
    *,
    num_particles: int,
    limit: int,
    jobs: int,
    backend: str,
    progress: bool,
    command: str | None = None,
) -> Table:
    """Train and measure cells, and keep the table and the report up to date: what is common to Python and the shell."""
    from tqdm import tqdm

    from ..parallel import outcomes
    from . import report

    if out.exists() and not out.is_dir():
        raise ValueError(f"out is {out}, which is a file; name a folder")
    cells, asked = placed(cells, out / "cells"), {"num_particles": num_particles, "limit": limit}
    (out / "cells").mkdir(parents=True, exist_ok=True)
    found = {cell.name: outcome for cell in cells if (outcome := work.finished(cell, asked)) is not None}
    left = {cell.name: cell for cell in cells if cell.name not in found}
    drawn, took = -math.inf, 0.0

    def table(last: bool = True) -> Table:
        """The table so far, written; the report, which takes seconds to draw, a twentieth of the time."""
        nonlocal drawn, took
        rows = [row_of(cell, found[cell.name]) for cell in cells if cell.name in found]
        settings = {cell.label: of for cell in cells if (of := settings_of(cell.folder))}
        made, began = Table(rows, tuple(cells[0].axes), out, settings, data.measured.part), time.monotonic()
        made.write()
        if last or began - drawn > 20 * took:
            report.write(made, data, total=len(cells), command=command)
            drawn, took = time.monotonic(), time.monotonic() - began
        return made

    hidden = not (progress and left and sys.stderr.isatty())  # a log file gets a line a cell and no bar
    bar = tqdm(total=len(cells), initial=len(found), unit="cell", disable=hidden, dynamic_ncols=True)
    try:
        with bar:
            attempt = functools.partial(work.attempt, asked=asked)
            for name, outcome in outcomes(left, attempt, jobs, backend) if left else ():
                if progress:
                    said, cell = outcome.get("error") or _headline(outcome), left[name]
                    bar.write(f"{cell.label}, seed {cell.axes['seed']}: {said}")
                bar.update()
                found[name] = outcome
                table(last=False)
    finally:
        made = table()
    return made


def _cells(cells: Mapping[str, Build], data: Parts, seeds: Sequence[int], given: dict[str, Any]) -> list[Cell]:
    """Every function with every seed; all of them are built once here, to know their configurations."""
    from torch import nn

    from ..parts import describe
    from ..training.fit import default_settings

    if not (isinstance(cells, Mapping) and cells and all(isinstance(key, str) for key in cells)):
        raise TypeError(
            "cells must map one name or more to functions, such as {'vae': lambda seed: SVI(...)}, not "
            f"{cells if cells == {} else type(cells).__name__}"
        )
    for key, build in cells.items():
        if not callable(build) or isinstance(build, nn.Module):
            raise TypeError(
                f"cells[{key!r}] must be a function that builds a fresh objective, such as lambda seed: SVI(...), "
                f"not {type(build).__name__}"
            )
    if not isinstance(seeds, Sequence) or isinstance(seeds, str) or not seeds:
        raise ValueError(f"seeds must be whole numbers, such as (0, 1), not {seeds!r}")
    default_settings(**{name: value for name, value in given.items() if (name, value) != ("batch_size", None)})
    made: dict[str, Cell] = {}
    seen: dict[int, tuple[weakref.ref[Any], str]] = {}
    for key, build in cells.items():
        for seed in dict.fromkeys(check_size("seeds", seed, 0) for seed in seeds):
            record = _record(f"{key!r}, seed {seed}", build, seed, data, seen)
            if record is not None:
                record = {"cell": key, "seed": seed, **record, **describe(given)}
            name = folder_name([key, f"seed-{seed}"], identity(record or {"cell": key, "seed": seed}), made)
            make = functools.partial(_make, build, seed, data)
            made[name] = Cell(name, key, {"seed": seed}, make, {**given, "seed": seed}, "comparison", record)
    return [*made.values()]


def _record(
    name: str, build: Build, seed: int, data: Parts, seen: dict[int, tuple[weakref.ref[Any], str]]
) -> dict[str, Any] | None:
    """Model, objective and data as far as they can be described; None where building fails, as it will again."""
    from ..objectives.objective import as_objective
    from ..parts import describe

    try:
        objective = as_objective(_make(build, seed, data)[0])
    except Exception:
        return None
    for parameter in objective.parameters():
        other, owner = seen.get(id(parameter), (lambda: None, ""))
        if other() is parameter:
            raise ValueError(f"cells {owner} and {name} share parameters; build the model inside the function")
        seen[id(parameter)] = weakref.ref(parameter), name
    own = describe(objective.itself)
    own.pop("model", None)
    config = data.train.config or {"rows": len(data.train), "shape": list(data.train.shape)}
    kept = {name: value for name, value in config.items() if name not in ("root", "download")}
    return {"model": describe(objective.model), "objective": own, "data": kept}


def _make(build: Build, seed: int, data: Parts) -> tuple[nn.Module, Parts]:
    """A fresh objective, built under the seed, and its data."""
    import torch

    from .. import randomness

    parameters = inspect.signature(build).parameters
    wants = any(p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD for p in parameters.values())
    with randomness.isolated(seed, torch.device("cpu")):
        made = build(seed=seed) if "seed" in parameters else build(seed) if wants else build()
    return made, data


def _headline(outcome: Mapping[str, Any]) -> str:
    """The first figure of a cell."""
    name = "elbo" if only_bounded(outcome) else shown([outcome])[0]
    title, unit = heading(name)
    return f"test {title} {words(outcome, name)[0]} {unit}".rstrip()
