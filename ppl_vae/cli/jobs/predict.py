"""``ppl-vae predict``."""

from __future__ import annotations

from ... import evaluation
from ...models import Clustering, Predictor
from ..arguments import UsageError
from ..files import TABLES, beside, target, write_table
from ..run import Examples


def predict(run: Examples, out: str | None = None, keep: bool = False) -> None:
    """Write what a model predicts of examples: their class, their numbers, or their cluster.

    The column "predicted" or "cluster" holds the most probable class or component, and the columns "p ..." the
    probability of each; of numbers there are only their means. Labels of the data are not looked at.

    Args:
        run: a run and its examples.
        out: file to write: .csv or .parquet with the names of the rows, or .npy with the probabilities or means alone.
        keep: write the data's own columns too.
    """
    path = target(out, TABLES)
    if run.y is not None:
        raise UsageError("--y does not apply to predict, which looks at no labels; leave it out")
    predicts = isinstance(run.model, Predictor)
    if not predicts and not isinstance(run.model, Clustering):
        raise UsageError(
            f"the {type(run.model).__name__} of {run.name} predicts no label and has no clusters; train one with "
            "--model semi-supervised, supervised or mixture-vae"
        )
    x = run.rows().take(slice(None))[0]
    found = evaluation.predict(run.model, x) if predicts else evaluation.assign(run.model, x)
    columns = run.trained.prediction_columns(found) if predicts else run.trained.cluster_columns(found)
    write_table(path, beside(run.named(keep), columns), found)
