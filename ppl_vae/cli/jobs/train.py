"""``ppl-vae train``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import to_yaml
from ..settings import Settings

QUICK = {"num_particles": 64, "limit": 500, "seed": 0}
"""The evaluation that follows training."""


def train(
    settings: Settings,
    out: str | None = None,
    resume: bool = False,
    config: str | None = None,
    print_config: bool = False,
    parts: Sequence[str] | None = None,
    report: bool = True,
    progress: bool = True,
    quiet: bool = False,
) -> None:
    """Train a model and write its run folder and report.

    Args:
        settings: what is trained.
        out: folder for the run; runs/DATA if not given.
        resume: continue the run in --out, or start it there if there is none.
        config: YAML or JSON file, or a run's config.json; flags given here win over it.
        print_config: print every flag as YAML for --config, and stop.
        parts: files of your own classes that the file of --config may name; nothing else that it names is executed.
        report: write report.html.
        progress: show a progress bar.
        quiet: print nothing but errors.
    """
    if print_config:
        of_the_line = ("config", "parts", "print-config")
        print(to_yaml({k: v for k, v in settings.values.items() if k not in of_the_line}), end="")
        return
    from ...training import RunFolder, fit
    from ..build import build_objective, fit_arguments, load_data
    from ..build_labels import training_rows
    from ..run import verdicts

    own = settings.own_files()
    folder = RunFolder(out or f"runs/{Path(settings['data']).stem}")
    if resume and folder.config_file.exists():
        settings = settings.resumed(folder.config().get("shell", {}))
    data = load_data(settings)
    rows = training_rows(settings, data.train)
    objective = build_objective(settings, data)
    try:
        before = len(folder.metrics())
    except ValueError:  # written anew from the checkpoint
        before = -1
    history = fit(
        objective,
        rows,
        data.valid if len(data.valid) else None,
        out=folder.path,
        resume=resume,
        progress=progress and not quiet,
        extra={"shell": settings.kept(), "parts": own},
        **fit_arguments(settings),
    )
    if int(os.environ.get("RANK", "0")) == 0:
        finished = before == len(history.rows) and (not report or (folder.path / "report.html").exists())
        said = f"already finished after {before} epochs" if finished else _conclude(folder, objective, data, report)
        if not quiet:
            print("\n".join([f"{folder.path}: {said}", *map(str, verdicts(folder, objective.model))]))


def _conclude(folder: Any, objective: Any, data: Any, report: bool) -> str:
    """Evaluate quickly and write the report; what came out, in a line."""
    from ... import evaluation
    from ..run import write_report

    model = objective.model
    folder.evaluation_file.unlink(missing_ok=True)  # of the model before it was trained further
    said = [f"{len(folder.metrics())} epochs"]
    if len(data.test):
        result = evaluation.evaluate(model.eval(), data.test.resolve(model.support), train=data.train, **QUICK)
        folder.keep_evaluation("test", result)
        if "elbo" in result:
            said.append(f"test ELBO {result['elbo']:.2f} nats an example")
        else:
            said.append(f"test squared error {result['reconstruction_error']:.3g} an example")
    if report:
        said.append(f"report in {write_report(folder, model, data)}")
    return ", ".join(said)
