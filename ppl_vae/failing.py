"""Classify exceptions (the user's mistake or ours) and summarise them in one sentence."""

from __future__ import annotations

import dis
import traceback
from pathlib import Path


def sentence(error: BaseException) -> str:
    """What a user is told of an error: our own words, what went wrong with which file, or the error and its place."""
    if is_ours(error):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return str(error) if error.strerror is None else f"{where}{error.strerror}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said} (at {Path(frame.filename).name}:{frame.lineno} in {frame.name})"


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
