"""Settings of ``ppl-vae train``: command line over configuration file over defaults, checked against the chosen parts.

The result is complete and JSON-able: what ``--print-config`` prints and config.json keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import nearest
from . import catalog
from .arguments import UsageError, read, words
from .catalog import ROLES, Entry, Option
from .config import words_of
from .flags import DEFAULT_PARTS, FROM_DATA, WORD, Flag, load_options, objective, option_flags, train_flags

NOT_KEPT = frozenset(("config", "print-config", "out", "resume", "report", "progress", "quiet"))
"""Flags that say nothing about the model and its training."""

Words = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Settings:
    """Every flag's value, by name.

    Attributes:
        values: all flags; ``role.option`` for the options of the chosen parts and of the data.
        given: the flags that the user set, here or in a file.
    """

    values: dict[str, Any]
    given: frozenset[str]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def has(self, role: str) -> bool:
        """Whether a part is chosen for a role: not where the model takes none, or where beta is a number."""
        return isinstance(self.values.get(role), str)

    def entry(self, role: str) -> Entry:
        """The part chosen for a role."""
        return catalog.parts(role)[self.values[role]]

    def options(self, role: str) -> dict[str, Any]:
        """Constructor arguments of a part that flags set."""
        prefix = f"{role}."
        return {
            name.removeprefix(prefix).replace("-", "_"): value
            for name, value in self.values.items()
            if name.startswith(prefix)
        }

    def kept(self) -> dict[str, Any]:
        """What config.json keeps, and ``--config`` reads back: everything that shapes the run.

        A switch that is on by default is kept as ``no-<switch>``, so that whatever is true is a flag to type.
        """
        on = {name for name, flag in train_flags().items() if flag.is_switch and flag.default}
        return {
            f"no-{name}" if name in on else name: not value if name in on else value
            for name, value in self.values.items()
            if name not in NOT_KEPT
        }


def settings(argv: Sequence[str]) -> Settings:
    """Settings of a command line.

    Raises:
        UsageError: unknown names, words of the wrong kind, options that the chosen part does not have.

    Example:
        >>> chosen = settings(["--prior", "normal", "--prior.learned", "true", "--epochs", "3"])
        >>> chosen["prior"], chosen.options("prior"), chosen["epochs"], chosen["latent-dim"]
        ('normal', {'learned': True}, 3, 16)
    """
    return settled(with_file(words("train", argv), train_flags()))


def settled(given: Words) -> Settings:
    """Settings of the words behind each flag of train.

    Raises:
        UsageError: as ``settings`` does.
    """
    values = _flags(given)
    missing = _without_roles(values)
    for name in given:
        if name.partition(".")[0] in missing:
            role = name.partition(".")[0]
            raise UsageError(f"--{name} has no meaning for --model {values['model']}, which has no {role}")
    _add_options(values, given)
    return Settings(values, frozenset(given))


def idle(given: Words) -> set[str]:
    """The flags among those given that the chosen parts have no use for: options and roles that they lack.

    Example:
        >>> sorted(idle({"beta": ["2"], "beta.steps": ["10"], "prior": ["normal"], "prior.learned": ["true"]}))
        ['beta.steps']
    """
    values = _flags(given)
    missing = _without_roles(values)
    offered = _offered(values)
    split = {name: name.partition(".") for name in given}
    return {
        name
        for name, (role, dot, option) in split.items()
        if role in missing or (dot and option not in offered[role][1])
    }


def with_file(given: Words, flags: Mapping[str, Flag]) -> Words:
    """The words of a command line over those of the file that its ``--config`` names, if it does."""
    if "config" not in given:
        return given
    switches = {name for name, flag in flags.items() if flag.is_switch}
    if len(given["config"]) != 1:
        raise UsageError(f"--config takes one file, not {' '.join(given['config']) or 'nothing'}")
    return _over(words_of(given["config"][0], {*flags, *option_flags()}, switches), given)


def _flags(given: Words) -> dict[str, Any]:
    """Every flag's value, the parts by their canonical names; without the parts' options."""
    values = {
        name: read(name, flag.kind, given[name]) if name in given else flag.default
        for name, flag in train_flags().items()
    }
    for role in DEFAULT_PARTS:
        if values[role] is not None:
            values[role] = _named(role, values[role]).name
    values["beta"] = _beta(str(values["beta"]))
    free = {o.argument for o in catalog.parts("model")[values["model"]].arguments if not o.required}
    return {n: None if n in DEFAULT_PARTS and n in free and n not in given else value for n, value in values.items()}


def _over(file: Words, line: Words) -> dict[str, Sequence[str]]:
    """The command line over the file; a part named anew on the line comes without the file's options for the old."""
    replaced = {role for role in ROLES if role in line and role in file and line[role] != file[role]}
    return {name: value for name, value in file.items() if name.partition(".")[0] not in replaced} | dict(line)


def _without_roles(values: dict[str, Any]) -> set[str]:
    """Drop the roles that the chosen model does not have; gives their names."""
    model = catalog.parts("model")[values["model"]]
    taken = {*model.structural, *objective(model).structural, "model"}
    taken |= {"network"} if "encoder" in model.structural or "likelihood" in model.structural else set()
    missing = {role for role in ROLES if role not in taken}
    for role in missing:
        del values[role]
    return missing


def _named(role: str, name: str) -> Entry:
    entry = catalog.lookup(role, name)
    if entry is None:
        raise UsageError(f"--{role} {name} is unknown; {nearest(name, catalog.parts(role))}")
    return entry


def _beta(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        pass
    entry = catalog.lookup("beta", word)
    if entry is None:
        raise UsageError(f"--beta {word} is neither a number nor a schedule; {nearest(word, catalog.parts('beta'))}")
    return entry.name


def _offered(values: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Option]]]:
    """For every role: whose options they are, in words, and the options of the chosen part."""
    offered: dict[str, tuple[str, Mapping[str, Option]]] = {"data": (values["data"], load_options())}
    for role in (*ROLES, "objective"):
        if role == "objective":
            entry = objective(catalog.parts("model")[values["model"]])
        else:
            entry = catalog.parts(role).get(str(values.get(role)))
        chosen = entry.name if entry else values.get(role)
        whose = f"--{role} {chosen}" if chosen is not None else f"--{role}, which is not given"
        offered[role] = (whose, entry.options if entry else {})
    return offered


def _add_options(values: dict[str, Any], given: Words) -> None:
    """Add ``role.option`` for every option of the chosen parts; refuse those that they do not have."""
    offered = _offered(values)
    for name in given:
        role, dot, option = name.partition(".")
        if dot and option not in offered[role][1]:
            raise UsageError(f"--{name} is no option of {_whose(role, option, *offered[role])}")
    for role, (whose, options) in offered.items():
        for name, option in options.items():
            flag = f"{role}.{name}"
            if flag in given:
                values[flag] = read(flag, option.kind or WORD, given[flag])
            elif option.required:
                raise UsageError(f"{whose} needs --{flag}")
            else:
                values[flag] = None if flag in FROM_DATA else option.default


def _whose(role: str, option: str, whose: str, own: Mapping[str, Option]) -> str:
    if own:
        return f"{whose}; {nearest(option, own)}"
    owners = [name for name, entry in catalog.parts(role).items() if option in entry.options] if role in ROLES else []
    return whose + (f"; --{role} {owners[0]} has it" if owners else ", which has none")
