"""The report's sections on whether to trust the guide: calibration, and the quality of its importance weights.

They work for VAEs and for your own Pyro programs. If a check is not possible, the section says why; the report never
fails because of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import evaluation
from ..evaluation import calibration
from ..models import VAE, Pair
from ..statistics.weights import FINITE
from . import calibration_plots, plots
from .page import Section

DATASETS, DRAWS, BINS, PANELS, WEIGHTS = 300, 99, 10, 4, 200
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def calibrated(model: Pair, x: Tensor, y: Tensor | None) -> Section:
    """Is the guide right? Ranks, their ECDF and coverage on data that the model made."""
    id, title = "calibration", "Is the guide right?"
    try:
        found = calibration.sbc(model, x[:DATASETS], first(y, DATASETS), num_datasets=DATASETS, num_draws=DRAWS)
    except Exception as error:  # a user's program may fail in any way on data that are not its own
        return Section(id, title, _why(error))
    names = [f"z{i + 1}" for i in range(model.dim)] if isinstance(model, VAE) else found.names
    return Section(id, title, *_calibrated(found, names))


def weights(model: Pair, x: Tensor, y: Tensor | None, results: Mapping[str, Any]) -> Section:
    """Pareto k-hat and effective sample size of the log-likelihood's weights, by example."""
    id, title = "weights", "Importance weights"
    khat, ess, how, particles = results.get("khat", ()), results.get("ess", ()), "", results.get("num_particles")
    if not is_vector(khat):
        count = max(25, min(WEIGHTS, particles or WEIGHTS))
        try:
            found = evaluation.log_likelihood(model, x[:WEIGHTS], first(y, WEIGHTS), num_particles=count)
        except Exception as error:  # as above
            return Section(id, title, _why(error))
        khat, ess, particles = found.khat, found.ess, found.num_particles
        how = f" Here {found.num_particles} weights for each of {len(khat)} examples."
    return Section(id, title, *_weighed(khat, ess, particles, how))


def is_vector(values: Any) -> bool:
    """Whether the results hold a figure by example, not its median."""
    return isinstance(values, Tensor | np.ndarray | Sequence) and len(values) > 0


def _why(error: Exception) -> str:
    said = (str(error).strip() or "no words").splitlines()[0].rstrip(".")
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"Not computed: {kind}{said}."


def _calibrated(found: calibration.SBC, names: Sequence[str]) -> tuple[str, list[tuple[Figure, str]]]:
    passed, covered = found.calibrated(), found.coverage(LEVELS)
    farthest = torch.stack([found.p_values, -found.ecdf_difference.abs().amax(0)])
    worst = sorted(sorted(range(len(names)), key=lambda d: farthest[:, d].tolist())[:PANELS])
    some = f" The {PANELS} dimensions farthest off are shown." if len(names) > PANELS else ""
    text = (
        f"{_verdict(found.verdicts())} The model drew {DATASETS} codes and made data of them, so the true code of each "
        f"is known; the guide, shown the data, drew {DRAWS} codes for each. If it is right, the true code takes every "
        "rank among them equally often: level bars in the grey band, curves in theirs, coverage on the diagonal. A U, "
        "or coverage below the diagonal, is a guide too sure of itself (too narrow); a hill, or coverage above, one "
        f"too wide; a slope, one that is biased.{some} The data are the model's own: a guide also fails where "
        "they are unlike the data it was trained on, and a guide equal to the prior would pass: check the KL."
    )
    shown = found.histogram(BINS)[:, worst], [names[d] for d in worst], passed[worst]
    ranks = calibration_plots.rank_histogram(*shown)
    ecdf = calibration_plots.ecdf_difference(found.points, found.ecdf_difference, found.band(), passed)
    coverage = calibration_plots.coverage(covered.levels, covered.value, passed, covered.stderr)
    return text, [
        (ranks, "Rank histograms of true codes among the guide's draws"),
        (ecdf, "ECDF of the ranks less that of uniform ranks, with its simultaneous band"),
        (coverage, "Coverage of the guide's central intervals against their nominal coverage"),
    ]


def _verdict(words: list[str]) -> str:
    wrong = Counter(word for word in words if word != "calibrated")
    of = f"{len(words)} latent dimension{'s' * (len(words) != 1)}"
    if not wrong:
        return f"As far as {DATASETS} data tell, yes: no sign of the contrary in {of}."
    parts = ", ".join(f"{count} {word}" for word, count in wrong.most_common())
    return f"No: {wrong.total()} of {of} fail at the 5% level ({parts})."


def _weighed(khat: Any, ess: Any, particles: int | None, how: str) -> tuple[str, list[tuple[Figure, str]]]:
    values = torch.as_tensor(khat)
    tail = calibration.khat(values, worst=5, num_particles=particles)
    most = min(FINITE, tail.threshold)
    endless, unknown = int(values.isinf().sum()), (~(values <= most)).double().mean().item()
    if tail.undefined == len(values):
        return f"Not computed: k-hat is not defined for any of the {len(values)} examples.{how}", []
    text = (
        "How far the importance-sampled log-likelihood can be trusted, example by example. Below the dashed line "
        f"at {tail.threshold:.2g} the weights have a light enough tail; above it the estimate is likely too low: "
        f"so for {tail.share:.0%} of the examples.{how} Above {most:.2g} the weights may have no variance, so that the "
        f"error of the estimate is not known: so for {unknown:.0%}."
    )
    if tail.worst:
        text += f" The worst, by their place in the split: {', '.join(map(str, tail.worst))}."
    if tail.undefined:
        text += f" For {tail.undefined} of them k-hat is not defined: their weights are NaN or all 0."
    if endless:
        text += f" For {endless} of them it is infinite, since too few of their weights are above 0."
    if not values.isfinite().any():
        return text, []
    drawn = ess if is_vector(ess) and torch.as_tensor(ess).isfinite().any() else None
    histograms = plots.log_weights_quality(khat, drawn, tail.threshold)
    ordered = calibration_plots.khat_by_datum(khat, tail.threshold)
    return text, [
        (histograms, "Histograms of Pareto k-hat and effective sample size over test examples"),
        (ordered, "Pareto k-hat of test examples, in ascending order"),
    ]


def first(y: Tensor | None, count: int) -> Tensor | None:
    """The first labels, if there are any."""
    return None if y is None else y[:count]
