"""``ppl-vae anomaly``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from ... import evaluation
from ...checks import check_size
from ...statistics.scores import check_scores
from ..arguments import UsageError
from ..files import print_json, target, write_rows
from ..run import Batch, Examples


def anomaly(
    run: Examples,
    score: Literal["auto", "reconstruction", "log-likelihood"] = "auto",
    quantile: float = 0.95,
    label: Sequence[int] | None = None,
    num_particles: int = 100,
    limit: int = 1000,
    out: str | None = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Scores of examples that the model does not know how to explain.

    The threshold is a quantile of the scores of training data.

    Args:
        run: a run and its data.
        score: what tells: auto, reconstruction, log-likelihood.
        quantile: share of the training data that the threshold calls normal.
        label: labels that are anomalies, for the AUROC.
        num_particles: importance samples an example, for the log-likelihood.
        limit: only so many training examples for the threshold.
        out: file to write the scores to, .csv or .npy.
        seed: seed of everything drawn here.
        json: print JSON.
    """
    path = None if out is None else target(out, (".csv", ".npy"))

    def scored(batch: Batch) -> torch.Tensor:
        x, y, _ = batch
        return evaluation.anomaly_scores(run.model, x, y, score=score, num_particles=num_particles, seed=seed)

    known = scored(run.first(check_size("--limit", limit), "train"))
    above = evaluation.threshold(known, quantile)
    batch = run.take()
    scores = check_scores(f"the {run.split} split's scores", scored(batch))
    result = {"n": len(scores), "threshold": above, "flagged": int((scores > above).sum())}
    if label:
        if batch.labels is None:
            raise UsageError(f"--label needs labels, which the data of {run.name} do not have")
        result["auroc"] = evaluation.auroc(scores, torch.isin(batch.labels, torch.tensor(label)))
    if path is not None:
        rows = [[i, score, int(score > above)] for i, score in enumerate(scores.tolist())]
        write_rows(path, scores, ["row", "score", "anomalous"], rows)
    if json:
        print_json(result)
    else:
        found = f", AUROC {result['auroc']:.4f}" if label else ""
        counts = f"{result['flagged']} of {result['n']} examples"
        print(f"{run.split}: {counts} score above the threshold {above:.4g}{found}")
