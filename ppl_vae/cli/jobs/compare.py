"""``ppl-vae compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..arguments import UsageError
from ..compare import compare_words
from ..settings import Words


def compare(
    out: str | None = None,
    jobs: int = 1,
    backend: Literal["loky", "dask", "ray"] = "loky",
    num_particles: int = 100,
    limit: int = 500,
    config: str | None = None,
    parts: Sequence[str] | None = None,
    progress: bool = True,
    quiet: bool = False,
    *,
    axes: Words,
) -> None:
    """Train a grid of settings on one data set and put them side by side.

    Any flag of train, and any option of a part, may be given several words. A part may carry options of its own after a
    colon, and a list is written with commas:

      ppl-vae compare --data digits --estimator trace-elbo iwae:num-particles=5 --prior normal laplace --seed 0 1
      ppl-vae compare --data digits --hidden 200,200 400 --beta 1 linear:steps=1000 --jobs 4

    Args:
        out: folder for the comparison; runs/compare-DATA if not given.
        jobs: processes that train at a time, each with its share of the cores.
        backend: the processes are this machine's (loky) or a cluster's (dask, ray).
        num_particles: importance samples an example for the log-likelihood.
        limit: test examples that the figures are of.
        config: YAML or JSON file of flags; flags given here win over it.
        parts: files of your own classes that the file of --config may name; nothing else that it names is executed.
        progress: show a progress bar.
        quiet: print nothing but errors.
        axes: the flags of train, each with the words to compare.
    """
    folder = Path(out or f"runs/compare-{Path(axes.get('data', ['digits'])[0]).stem}")
    asked = {"jobs": jobs, "backend": backend, "num_particles": num_particles, "limit": limit}
    table = compare_words(axes, folder, progress=progress and not quiet, **asked)
    if len(table.failed) == len(table.rows):
        raise UsageError(f"all {len(table.rows)} cells failed, the first with: {table.failed[0]['error']}")
    if not quiet:
        failed = f", {len(table.failed)} of which failed" if table.failed else ""
        print(f"{table}\n{folder}: {len(table.rows)} cells{failed}, report in {folder / 'report.html'}")
