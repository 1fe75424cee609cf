"""``ppl-vae interpolate``."""

from __future__ import annotations

from ... import evaluation
from ...reporting import plots
from ..arguments import UsageError
from ..files import target, write_array
from ..run import Examples


def interpolate(run: Examples, from_: int = 0, to: int = 1, steps: int = 10, out: str | None = None) -> None:
    """Walk through the codes between two examples.

    In .npy the pictures, (steps, *shape).

    Args:
        run: a run and its data.
        from_: index of the first example.
        to: index of the last example.
        steps: how many pictures, both ends included.
        out: file to write: .png for a picture, .npy for the numbers.
    """
    path, size = target(out), len(run.rows())
    for flag, index in (("from", from_), ("to", to)):
        if not 0 <= index < size:
            raise UsageError(f"--{flag} {index} is not an example: {run.split} has 0 to {size - 1}")
    x, y, _ = run.take([from_, to])
    labels = {} if y is None else {"y": y[:1], "y1": y[1:]}
    line = evaluation.interpolate(run.model, x[:1], x[1:], steps=steps, **labels)[0]
    write_array(path, line, lambda images: plots.interpolation(images[None]))
