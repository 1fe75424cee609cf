"""Arguments: the command line as flags and their words, through argparse, with one-line errors and nearest matches."""

from __future__ import annotations

import argparse
import ast
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ..checks import did_you_mean
from . import catalog
from .catalog import Option
from .flags import FROM_DATA, commands, flags_of, job, load_options, objective, option_flags, with_parts
from .kinds import Kind, word
from .source import summary


class UsageError(ValueError):
    """What a user typed cannot be used; the message is one sentence."""


class _Parser(argparse.ArgumentParser):
    """argparse without its usage dump and without its guesses at abbreviated flags."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=30, width=_width()
            ),
            **kwargs,
        )

    appendix: Callable[[], str] = staticmethod(str)
    """More help, made only when it is printed."""

    def format_help(self) -> str:
        more = self.appendix()
        return super().format_help() + (f"\n{more}\n" if more else "")

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.replace("argument --", "--").replace("argument ", ""))


def words(command: str, argv: Sequence[str]) -> dict[str, list[str]]:
    """The flags given on a command line and the words behind each.

    Raises:
        UsageError: an unknown flag or one without its words.
        SystemExit: after ``--help``.
    """
    argv = [f"--{catalog.canonical(given[2:])}" if given.startswith("--") else given for given in argv]
    namespace, extra = _parser(command).parse_known_args(argv)
    if extra:
        known = [*flags_of(command), *(option_flags() if with_parts(command) else ())]
        raise UsageError(_unknown(command, extra[0].partition("=")[0], known))
    return {name: [value] if isinstance(value, str) else value for name, value in vars(namespace).items()}


def read(flag: str, kind: Kind, given: Sequence[str]) -> Any:
    """Value of a flag's words.

    Raises:
        UsageError: naming the flag, what it takes and what it was given.
    """
    try:
        return kind.read(given)
    except ValueError as error:
        raise UsageError(f"--{flag} {error}") from None


def read_all(flags: Mapping[str, Option], given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Every flag's value by name: that of the words behind it, else its default."""
    return {n: read(n, flag.words, given[n]) if n in given else flag.default for n, flag in flags.items()}


def _unknown(command: str, flag: str, known: Sequence[str]) -> str:
    if not flag.startswith("-"):
        return f"{flag!r} is one word too many for ppl-vae {command}; every flag starts with --"
    role, dot, _ = flag.lstrip("-").partition(".")
    if dot and role in (*catalog.roles(), "data", "objective"):
        own = sorted(f"--{other}" for other in known if other.startswith(f"{role}."))
        close = did_you_mean(flag, own)
        return f"{flag} is unknown; " + (f"choose from {', '.join(own)}{close}" if own else f"{role} has no options")
    close = did_you_mean(flag, [f"--{other}" for other in known])
    return f"{flag} is unknown{close}; ppl-vae {command} --help lists the flags"


def top_help() -> str:
    """What ``ppl-vae --help`` prints."""
    summaries = {command: summary(job(command)[1]).rstrip(".") for command in commands()}
    rows = "\n".join(f"  {command:<12} {text[0].lower()}{text[1:]}" for command, text in summaries.items())
    return (
        "usage: ppl-vae COMMAND ...\n\nVariational autoencoders as probabilistic programs in Pyro.\n\n"
        f"commands:\n{rows}\n\nppl-vae COMMAND --help says more; ppl-vae --version gives the version.\n"
        "To begin: ppl-vae train --data digits --out runs/digits\n"
    )


def _parser(command: str) -> _Parser:
    about = (ast.get_docstring(job(command)[1]) or "").partition("\n\nArgs:")[0]
    parser = _Parser(prog=f"ppl-vae {command}", description=about.replace("::", ":"))
    groups: dict[str, Any] = {}
    for flag in flags_of(command).values():
        if flag.required:
            parser.add_argument(flag.name, metavar=flag.name.upper(), help=flag.help)
            continue
        if flag.group not in groups:
            groups[flag.group] = parser.add_argument_group(flag.group)
        _add(groups[flag.group], flag, several=command == "compare")
    if with_parts(command):
        for name in option_flags():
            parser.add_argument(f"--{name}", dest=name, nargs="*", help=argparse.SUPPRESS)
        parser.usage = f"ppl-vae {command} [--data DATA] [--out DIR] [flags]"
        parser.appendix = parts_help
    return parser


def _add(group: Any, flag: Option, several: bool) -> None:
    default = "" if flag.default is None or flag.is_switch else f" (default: {word(flag.default, ' ')})"
    help_text = (flag.help + default).replace("%", "%%")
    if flag.is_switch:
        help_text = f"do not {help_text}" if flag.default else help_text
        on, off = (argparse.SUPPRESS, help_text) if flag.default else (help_text, argparse.SUPPRESS)
        how: dict[str, Any] = {"nargs": "*"} if several else {"action": "store_const", "const": ["true"]}
        group.add_argument(f"--{flag.name}", dest=flag.name, help=on, **how)
        group.add_argument(f"--no-{flag.name}", dest=flag.name, action="store_const", const=["false"], help=off)
    else:
        nargs = "*" if several or flag.words.many else None
        group.add_argument(f"--{flag.name}", dest=flag.name, nargs=nargs, metavar=_metavar(flag.words), help=help_text)


def _metavar(kind: Kind) -> str:
    if kind.choices and not kind.types - {"none"}:
        return "WORD"
    return "N" if "int" in kind.types and "float" not in kind.types else "X" if "float" in kind.types else "WORD"


def parts_help() -> str:
    """Every part with its own options, their defaults and first docstring lines."""
    lines = ["data (--data):", *_wrapped(", ".join(catalog.constant("data", "NAMES") or ()), 2)]
    lines += _options("data", load_options())
    for role, offered in catalog.roles().items():
        lines += ["", f"{catalog.plural(role) if role != 'beta' else 'beta schedules'} (--{role}):"]
        for entry in offered.values():
            lines += _wrapped(f"{entry.name:<22} {entry.summary}", 2, hang=25)
            lines += _options(role, entry.options)
            if role == "model":
                lines += _options("objective", objective(entry).options)
    return "\n".join(lines)


def _options(role: str, options: Mapping[str, Option]) -> list[str]:
    lines = []
    for name, option in options.items():
        unknown = option.required or option.default is None or f"{role}.{name}" in FROM_DATA
        default = "" if unknown else f" (default: {word(option.default, ' ')})"
        text = option.help or (option.kind.describe() if option.kind else "")
        lines += _wrapped(f"--{role}.{name}  {text}{default}", 6, hang=10)
    return lines


def _wrapped(text: str, indent: int, hang: int | None = None) -> list[str]:
    hang = indent if hang is None else hang
    width = max(_width() - 2, 40)
    return textwrap.wrap(text, width, initial_indent=" " * indent, subsequent_indent=" " * hang) or [""]


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 120)
