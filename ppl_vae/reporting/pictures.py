"""The old name of the pictures of ``evaluation``; it goes when the shell imports them from there."""

from typing import Any

from .. import evaluation


def __getattr__(name: str) -> Any:
    return getattr(evaluation, name)
