"""Commands: what ``ppl-vae`` does, one function each. torch is imported inside them, after the flags have been read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import catalog
from .arguments import UsageError, values
from .config import to_yaml
from .flags import FLAGS
from .settings import Settings, settings

QUICK = {"num_particles": 64, "limit": 500, "seed": 0}
"""The evaluation that follows training."""

_ROWS = (
    ("log_likelihood", "log-likelihood", "nats an example"),
    ("log_likelihood_stderr", "  standard error", "nats an example"),
    ("elbo", "ELBO", "nats an example"),
    ("reconstruction", "  reconstruction", "nats an example"),
    ("kl", "  KL", "nats an example"),
    ("bits_per_dim", "bits per dimension", "bits"),
    ("squared_error", "squared error", "an example, summed over its entries"),
    ("active_units", "active units", "latent dimensions"),
    ("n", "examples", ""),
)


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
    before = len(folder.metrics())
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
        finished = before == len(history.rows) and (folder.path / "report.html").exists()
        said = f"already finished after {before} epochs" if finished else _conclude(chosen, folder, objective, data)
        if not chosen["quiet"]:
            print(f"{folder.path}: {said}")
    return 0


def _conclude(chosen: Settings, folder: Any, objective: Any, data: Any) -> str:
    """Evaluate quickly and write the report; what came out, in a line."""
    from .. import evaluation

    model = objective.model
    said = [f"{len(folder.metrics())} epochs"]
    if len(data.test):
        result = evaluation.evaluate(model.eval(), data.test.resolve(model.support), **QUICK)
        _store(folder, {"test": result, "settings": QUICK})
        if "elbo" in result:
            said.append(f"test ELBO {result['elbo']:.2f} nats an example")
        elif "squared_error" in result:
            said.append(f"test squared error {result['squared_error']:.3g} an example")
    if chosen["report"]:
        said.append(f"report in {_write_report(folder, model, data)}")
    return ", ".join(said)


def evaluate(argv: Sequence[str]) -> int:
    """Print the metrics of a run and keep them in its evaluation.json."""
    chosen = values("evaluate", argv)
    from .. import evaluation
    from ..training import RunFolder

    model, split = _model(chosen), _split(chosen)
    options = {name.replace("-", "_"): chosen[name] for name in ("num-particles", "limit", "seed")}
    result = {chosen["split"]: evaluation.evaluate(model, split.resolve(model.support), **options)}
    _store(RunFolder(chosen["run"]), result | {"settings": options})
    print(json.dumps(result) if chosen["json"] else _table(result))
    return 0


def sample(argv: Sequence[str]) -> int:
    """Write draws from a trained model: the likelihood's means, or draws from it."""
    chosen = values("sample", argv)
    target = _target(chosen["out"])
    from ..reporting import pictures, plots

    model = _model(chosen)
    draw = pictures.sample_draws if chosen["draw"] else pictures.sample_means
    _write(target, draw(model, chosen["n"], seed=chosen["seed"]), plots.samples)
    return 0


def reconstruct(argv: Sequence[str]) -> int:
    """Write examples beside their reconstructions: in .npy the pair of arrays, (2, n, *shape)."""
    chosen = values("reconstruct", argv)
    target = _target(chosen["out"])
    import torch

    from ..parts import check_size
    from ..reporting import pictures, plots

    model, split = _model(chosen), _split(chosen)
    count = min(check_size("--n", chosen["n"]), len(split))
    x = split.resolve(model.support).take(slice(0, count))[0]
    means = pictures.reconstruct(model, x)
    _write(target, torch.stack([x, means]), lambda pair: plots.reconstructions(*pair))
    return 0


def interpolate(argv: Sequence[str]) -> int:
    """Write the decoded line between the codes of two examples: (steps, *shape)."""
    chosen = values("interpolate", argv)
    target = _target(chosen["out"])
    from ..reporting import pictures, plots

    model, split = _model(chosen), _split(chosen)
    for name in ("from", "to"):
        if not 0 <= chosen[name] < len(split):
            raise UsageError(f"--{name} {chosen[name]} is not an example: {chosen['split']} has 0 to {len(split) - 1}")
    x = split.resolve(model.support).take([chosen["from"], chosen["to"]])[0]
    line = pictures.interpolate(model, x[:1], x[1:], chosen["steps"])[0]
    _write(target, line, lambda images: plots.interpolation(images[None]))
    return 0


def report(argv: Sequence[str]) -> int:
    """Write report.html into a run folder."""
    chosen = values("report", argv)
    from ..training import RunFolder

    folder = RunFolder(chosen["run"])
    model = _model(chosen)
    data = _data(chosen) if folder.config().get("data") else None
    print(_write_report(folder, model, data))
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


COMMANDS = {"train": train, **{name: globals()[name if name != "list" else "list_parts"] for name in FLAGS}}


def _model(chosen: dict[str, Any]) -> Any:
    from ..training import load

    return load(chosen["run"])


def _data(chosen: dict[str, Any]) -> Any:
    """The data a run was trained on, from its config.json."""
    from .. import data
    from ..training import RunFolder

    record = RunFolder(chosen["run"]).config().get("data")
    if not record:
        raise UsageError(f"{chosen['run']} was trained on data of your own, which config.json cannot name; use Python")
    root = {} if chosen["data-root"] is None else {"root": chosen["data-root"]}
    return data.load(**{**record, **root})


def _split(chosen: dict[str, Any]) -> Any:
    return getattr(_data(chosen), chosen.get("split", "test"))


def _target(out: str | None) -> Path:
    """The file to write, checked before any work is done."""
    if out is None:
        raise UsageError("--out is needed: the file to write, .png or .npy")
    path = Path(out)
    if path.suffix.lower() not in (".png", ".npy"):
        raise UsageError(f"--out {out} must end in .png or .npy")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out} lies in {path.parent}, which is not a folder")
    return path


def _write(target: Path, array: Any, plot: Any) -> None:
    import io

    import numpy as np

    from ..reporting import drawing
    from ..training.checkpoint import write_atomically

    if target.suffix.lower() == ".png":
        drawing.save(plot(array), target)
    else:
        content = io.BytesIO()
        np.save(content, array.numpy())
        write_atomically(target, content.getvalue())
    print(target)


def _write_report(folder: Any, model: Any, data: Any) -> Path:
    from ..reporting.report import write

    stored = folder.path / "evaluation.json"
    results = json.loads(stored.read_text()) if stored.exists() else None
    return write(folder.path, model, data, folder.metrics(), folder.config(), results)


def _store(folder: Any, results: dict[str, Any]) -> None:
    from ..training.checkpoint import write_atomically

    write_atomically(folder.path / "evaluation.json", (json.dumps(results, indent=2) + "\n").encode())


def _table(result: dict[str, dict[str, Any]]) -> str:
    lines = []
    for split, metrics in result.items():
        lines.append(split)
        for key, name, unit in _ROWS:
            if metrics.get(key) is not None:
                value = f"{metrics[key]:>12d}" if isinstance(metrics[key], int) else f"{metrics[key]:>12.3f}"
                lines.append(f"  {name:<20}{value}  {unit}".rstrip())
    return "\n".join(lines)
