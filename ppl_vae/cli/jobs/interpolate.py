"""``ppl-vae interpolate``."""

from __future__ import annotations

from ...reporting import pictures, plots
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
    x = run.take([from_, to]).x
    line = pictures.interpolate(run.model, x[:1], x[1:], steps)[0]
    write_array(path, line, lambda images: plots.interpolation(images[None]))
