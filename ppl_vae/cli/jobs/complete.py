"""``ppl-vae complete``."""

from __future__ import annotations

import torch

from ... import evaluation
from ...checks import check_size
from ...networks import Quadrants
from ...reporting import label_plots
from ..arguments import UsageError
from ..files import target, write_array
from ..run import Examples


def complete(
    run: Examples,
    observed: int | None = None,
    out: str | None = None,
    n: int = 8,
    num_samples: int = 3,
    draw: bool = False,
    seed: int = 0,
) -> None:
    """Complete examples of which the model sees a part, such as the quadrants of --condition quadrants.

    A picture shows the part, completions and the truth; .npy holds the completions, (num-samples, n, *shape).

    Args:
        run: a run and its examples.
        observed: how many quadrants are seen, which a run fixes in training.
        out: file to write: .png for a picture, .npy for the numbers.
        n: how many examples.
        num_samples: completions of each, at different draws of the code.
        draw: draw from the likelihood instead of writing its means.
        seed: seed of everything drawn here.
    """
    path, condition = target(out), run.condition
    if not isinstance(condition, Quadrants):
        raise UsageError(
            f"{run.name} is no model of the rest of a picture: train one with --condition quadrants, or use ppl-vae "
            f"impute {run.name}"
        )
    if observed not in (None, condition.observed):
        raise UsageError(
            f"--observed {observed} does not fit {run.name}, which was trained with --condition.observed "
            f"{condition.observed}; leave it out, or train another run"
        )
    x, y, _ = run.first(check_size("--n", n))
    made = evaluation.completions(run.model, x, n=check_size("--num-samples", num_samples), draw=draw, seed=seed)
    grey = (x.min() + x.max()) / 2
    part = torch.where(condition.mask, x, grey)
    write_array(path, made, lambda made: label_plots.completions(part, made, x))
