"""Checks of arguments, and clauses of error messages; imports nothing heavy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

LONG = 60  # choices that an error lists; of more, such as the columns of a wide table, it lists a few


def nearest(name: str, choices: Iterable[str]) -> str:
    """Clause for error messages: the choices, and the nearest one if the name is misspelt.

    Example:
        >>> nearest("bernouli", ["bernoulli", "normal"])
        'choose from bernoulli, normal (did you mean bernoulli?)'
    """
    choices = sorted(choices)
    return f"choose from {shortlist(choices, LONG)}{did_you_mean(name, choices)}"


def shortlist(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence: all, or where there are more than ``most`` the first eight and how many more.

    Example:
        >>> shortlist(["a", "b"]), shortlist([*"abcdefghij"])
        ('a, b', 'a, b, c, d, e, f, g, h and 2 more')
    """
    more = len(names) - 8 if len(names) > max(most, 8) else 0
    return ", ".join(names[:8] if more else names) + (f" and {more} more" if more else "")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`` (did you mean X?)`` for a misspelt name, else nothing.

    Example:
        >>> did_you_mean("tahn", ["relu", "tanh"])
        ' (did you mean tanh?)'
    """
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1)
    return f" (did you mean {lowered[close[0]]}?)" if close else ""


def check_event(argument: str, shape: Iterable[int], dim: int) -> None:
    """A ValueError unless the shape of a tensor of vectors ends in ``dim``."""
    shape = tuple(shape)
    if shape[-1:] != (dim,):
        raise ValueError(f"{argument} must have shape (..., {dim}), not {shape}")


def check_size(argument: str, value: Any, least: int = 1) -> int:
    """``value`` as an int of at least ``least``; a ValueError naming the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{argument} must be a whole number of at least {least}, not {value!r}")
    return value


def check_weight(argument: str, value: Any) -> float:
    """``value`` if it is a finite number of at least 0; a ValueError naming the argument otherwise.

    Example:
        >>> check_weight("weight", -1)
        Traceback (most recent call last):
        ...
        ValueError: weight must be a finite number of at least 0, not -1
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{argument} must be a finite number of at least 0, not {value!r}")
    return value


def check_share(name: str, value: float) -> float:
    """The value; ValueError unless it is a number between 0 and 1."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a share between 0 and 1, not {value!r}")
    return value
