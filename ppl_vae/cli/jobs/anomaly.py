"""``ppl-vae anomaly``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from safetensors.torch import load_file, save

from ... import evaluation
from ...checks import check_size
from ...files import write_atomically
from ...statistics.scores import check_scores
from ..arguments import UsageError
from ..files import TABLES, beside, print_json, target, write_table
from ..run import Batch, Examples


def anomaly(
    run: Examples,
    score: Literal["auto", "reconstruction", "log-likelihood"] = "auto",
    quantile: float = 0.95,
    label: Sequence[str] | None = None,
    num_particles: int = 100,
    limit: int = 1000,
    out: str | None = None,
    keep: bool = False,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Scores of examples that the model does not know how to explain.

    The threshold is a quantile of the scores of training data. The run keeps these, so that a later call with the same
    settings does not need the training data.

    Args:
        run: a run and its examples.
        score: what tells: auto, reconstruction, log-likelihood.
        quantile: share of the training data that the threshold calls normal.
        label: labels that are anomalies, by number or by the name of the class, for the AUROC.
        num_particles: importance samples an example, for the log-likelihood.
        limit: only so many training examples for the threshold.
        out: file to write the scores to: .csv or .parquet with the names of the rows, or .npy.
        keep: write the data's own columns too.
        seed: seed of everything drawn here.
        json: print JSON.
    """
    path = None if out is None else target(out, TABLES)

    def scored(batch: Batch) -> torch.Tensor:
        x, y, _ = batch
        return evaluation.anomaly_scores(run.model, x, y, score=score, num_particles=num_particles, seed=seed)

    check_size("--limit", limit)
    known = _training_scores(run, lambda: scored(run.first(limit, "train")), f"{score} {num_particles} {limit} {seed}")
    above = None if known is None else evaluation.threshold(known, quantile)
    batch = run.take()
    scores = check_scores(f"the scores of {run.path or f'the {run.split} split'}", scored(batch))
    flags = None if above is None else (scores > above).int()
    result = {"n": len(scores), "threshold": above, "flagged": None if flags is None else int(flags.sum())}
    if label:
        if batch.labels is None:
            raise UsageError(f"--label needs labels, which the data of {run.name} do not have")
        result["auroc"] = evaluation.auroc(
            scores, torch.isin(batch.labels, torch.tensor([run.number(word, "--label") for word in label]))
        )
    if path is not None:
        found = {"score": scores.tolist()} | ({} if flags is None else {"anomalous": flags.tolist()})
        write_table(path, beside(run.named(keep), found), scores)
    if json:
        print_json(result)
        return
    found = f", AUROC {result['auroc']:.4f}" if label else ""
    if above is None:
        print(f"{run.title}: {len(scores)} examples scored{found}; no threshold, which needs the training data once")
    else:
        counts = f"{result['flagged']} of {result['n']} examples"
        print(f"{run.title}: {counts} score above the threshold {above:.4g}{found}")


def _training_scores(run: Examples, scored: Callable[[], torch.Tensor], settings: str) -> torch.Tensor | None:
    """Scores of training examples, which the run keeps for when its data are not there; None if it has none."""
    rows = run.training_rows()
    weights = hashlib.blake2b(run.folder.weights_file.read_bytes(), digest_size=8).hexdigest()
    file, key = run.folder.path / "scores.safetensors", f"{settings} {weights}"
    if rows is None:
        return load_file(file).get(key) if file.exists() else None
    known = scored()
    write_atomically(file, save({key: known.contiguous()}))
    return known
