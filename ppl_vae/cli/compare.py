"""Compare: ``ppl-vae compare`` and ``ppl_vae.compare``, a grid of settings trained side by side on one data set.

Cells of one seed have the same initial weights of encoder, decoder and (but along an axis of posteriors) heads, and
see the same data in the same order. Every cell is a run folder, made by what ``ppl-vae train`` does.
"""

from __future__ import annotations

import functools
import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checks import check_size, nearest
from ..comparison.cells import Cell
from .flags import flags_of, option_flags, settings_flags
from .grid import difference, grid, identity
from .kinds import word
from .settings import Words
from .work import Work, read_json


def compare(
    data: str = "digits",
    *,
    out: str | Path,
    axes: Mapping[str, Any] | None = None,
    jobs: int = 1,
    backend: str = "loky",
    num_particles: int = 100,
    limit: int = 500,
    progress: bool = True,
    **flags: Any,
) -> Any:
    """Train every combination of settings on one data set and put them side by side.

    The settings are the flags of ``ppl-vae train``, each with one value or a list of them. In a list, a part may carry
    options of its own after a colon, ``"iwae:num-particles=5"``; of a flag that takes several values, such as
    ``hidden``, a list of lists is an axis. Finished cells in ``out`` are kept and unfinished ones resumed. A cell that
    fails does not stop the others.

    Args:
        data: a named data set, a file or a folder.
        out: folder for table.csv, table.json, report.html and a run folder for every cell.
        axes: flags by their names in the shell, ``{"estimator.num-particles": [1, 5]}``.
        jobs: processes that train at the same time; each takes its share of the cores.
        backend: "loky" for processes of this machine; "dask" or "ray" for those of a cluster that share ``out``.
        num_particles: importance samples an example for the log-likelihood.
        limit: test examples that the figures are of.
        progress: show a bar.
        **flags: flags whose names have underscores for hyphens, ``latent_dim=8``.

    Returns:
        a ``comparison.Table``: ``.rows`` a dict for every cell, ``.means`` over the seeds of every setting, and
        ``.failed``. Figures are in nats per example at beta = 1.

    Raises:
        ValueError: an unknown flag or value, before anything is trained; or a cell's folder that holds other settings.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = compare(
        ...         out=folder, axes={"prior": ["normal", "laplace"]}, hidden=8, epochs=1, limit=20, progress=False
        ...     )
        >>> len(table.rows), sorted(mean["prior"] for mean in table.means), table.failed
        (2, ['laplace', 'normal'], [])
    """
    given = {"data": data, **{name.replace("_", "-"): value for name, value in flags.items()}, **(axes or {})}
    known = {*settings_flags(), *option_flags()} - {"tensorboard"}
    for name in given:
        if name not in known:
            raise ValueError(f"{name} is no flag of ppl-vae train to compare by; {nearest(name, known)}")
    backends = flags_of("compare")["backend"].kind.choices
    if backend not in backends:
        raise ValueError(f"backend {backend!r} is unknown; {nearest(str(backend), backends)}")
    typed = {name: _typed(value) for name, value in given.items()}
    asked = {"num_particles": num_particles, "limit": limit}
    return compare_words(typed, Path(out), jobs=jobs, backend=backend, progress=progress, **asked)


def compare_words(
    given: Words, out: Path, *, jobs: int, backend: str, num_particles: int, limit: int, progress: bool
) -> Any:
    """The table of a comparison whose axes are the words behind train's flags."""
    from ..comparison import engine

    asked = {"num-particles": num_particles, "limit": limit}
    for name, value in {"jobs": jobs, **asked}.items():
        check_size(f"--{name}", value)
    cells = grid(given)
    engine.check_backend(backend)
    data = _checked(cells)
    work = Work(out, _places(out, cells), num_particles, limit)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out is {out}, which is a file; name a folder")
    (out / "cells").mkdir(parents=True, exist_ok=True)
    again = _typed_again(given, out, {"jobs": jobs, "backend": backend, **asked})
    keeper = _Keeper(cells, out, data, again)
    done = {cell.name: found for cell in cells if (found := work.finished(cell)) is not None}
    for cell in cells:
        if cell.name in done:
            keeper.add(cell, done[cell.name])
    left = [cell for cell in cells if cell.name not in done]
    try:
        for cell, outcome in _progress(left, work, jobs, backend, progress, len(cells)):
            keeper.add(cell, outcome)
            keeper.write()
    finally:
        keeper.write(last=True)
    return keeper.table


def _progress(
    left: list[Cell], work: Work, jobs: int, backend: str, progress: bool, total: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """The outcomes as they come, with a bar of cells."""
    from tqdm import tqdm

    from ..comparison.engine import outcomes

    if not left:
        return
    with tqdm(total=total, initial=total - len(left), unit="cell", disable=not progress, dynamic_ncols=True) as bar:
        bar.refresh()
        for cell, outcome in outcomes(left, work, jobs, backend):
            if progress:
                said = outcome.get("error") or _headline(outcome)
                bar.write(f"{cell.label}, seed {cell.axes['seed']}: {said}")
            bar.update()
            yield cell, outcome


def _headline(outcome: Mapping[str, Any]) -> str:
    if outcome.get("log_likelihood") is not None:
        return f"test log-likelihood {outcome['log_likelihood']:.2f} nats an example"
    return f"test squared error {outcome.get('reconstruction_error', math.nan):.3g} an example"


class _Keeper:
    """The table so far and its files; the report, which takes seconds, is not drawn all the time."""

    def __init__(self, cells: Sequence[Cell], out: Path, data: Any, again: str) -> None:
        self.cells, self.out, self.data, self.again = cells, out, data, again
        self.outcomes: dict[str, Mapping[str, Any]] = {}
        self.drawn, self.took = -math.inf, 0.0

    def add(self, cell: Cell, outcome: Mapping[str, Any]) -> None:
        self.outcomes[cell.name] = outcome

    @functools.cached_property
    def axes(self) -> tuple[str, ...]:
        return tuple(self.cells[0].axes)

    @property
    def table(self) -> Any:
        from ..comparison.table import Table, row_of

        rows = [row_of(cell, self.outcomes[cell.name]) for cell in self.cells if cell.name in self.outcomes]
        return Table(rows, self.axes, self.out)

    def write(self, last: bool = False) -> None:
        table = self.table
        table.write()
        began = time.monotonic()
        if last or began - self.drawn > 20 * self.took:
            from ..comparison.report import write

            write(table, self.data, total=len(self.cells), command=self.again)
            self.drawn, self.took = time.monotonic(), time.monotonic() - began


def _checked(cells: Sequence[Cell]) -> Any:
    """The data of the first cell, after the numbers of every cell's training have been checked."""
    from ..training.fit import default_settings
    from .build import fit_arguments, load_data

    for cell in cells:
        given = fit_arguments(cell.settings)
        default_settings(**{name: value for name, value in given.items() if (name, value) != ("batch_size", None)})
    return load_data(cells[0].settings)


def _places(out: Path, cells: Sequence[Cell]) -> dict[str, str]:
    """The folder of every cell: the one below ``out`` that was made with its settings, else a new one of its name.

    Raises:
        ValueError: the folder of that name was made with other settings.
    """
    made: dict[str, str] = {}
    for file in sorted((out / "cells").glob("*/config.json")):
        shell = (read_json(file) or {}).get("shell")
        if isinstance(shell, dict):
            made[identity(shell)] = f"cells/{file.parent.name}"
    places: dict[str, str] = {}
    for cell in cells:
        kept = cell.settings.kept()
        place = made.get(identity(kept), f"cells/{cell.name}")
        before = (read_json(out / place / "config.json") or {}).get("shell")
        odd = difference(before, kept) if isinstance(before, dict) else None
        if odd:
            raise ValueError(f"{odd} in the cell {out / place}; give the same to go on, or name a new --out")
        places[cell.name] = place
    return places


def _typed(value: Any) -> list[str]:
    """A value of Python as the words of a shell."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return [word(item) for item in value] if several else [word(value)]


def _typed_again(given: Words, out: Path, asked: Mapping[str, Any]) -> str:
    """The command that makes the comparison again."""
    typed = {**given, **{name: [str(value)] for name, value in asked.items()}, "out": [f"{out.name}-again"]}
    return shlex.join(["ppl-vae", "compare", *(w for name, value in typed.items() for w in (f"--{name}", *value))])
