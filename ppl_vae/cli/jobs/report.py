"""``ppl-vae report``."""

from __future__ import annotations

from ..run import Run, write_report


def report(run: Run, data_root: str | None = None, seed: int = 0) -> None:
    """Write report.html into a run folder.

    Args:
        run: a run.
        data_root: where the data lies, if it is not where the run found it.
        seed: not used: a report draws with seeds of its own.
    """
    model = run.model
    print(write_report(run.folder, model, run.data(data_root) if run.record else None))
