"""The shell: ``ppl-vae train | evaluate | sample | reconstruct | interpolate | impute | report | list`` and the jobs.

A flag is read off a signature, a part off its folder's ``__all__``; nothing is listed twice. A mistake of the user's
costs one line on standard error and exit code 2; a mistake of ours shows its traceback.
"""

from __future__ import annotations

import contextlib
import dis
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``ppl-vae``; those of the process if None.

    Returns:
        Exit code: 0, 1 if nobody reads our output, 2 for an error of the user's, 130 after Ctrl-C.

    Example:
        >>> main(["--version"])
        0.1.0
        0
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    before, warnings.formatwarning = warnings.formatwarning, _warned
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        again = "; the same command with --resume goes on from the last checkpoint" if argv[:1] == ["train"] else ""
        return _complain(f"stopped{again}", code=130)
    except OSError as error:
        return _complain(_sentence(error))
    except (ValueError, TypeError, ArithmeticError, ImportError) as error:
        if not _is_ours(error):
            raise
        return _complain(str(error))
    finally:
        warnings.formatwarning = before


def _warned(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as one line, without the place in the program."""
    return f"ppl-vae: warning: {' '.join(str(message).split())}\n"


def _run(argv: list[str]) -> int:
    from ..checks import did_you_mean
    from .arguments import UsageError, top_help
    from .flags import SUMMARIES

    if not argv or argv[0] in ("-h", "--help", "help"):
        print(top_help(), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        from .. import __version__

        print(__version__)
        return 0
    if argv[0] not in SUMMARIES:
        choices = ", ".join(SUMMARIES)
        raise UsageError(f"{argv[0]} is no command; choose from {choices}{did_you_mean(argv[0], SUMMARIES)}")
    from .commands import COMMANDS

    try:
        return COMMANDS[argv[0]](argv[1:])
    except SystemExit as done:  # argparse, after --help
        return int(done.code or 0)


def _complain(message: str, code: int = 2) -> int:
    print(f"ppl-vae: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _sentence(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}"


def _is_ours(error: BaseException) -> bool:
    """Whether the package raised this to tell the user something: it comes from a ``raise`` statement of our own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    inside = Path(__file__).parent.parent in Path(code.co_filename).parents
    return inside and dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
