"""``ppl-vae compress``."""

from __future__ import annotations

from collections.abc import Sequence

from ... import evaluation
from ..files import print_json
from ..run import Examples


def compress(run: Examples, levels: Sequence[int] = (2, 4, 8, 16, 32, 64), json: bool = False) -> None:
    """Rate and distortion of rounded codes.

    Args:
        run: a run and its examples.
        levels: values that an entry of a code may take.
        json: print JSON.
    """
    (x, y, _), known, rows = run.take(), run.take(split="train"), []
    for count in levels:
        found = evaluation.compress(run.model, x, y, train=known.x, train_y=known.y, levels=count)
        rate, distortion = found.rate.mean().item(), found.distortion.mean().item()
        rows.append({"levels": count, "bits": rate, "bits_per_dim": rate / x[0].numel(), "squared_error": distortion})
    if json:
        return print_json(rows)
    print(f"{run.title}, {len(x)} examples\n  levels  bits an example  bits a dimension  squared error")
    for row in rows:
        print("  {levels:>6}  {bits:>15.2f}  {bits_per_dim:>16.4f}  {squared_error:>13.4g}".format(**row))
