"""Failing: whose mistake an exception is, and how to put it in one sentence."""

from __future__ import annotations

import dis
from pathlib import Path


def sentence(error: OSError) -> str:
    """What went wrong with which file."""
    if error.strerror is None:
        return str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}"


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
