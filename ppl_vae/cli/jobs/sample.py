"""``ppl-vae sample``."""

from __future__ import annotations

from collections.abc import Sequence

from ... import evaluation
from ...reporting import plots
from ..files import target, write_array
from ..run import Run


def sample(
    run: Run, n: int = 64, out: str | None = None, draw: bool = False, seed: int = 0, y: Sequence[str] | None = None
) -> None:
    """Draw from a trained model.

    Args:
        run: a run.
        n: how many.
        out: file to write: .png for a picture, .npy for the numbers.
        draw: draw from the likelihood instead of writing its means.
        seed: seed of everything drawn here.
        y: labels to draw for, of a conditional model: one for all, or one each.
    """
    path = target(out)
    make = evaluation.sample_draws if draw else evaluation.sample_means
    write_array(path, make(run.model, n, run.labels(y, n), seed=seed), plots.samples)
