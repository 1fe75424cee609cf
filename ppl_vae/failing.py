"""Classify exceptions (the user's mistake or ours) and summarise them in one sentence."""

from __future__ import annotations

import dis
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

OWN = "ppl_vae_own_"
"""How the names of modules begin that are made of a user's own file."""


def sentence(error: BaseException) -> str:
    """What a user is told of an error: our own words, what went wrong with which file, or the error and its place."""
    inside = [*_own(error)]
    if is_ours(error):
        return " ".join(str(error).split()) + (_place(*inside[-1]) if inside else "")
    if isinstance(error, OSError) and not inside:
        where = f"{error.filename}: " if error.filename is not None else ""
        return str(error) if error.strerror is None else f"{where}{error.strerror}"
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    said = " ".join(str(error).partition("Trace Shapes:")[0].split())[:300]  # Pyro appends the shapes of all sites
    return f"{type(error).__name__}: {said}{_place(*(inside or frames)[-1])}"


def _place(code: CodeType, line: int) -> str:
    return f" (at {Path(code.co_filename).name}:{line} in {code.co_qualname})"


def in_own_file(error: BaseException) -> bool:
    """Whether a user's own file was running when the error came, so that it is no bug of the package."""
    return any(True for _ in _own(error))


def _own(error: BaseException) -> Iterator[tuple[CodeType, int]]:
    """What was running of the user's own files: code and line, from the outermost in."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith(OWN):
            yield frame.f_code, line


def is_ours(error: BaseException) -> bool:
    """Whether the package raised this to tell the user something: it comes from a ``raise`` statement of our own."""
    if not isinstance(error, ValueError | TypeError | ArithmeticError | ImportError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    inside = Path(__file__).parent in Path(code.co_filename).parents
    return inside and dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
