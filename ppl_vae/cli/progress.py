"""A bar in the terminal for jobs that count what they have done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def counted(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left, for what is called with how many are done and how many there are.

    It appears after a second, in a terminal only.

    Args:
        unit: what is counted.
    """
    hidden = not sys.stderr.isatty()
    with tqdm(unit=f" {unit}", unit_scale=True, disable=hidden, delay=1, leave=False, dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
