"""Compare: ``ppl-vae compare``, and ``ppl_vae.compare`` with words: a grid of settings, translated to cells.

Cells of one seed have the same initial weights of encoder, decoder and (but along an axis of posteriors) heads, and
see the same data in the same order. Every cell is a run folder, the same that ``ppl-vae train`` makes.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import word
from ..checks import check_size, nearest
from .flags import option_flags, options_named, settings_flags
from .grid import grid
from .settings import Settings, Words

if TYPE_CHECKING:
    from ..comparison import Table


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
) -> Table:
    """Train every combination of settings on one data set and put them side by side.

    The settings are the flags of ``ppl-vae train``, each with one value or a list of them. In a list, a part may carry
    options of its own after a colon, ``"iwae:num-particles=5"``; of a flag that takes several values, such as
    ``hidden``, a list of lists is an axis. ``ppl_vae.compare`` calls this when its first argument is no mapping.

    Args:
        data: a named data set, a file or a folder.
        out: folder of the comparison.
        axes: flags by their names in the shell, ``{"estimator.num-particles": [1, 5]}``.
        jobs: as for ``ppl_vae.compare``.
        backend: as for ``ppl_vae.compare``.
        num_particles: as for ``ppl_vae.compare``.
        limit: as for ``ppl_vae.compare``.
        progress: as for ``ppl_vae.compare``.
        **flags: flags whose names have underscores for hyphens, ``latent_dim=8``.

    Returns:
        a ``comparison.Table``.

    Raises:
        ValueError: an unknown flag or value, before anything is trained; or a cell's folder that holds other settings.

    Example:
        >>> compare("digits", out="runs/grid", prior=["normal", "laplace"], jobs=0)
        Traceback (most recent call last):
        ...
        ValueError: --jobs must be a whole number of at least 1, not 0
    """
    given = {"data": data, **{name.replace("_", "-"): value for name, value in flags.items()}, **(axes or {})}
    known = {*settings_flags(), *option_flags()} - {"tensorboard"}
    typed = {name: _typed(value) for name, value in given.items()}
    for name in given:
        if name not in known and not options_named(name, typed):
            raise ValueError(f"{name} is no flag of ppl-vae train to compare by; {nearest(name, known)}")
    asked = {"jobs": jobs, "backend": backend, "num_particles": num_particles, "limit": limit}
    return compare_words(typed, Path(out), progress=progress, **asked)


def compare_words(given: Words, out: Path, *, progress: bool, **asked: Any) -> Table:
    """Train the grid that the words behind train's flags make; ``asked`` are arguments of ``ppl_vae.compare``."""
    flags = {name.replace("_", "-"): value for name, value in asked.items()}
    for name in ("jobs", "num-particles", "limit"):
        check_size(f"--{name}", flags[name])
    chosen = grid(given)

    from ..comparison.cells import Cell, Parts
    from ..comparison.compare import run
    from ..parallel import check_backend
    from ..training.fit import default_settings
    from .build import fit_arguments, load_data

    check_backend(asked["backend"])
    cells = []
    for one in chosen:
        fit, make = fit_arguments(one.settings), functools.partial(_make, one.settings)
        default_settings(**{name: value for name, value in fit.items() if (name, value) != ("batch_size", None)})
        files = one.settings.own_files()
        cells.append(Cell(one.name, one.label, one.axes, make, fit, "shell", one.settings.kept(), files=files))
    data = Parts.of(load_data(chosen[0].settings))
    typed = {**given, **{name: [str(value)] for name, value in flags.items()}, "out": [f"{out.name}-again"]}
    again = shlex.join(["ppl-vae", "compare", *(w for name, value in typed.items() for w in (f"--{name}", *value))])
    return run(cells, data, out, **asked, progress=progress, command=again)


def _make(chosen: Settings) -> tuple[Any, Any]:
    """The objective and the data of a cell, in the process that trains it."""
    from ..comparison.cells import Parts
    from .build import build_objective, load_data
    from .build_labels import training_rows

    data = load_data(chosen)
    return build_objective(chosen, data), Parts.of(replace(data, train=training_rows(chosen, data.train)))


def _typed(value: Any) -> list[str]:
    """A value of Python as the words of a shell."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return [word(item) for item in value] if several else [word(value)]
