"""The shell: ``ppl-vae train``, ``ppl-vae evaluate`` and every other file of ``jobs``.

A job is a function whose signature is its flags, a part is read off its folder's ``__all__``; nothing is listed twice.
An error of the user, or in the user's own file, prints one line on standard error and gives exit code 2; a bug of ours
shows its traceback.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from ..checks import did_you_mean
from ..failing import in_own_file, is_ours, sentence
from .arguments import UsageError, read_all, top_help, words
from .flags import commands, flags_of
from .settings import Settings, Words, settled, with_file

__all__ = ["main"]

_AGAIN = {
    "train": "; the same command with --resume goes on from the last checkpoint",
    "compare": "; the same command goes on where this one stopped",
}


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
        return _complain(f"stopped{_AGAIN.get(argv[0] if argv else '', '')}", code=130)
    except OSError as error:
        return _complain(sentence(error))
    except Exception as error:
        if not (is_ours(error) or in_own_file(error)):
            raise
        return _complain(sentence(error))
    finally:
        warnings.formatwarning = before


def _warned(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as one line, without the place in the program."""
    return f"ppl-vae: warning: {' '.join(str(message).split())}\n"


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(top_help(), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(__version__)
        return 0
    if argv[0] not in commands():
        choices = ", ".join(commands())
        raise UsageError(f"{argv[0]} is no command; choose from {choices}{did_you_mean(argv[0], commands())}")
    try:
        _call(*argv)
    except SystemExit as done:  # argparse, after --help
        return int(done.code or 0)
    return 0


def _call(command: str, *argv: str) -> None:
    """Run a job with what its flags say; an argument whose annotation is a class of ours is made from its own."""
    flags = flags_of(command)
    given = with_file(words(command, argv), flags)
    own = {name: flag for name, flag in flags.items() if flag.group == "flags"}
    values = {own[name].argument: value for name, value in read_all(own, given).items()}
    job = getattr(importlib.import_module(f".jobs.{command}", __package__), command)
    for name, parameter in inspect.signature(job, eval_str=True).parameters.items():
        what = parameter.annotation
        if what is Settings:
            values[name] = settled(given)
        elif what is Words:
            values[name] = {name: typed for name, typed in given.items() if name not in own}
        elif inspect.isclass(what) and what.__module__.startswith(__name__):
            values[name] = what(**{argument: values.pop(argument) for argument in inspect.signature(what).parameters})
    job(**values)


def _complain(message: str, code: int = 2) -> int:
    print(f"ppl-vae: error: {' '.join(message.split())}", file=sys.stderr)
    return code
