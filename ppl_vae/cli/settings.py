"""Settings of a training: command line over configuration file over defaults, checked against the chosen parts.

The result is complete and JSON-able: what ``--print-config`` prints and config.json keeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import catalog
from ..catalog import DEFAULTS, Entry, Option
from ..checks import nearest
from .arguments import UsageError, read, read_all, words
from .config import words_of
from .flags import FROM_DATA, flags_of, load_options, option_flags, settings_flags

WARM_UP_STEPS = 300
"""Optimizer steps in which beta rises to 1 in a training of default length under the default estimator.

Without it digits end with 70 % of the KL that they can have. A longer one lets small tables overfit: at 1,000 steps,
which are 500 epochs of 142 rows, wine loses what it gains elsewhere. Given --epochs may be too few steps for any. With
--estimator there is none, so that estimators are compared on equal terms: some are defined at beta = 1 alone.
"""

OF_QUANTIZERS = {"update": "update", "latent-dim": "dim"}
"""Flags that a model with a quantizer uses for this argument of it alone."""


Words = Mapping[str, Sequence[str]]
"""The words behind each flag of the settings, before they are read."""


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
        return _entry(role, self.values[role])

    def options(self, role: str) -> dict[str, Any]:
        """Constructor arguments of a part that flags set."""
        own = {n.partition(".")[2]: value for n, value in self.values.items() if n.startswith(f"{role}.")}
        return {name.replace("-", "_"): value for name, value in own.items()}

    def build(self, role: str, known: Mapping[str, Any]) -> Any:
        """An instance of the part chosen for a role, of what the rest of the model knows and what flags say."""
        return self.entry(role).build(known, self.options(role))

    def own_files(self) -> dict[str, str]:
        """Text of the files, by name, of the user's own classes; they are imported, so that they fail before the rest.

        Raises:
            ValueError: two files of one name, a file that does not import, or a class that is no part of its role.
        """
        found: dict[str, Path] = {}
        for role in filter(self.has, catalog.roles()):
            part = self.entry(role)
            if isinstance(part, catalog.Given):
                part.load()
                if found.setdefault(part.path.name, part.path).resolve() != part.path.resolve():
                    raise UsageError(
                        f"{part.path} and {found[part.path.name]} have one name, by which the run would know them; "
                        "rename one"
                    )
        return {name: path.read_text(encoding="utf-8") for name, path in found.items()}

    def resumed(self, before: Mapping[str, Any]) -> Settings:
        """The settings with the beta that a run was trained with, as its config.json keeps it, unless it is given.

        So more ``--epochs`` go on with the warm-up of a run of default length.
        """
        if any(_is_beta(name) for name in self.given) or "beta" not in before:
            return self
        own = {name: value for name, value in self.values.items() if not _is_beta(name)}
        return replace(self, values=own | {name: value for name, value in before.items() if _is_beta(name)})

    def kept(self) -> dict[str, Any]:
        """What config.json keeps, and ``--config`` reads back: everything that shapes the run.

        A switch that is on by default is kept as ``no-<switch>``, so that whatever is true is a flag to type.
        """
        flags, kept = settings_flags(), {}
        for name, value in self.values.items():
            if "." in name or name in flags:
                off = name in flags and flags[name].is_switch and flags[name].default
                kept |= {f"no-{name}": not value} if off else {name: value}
        return kept


def _is_beta(name: str) -> bool:
    return name.partition(".")[0] == "beta"


def settings(argv: Sequence[str]) -> Settings:
    """Settings of a command line of ``ppl-vae train``.

    Example:
        >>> chosen = settings(["--prior", "normal", "--prior.learned", "true", "--epochs", "3"])
        >>> chosen["prior"], chosen.options("prior"), chosen["epochs"], chosen["latent-dim"]
        ('normal', {'learned': True}, 3, 16)
    """
    return settled(with_file(words("train", argv), flags_of("train")))


def settled(given: Words) -> Settings:
    """Settings of the words behind each flag of train; what is unknown or unused is a UsageError."""
    values, missing = _chosen(given)
    for name in given:
        if why := _unused(name, values, missing):
            raise UsageError(f"--{name} {why}")
    for role in ("data", *catalog.roles(), "objective"):
        for name, option in _options(role, values).items():
            flag = f"{role}.{name}"
            if flag not in given and option.required and flag not in FROM_DATA:
                raise UsageError(f"--{role} {values[role]} needs --{flag}")
            default = None if flag in FROM_DATA else option.default
            values[flag] = read(flag, option.words, given[flag]) if flag in given else default
    if values.get("beta") == "linear" and not given.keys() & {"beta", "beta.steps"}:
        values["beta.steps"] = WARM_UP_STEPS
    usual = _entry("model", values["model"]).usual
    values |= {name: value for name, value in usual.items() if "." in name and name in values and name not in given}
    return Settings(values, frozenset(given))


def idle(given: Words) -> set[str]:
    """The flags among those given that the chosen parts do not use: options and roles that they lack.

    Example:
        >>> sorted(idle({"beta": ["2"], "beta.steps": ["10"], "prior": ["normal"], "prior.learned": ["true"]}))
        ['beta.steps']
    """
    values, missing = _chosen(given)
    return {name for name in given if _unused(name, values, missing)}


def with_file(given: Words, flags: Mapping[str, Option]) -> Words:
    """A line's words over those of its ``--config``; a part named anew comes without the file's options for another."""
    if "config" not in given:
        return given
    if len(given["config"]) != 1:
        raise UsageError(f"--config takes one file, not {' '.join(given['config']) or 'nothing'}")
    switches = {name for name, flag in flags.items() if flag.is_switch}
    file = words_of(given["config"][0], {*flags, *option_flags()}, switches)
    for role in catalog.roles():
        if role in file and role not in given:
            file[role] = [_trusted(role, word, given) for word in file[role]]
    anew = {role for role in catalog.roles() if role in given and given[role] != file.get(role, given[role])}
    return {name: value for name, value in file.items() if name.partition(".")[0] not in anew} | dict(given)


def _trusted(role: str, word: str, given: Words) -> str:
    """A word of a file; a class of the user's own is taken from --parts, since a configuration executes nothing."""
    own, colon, options = catalog.split(word)
    if not catalog.is_own(own) or own.startswith("of:"):
        return word
    path, _, cls = own.rpartition(":")
    for file in given.get("parts", ()):
        if Path(file).name == Path(path).name:
            return f"{file}:{cls}{colon}{options}"
    config, copy = Path(given["config"][0]), Path(given["config"][0]).parent / "parts" / Path(path).name
    raise UsageError(
        f"--config {config} names {own} for --{role}, your own code, which is not executed unasked; "
        f"give --parts {copy if copy.is_file() else path}"
    )


def _chosen(given: Words) -> tuple[dict[str, Any], set[str]]:
    """Every flag's value but for the parts' options, and the roles that the model lacks."""
    values = read_all(flags_of("train"), given)
    if values["epochs"] is None and not given.keys() & {"beta", "estimator"}:
        values["beta"] = "linear"
    model = _entry("model", values["model"])
    can_lack = {name.replace("_", "-") for name, value in model.defaults.items() if value is None}
    for role in catalog.roles():
        if values[role] == "none" and role in can_lack:
            values[role] = None
        if values[role] is not None:
            values[role] = _named(role, str(values[role]))
    values |= {name: value for name, value in model.usual.items() if "." not in name and name not in given}
    missing = catalog.roles().keys() - catalog.taken(model)
    # a part that the model can do without is not taken by default, but for what makes it sample
    free = (can_lack & DEFAULTS.keys()) - given.keys() - {"code-prior"}
    return {n: None if n in free else value for n, value in values.items() if n not in missing}, missing


def _named(role: str, name: str) -> Any:
    """The part of that name, as the catalogue spells it; a number for beta."""
    if role == "beta":
        with contextlib.suppress(ValueError):
            return float(name)
    return _entry(role, name).name


def _entry(role: str, name: str) -> Entry:
    """The part of that name, listed or the user's own."""
    try:
        entry = catalog.lookup(role, name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if entry is None:
        what = "neither a number nor a schedule" if role == "beta" else "unknown"
        own = "; a class of your own is written FILE.py:CLASS" if ":" in name else ""
        raise UsageError(f"--{role} {name} is {what}{own}; {nearest(name, catalog.parts(role))}")
    return entry


def _part(role: str, values: Mapping[str, Any]) -> Entry | None:
    """The part chosen for a role, or the objective of the model."""
    if role == "objective":
        return catalog.objective(_entry("model", values["model"]))
    chosen = values.get(role)
    return _entry(role, chosen) if role in catalog.roles() and isinstance(chosen, str) else None


def _options(role: str, values: Mapping[str, Any]) -> Mapping[str, Option]:
    """The options of the part chosen for a role, or of the data."""
    if role == "data":
        return load_options()
    part = _part(role, values)
    return part.options if part else {}


def _unused(name: str, values: Mapping[str, Any], missing: Container[str]) -> str | None:
    """Why the chosen parts have no use for a flag, and what they have in its place; None if they use it."""
    role, dot, option = name.partition(".")
    if name == "labels" and values[name] is not None and "predict" not in _entry("model", values["model"]).methods:
        return f"does not apply to --model {values['model']}, which predicts no labels; use --model semi-supervised"
    if role in missing:
        return f"does not apply to --model {values['model']}, which has no {role}"
    quantizer = _part("quantizer", values) if role in OF_QUANTIZERS else None
    if quantizer and OF_QUANTIZERS[role] not in quantizer.takes:
        return f"does not apply to --quantizer {quantizer.name}, which has no {OF_QUANTIZERS[role]}"
    own = _options(role, values)
    if not dot or option in own:
        return None
    part = _part(role, values)
    chosen = part.name if part else values.get(role)
    said = f"is no option of --{role}" + (", which is not given" if chosen is None else f" {chosen}")
    if own:
        return f"{said}; {nearest(option, own)}"
    owners = [name for name, entry in catalog.roles().get(role, {}).items() if option in entry.options]
    return said + (f"; --{role} {owners[0]} has it" if owners else ", which has none")
