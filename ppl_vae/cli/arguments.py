"""Arguments: the command line as flags and their words, through argparse, with one-line errors and nearest matches."""

from __future__ import annotations

import argparse
import ast
import functools
import shutil
import textwrap
from collections.abc import Mapping, Sequence, Set
from typing import Any, NoReturn

from .. import catalog
from ..catalog import Kind, Option, summary, word
from ..checks import did_you_mean
from .flags import FROM_DATA, canonical, commands, flags_of, job, load_options, option_flags

OWN = {
    "FILE.py:CLASS": "a class of yours that derives from the role's base, such as priors.Prior; the arguments of its "
    "constructor are options, --prior.df 3",
    "of:weibull": "any distribution of Pyro as a prior, posterior or likelihood; its parameters are options, "
    "--prior.scale 2",
}
"""Help for the parts that the package does not list."""


class UsageError(ValueError):
    """An error in the command line; the message is one sentence."""


class _Parser(argparse.ArgumentParser):
    """argparse without its usage dump."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.replace("argument --", "--").replace("argument ", ""))


def words(command: str, argv: Sequence[str]) -> dict[str, list[str]]:
    """The flags given on a command line and the words behind each; argparse's SystemExit after ``--help``."""
    argv = [f"--{canonical(given[2:])}" if given.startswith("--") else given for given in argv]
    namespace, extra = _parser(command, _own_flags(argv)).parse_known_args(argv)
    if extra:
        raise UsageError(_unknown(command, extra[0].partition("=")[0]))
    return {name: [value] if isinstance(value, str) else value for name, value in vars(namespace).items()}


def _own_flags(argv: Sequence[str]) -> set[str]:
    """Flags of options of any name, where a part of the user's own may have them; whether it does is checked later."""
    if not any(catalog.is_own(word) or word.partition("=")[0] == "--config" for word in argv):
        return set()
    typed = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    return {name for name in typed if name.partition(".")[0] in catalog.roles() and "." in name}


def read(flag: str, kind: Kind, given: Sequence[str]) -> Any:
    """Value of a flag's words; a UsageError names the flag, what it takes and what it was given."""
    try:
        return kind.read(given)
    except ValueError as error:
        raise UsageError(f"--{flag} {error}") from None


def read_all(flags: Mapping[str, Option], given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Every flag's value by name: that of the words behind it, else its default."""
    return {n: read(n, flag.words, given[n]) if n in given else flag.default for n, flag in flags.items()}


def _unknown(command: str, flag: str) -> str:
    """Error message for a word that is not a flag of the command."""
    if not flag.startswith("-"):
        return f"{flag!r} is not expected by ppl-vae {command}; every flag starts with --"
    known = [f"--{name}" for name in (*flags_of(command), *_part_flags(command))]
    role, dot, _ = flag.lstrip("-").partition(".")
    if dot and role in (*catalog.roles(), "data", "objective"):
        known = sorted(name for name in known if name.startswith(f"--{role}."))
        choices = f"choose from {', '.join(known)}" if known else f"{role} has no options"
        return f"{flag} is unknown; {choices}{did_you_mean(flag, known)}"
    return f"{flag} is unknown{did_you_mean(flag, known)}; ppl-vae {command} --help lists the flags"


def _part_flags(command: str) -> Sequence[str]:
    """The flags of the parts' own options, for a command that takes the settings of a training."""
    return [*option_flags()] if {"model", "prior"} <= flags_of(command).keys() else []


def top_help() -> str:
    """What ``ppl-vae --help`` prints."""
    summaries = {command: summary(job(command)[1]).rstrip(".") for command in commands()}
    rows = "\n".join(f"  {command:<12} {text[0].lower()}{text[1:]}" for command, text in summaries.items())
    return (
        "usage: ppl-vae COMMAND ...\n\nVariational autoencoders as probabilistic programs in Pyro.\n\n"
        f"commands:\n{rows}\n\nppl-vae COMMAND --help says more; ppl-vae --version gives the version.\n"
        "To begin: ppl-vae train --data digits --out runs/digits\n"
    )


def _parser(command: str, own: Set[str]) -> _Parser:
    about = (ast.get_docstring(job(command)[1]) or "").partition("\n\nArgs:")[0]
    style: Any = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=30, width=_width())
    parser = _Parser(
        prog=f"ppl-vae {command}",
        description=about.replace("::", ":"),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=style,
    )
    groups: dict[str, Any] = {}
    for flag in flags_of(command).values():
        if flag.required:
            parser.add_argument(flag.name, metavar=flag.name.upper(), help=flag.help)
            continue
        if flag.group not in groups:
            groups[flag.group] = parser.add_argument_group(flag.group)
        _add(groups[flag.group], flag, several=command == "compare")
    if listed := _part_flags(command):
        for name in sorted({*listed, *own}):
            parser.add_argument(f"--{name}", dest=name, nargs="*", help=argparse.SUPPRESS)
        parser.usage = f"ppl-vae {command} [--data DATA] [--out DIR] [flags]"
        parser.epilog = parts_help()
    return parser


def _add(group: Any, flag: Option, several: bool) -> None:
    """Add a flag, or a switch and its opposite, of which help shows the one that changes something."""
    if not flag.is_switch:
        nargs = "*" if several or flag.words.many else None
        text = (flag.help + _default(flag)).replace("%", "%%")
        group.add_argument(f"--{flag.name}", dest=flag.name, nargs=nargs, metavar=_metavar(flag.words), help=text)
        return
    on, off = (argparse.SUPPRESS, f"do not {flag.help}") if flag.default else (flag.help, argparse.SUPPRESS)
    how: dict[str, Any] = {"nargs": "*"} if several else {"action": "store_const", "const": ["true"]}
    group.add_argument(f"--{flag.name}", dest=flag.name, help=on, **how)
    group.add_argument(f"--no-{flag.name}", dest=flag.name, action="store_const", const=["false"], help=off)


def _metavar(kind: Kind) -> str:
    if "float" in kind.types:
        return "X"
    return "N" if "int" in kind.types else "WORD"


def _default(option: Option) -> str:
    return "" if option.required or option.default is None else f" (default: {word(option.default, ' ')})"


def parts_help() -> str:
    """Every part with its own options, their defaults and first docstring lines."""
    lines = ["data (--data):", *_wrapped(", ".join(catalog.constant("data", "NAMES")), 2, 2)]
    lines += _options("data", load_options())
    for role, offered in catalog.roles().items():
        lines += ["", f"{catalog.plural(role) if role != 'beta' else 'beta schedules'} (--{role}):"]
        for entry in offered.values():
            lines += _wrapped(f"{entry.name:<22} {entry.summary}", 2, 25)
            lines += _options(role, entry.options)
            if role == "model":
                lines += _options("objective", catalog.objective(entry).options)
    lines += ["", "your own, in place of any name above:"]
    for name, text in OWN.items():
        lines += _wrapped(f"{name:<22} {text}", 2, 25)
    return "\n".join(lines)


def _options(role: str, options: Mapping[str, Option]) -> list[str]:
    lines = []
    for name, option in options.items():
        default = "" if f"{role}.{name}" in FROM_DATA else _default(option)
        lines += _wrapped(f"--{role}.{name}  {option.help or option.words.describe()}{default}", 6, 10)
    return lines


def _wrapped(text: str, first: int, hang: int) -> list[str]:
    return textwrap.wrap(text, max(_width() - 2, 40), initial_indent=" " * first, subsequent_indent=" " * hang)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 120)
