"""``ppl-vae evaluate``."""

from __future__ import annotations

import json as text
import math
from typing import Any

from ... import evaluation
from ...evaluation import trusted_khat
from ...training.processes import Processes
from ..run import Examples, plain, store


def evaluate(
    run: Examples,
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Log-likelihood, ELBO and its terms of a trained run, which its evaluation.json keeps.

    Args:
        run: a run and its data.
        num_particles: importance samples an example for the log-likelihood.
        limit: only the first N examples.
        seed: seed of everything drawn here.
        device: where to compute.
        json: print JSON.
    """
    model = run.model.to(Processes(device).device)
    found = evaluation.evaluate(model, run.told(), num_particles=num_particles, limit=limit, seed=seed)
    store(run.folder, {run.split: found})
    print(text.dumps({run.split: plain(found)}, allow_nan=False) if json else f"{run.split}\n{_table(found)}")
