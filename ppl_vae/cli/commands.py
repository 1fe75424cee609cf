"""Commands: what ``ppl-vae`` does, one function each. torch is imported inside them, after the flags have been read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import catalog, imputing, jobs, runs
from .arguments import UsageError, values
from .config import to_yaml
from .settings import Settings, settings

QUICK = {"num_particles": 64, "limit": 500, "seed": 0}
"""The evaluation that follows training."""


def train(argv: Sequence[str]) -> int:
    """Train a model, write its run folder and report, and say how well it does on the test split."""
    chosen = settings(argv)
    if chosen["print-config"]:
        print(to_yaml({k: v for k, v in chosen.values.items() if k not in ("config", "print-config")}), end="")
        return 0
    from ..training import RunFolder, fit
    from .build import build_objective, fit_arguments, load_data

    folder = RunFolder(chosen["out"] or f"runs/{Path(chosen['data']).stem}")
    data = load_data(chosen)
    objective = build_objective(chosen, data)
    try:
        before = len(folder.metrics())
    except ValueError:  # written anew from the checkpoint
        before = -1
    history = fit(
        objective,
        data.train,
        data.valid if len(data.valid) else None,
        out=folder.path,
        resume=chosen["resume"],
        progress=chosen["progress"] and not chosen["quiet"],
        extra={"shell": chosen.kept()},
        **fit_arguments(chosen),
    )
    if int(os.environ.get("RANK", "0")) == 0:
        reported = not chosen["report"] or (folder.path / "report.html").exists()
        finished = before == len(history.rows) and reported
        said = f"already finished after {before} epochs" if finished else _conclude(chosen, folder, objective, data)
        if not chosen["quiet"]:
            print(f"{folder.path}: {said}")
    return 0


def _conclude(chosen: Settings, folder: Any, objective: Any, data: Any) -> str:
    """Evaluate quickly and write the report; what came out, in a line."""
    from .. import evaluation

    model = objective.model
    (folder.path / "evaluation.json").unlink(missing_ok=True)  # of the model before it was trained further
    said = [f"{len(folder.metrics())} epochs"]
    if len(data.test):
        result = evaluation.evaluate(model.eval(), data.test.resolve(model.support), **QUICK)
        runs.store(folder, {"test": result})
        if "elbo" in result:
            said.append(f"test ELBO {result['elbo']:.2f} nats an example")
        else:
            said.append(f"test squared error {result['reconstruction_error']:.3g} an example")
    if chosen["report"]:
        said.append(f"report in {runs.write_report(folder, model, data)}")
    return ", ".join(said)


def compare(argv: Sequence[str]) -> int:
    """Train a grid of settings on one data set, write the table and the report, and print the means over seeds."""
    from .compare import command

    return command(argv)


def evaluate(argv: Sequence[str]) -> int:
    """Print the metrics of a run and keep them in its evaluation.json."""
    chosen = values("evaluate", argv)
    from .. import evaluation
    from ..training import RunFolder
    from ..training.processes import Processes

    model, split = runs.model(chosen).to(Processes(chosen["device"]).device), runs.split(chosen)
    options = {name.replace("-", "_"): chosen[name] for name in ("num-particles", "limit", "seed")}
    result = {chosen["split"]: evaluation.evaluate(model, split.resolve(model.support), **options)}
    runs.store(RunFolder(chosen["run"]), result)
    print(runs.to_json(result) if chosen["json"] else runs.table(result))
    return 0


def sample(argv: Sequence[str]) -> int:
    """Write draws from a trained model: the likelihood's means, or draws from it."""
    chosen = values("sample", argv)
    target = runs.target(chosen["out"])
    from ..reporting import pictures, plots

    model = runs.model(chosen)
    draw = pictures.sample_draws if chosen["draw"] else pictures.sample_means
    runs.write_array(target, draw(model, chosen["n"], seed=chosen["seed"]), plots.samples)
    return 0


def reconstruct(argv: Sequence[str]) -> int:
    """Write examples beside their reconstructions: in .npy the pair of arrays, (2, n, *shape)."""
    chosen = values("reconstruct", argv)
    target = runs.target(chosen["out"])
    import torch

    from ..checks import check_size
    from ..reporting import pictures, plots

    model, split = runs.model(chosen), runs.split(chosen)
    count = min(check_size("--n", chosen["n"]), len(split))
    x = split.resolve(model.support).take(slice(0, count))[0]
    means = pictures.reconstruct(model, x)
    runs.write_array(target, torch.stack([x, means]), lambda pair: plots.reconstructions(*pair))
    return 0


def interpolate(argv: Sequence[str]) -> int:
    """Write the decoded line between the codes of two examples: (steps, *shape)."""
    chosen = values("interpolate", argv)
    target = runs.target(chosen["out"])
    from ..reporting import pictures, plots

    model, split = runs.model(chosen), runs.split(chosen)
    for name in ("from", "to"):
        if not 0 <= chosen[name] < len(split):
            raise UsageError(f"--{name} {chosen[name]} is not an example: {chosen['split']} has 0 to {len(split) - 1}")
    x = split.resolve(model.support).take([chosen["from"], chosen["to"]])[0]
    line = pictures.interpolate(model, x[:1], x[1:], chosen["steps"])[0]
    runs.write_array(target, line, lambda images: plots.interpolation(images[None]))
    return 0


def report(argv: Sequence[str]) -> int:
    """Write report.html into a run folder."""
    chosen = values("report", argv)
    from ..training import RunFolder

    folder = RunFolder(chosen["run"])
    model = runs.model(chosen)
    data = runs.data(chosen) if folder.config().get("data") else None
    print(runs.write_report(folder, model, data))
    return 0


def list_parts(argv: Sequence[str]) -> int:
    """Print the parts to choose from and the pairs of prior and posterior that go together."""
    chosen = values("list", argv)
    from .build import compatible_pairs

    names: dict[str, Any] = {catalog.ROLES[role]: [*catalog.parts(role)] for role in catalog.ROLES if role != "beta"}
    names = names | {"data": [*catalog.constant("data", "NAMES")], "compatible": compatible_pairs()}
    if chosen["json"]:
        print(json.dumps(names))
        return 0
    pairs = ", ".join(f"{prior} with {posterior}" for prior, posterior in names.pop("compatible"))
    for kind, offered in names.items():
        print(f"{kind:<12} {', '.join(offered)}")
    print(f"{'compatible':<12} {pairs}")
    return 0


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "reconstruct": reconstruct,
    "interpolate": interpolate,
    "impute": imputing.impute,
    **jobs.COMMANDS,
    "compare": compare,
    "report": report,
    "list": list_parts,
}
