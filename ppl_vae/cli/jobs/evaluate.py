"""``ppl-vae evaluate``."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ... import evaluation
from ...evaluation.figures import FIGURES, Figure, error, why_unknown
from ...training.processes import Processes
from ..files import print_json
from ..run import Examples, verdicts


def evaluate(
    run: Examples,
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Log-likelihood, ELBO and its terms of a trained run.

    The run's evaluation.json keeps those of its own data.

    Args:
        run: a run and its examples.
        num_particles: importance samples an example for the log-likelihood.
        limit: only the first N examples.
        seed: seed of everything drawn here.
        device: where to compute.
        json: print JSON.
    """
    model = run.model.to(Processes(device).device)
    asked: dict[str, Any] = {"num_particles": num_particles, "limit": limit, "seed": seed}
    found = evaluation.evaluate(model, run.given(), train=run.training_rows(), **asked)
    if run.path is None:
        run.folder.keep_evaluation(run.split, found)
    wrong = verdicts(run.folder, model, found)
    if json:
        print_json({run.title: {**found, "verdicts": [asdict(one) for one in wrong]}})
    else:
        print("\n".join([run.title, _table(found), *map(str, wrong)]))


def _table(metrics: dict[str, Any]) -> str:
    """Metrics as lines of name, value, unit and what it is."""
    lines = []
    for name, figure in FIGURES.items():
        if name == "log_likelihood_error" and "error_unknown" in metrics:
            value = error(metrics)
            shown = ("not known", "", why_unknown(metrics)) if value is None else _shown(value, figure, metrics)
        elif name == "elbo_bits_per_dim" and "num_codes" in metrics:  # the bits per dimension are these
            continue
        elif name in metrics and name not in ("log_likelihood_stderr", "error_unknown"):
            shown = _shown(metrics[name], figure, metrics)
        else:
            continue
        lines.append("  {:<22}{:>12}  {:<5} {}".format(figure.title, *shown).rstrip())
    return "\n".join(lines)


def _shown(value: Any, figure: Figure, metrics: dict[str, Any]) -> tuple[str, str, str]:
    """A figure's value in words, its unit, and what it is."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return "not defined", "", ""
    return f"{value:.3f}" if isinstance(value, float) else str(value), figure.unit, figure.told(metrics)
