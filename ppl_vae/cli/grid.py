"""Grid: the words of ``ppl-vae compare`` -> settings of ``ppl-vae train``, one for every combination of them.

A flag with several words is an axis, and the settings are the product of the axes. Options that do not apply are
dropped; identical cells are merged.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import catalog
from ..comparison.cells import folder_name, identity, shown
from .arguments import UsageError
from .flags import options_named, settings_flags
from .settings import Settings, Words, idle, settled

Fragment = dict[str, list[str]]
"""The words behind some flags: what one value of an axis sets."""


@dataclass(frozen=True)
class Chosen:
    """The settings of one cell, and its name, label and axes as in ``comparison.Cell``."""

    name: str
    label: str
    axes: dict[str, Any]
    settings: Settings


def grid(given: Words) -> list[Chosen]:
    """The cells that the words behind train's flags make, every one checked; an option that no cell has is an error.

    Example:
        >>> cells = grid({"estimator": ["trace-elbo:num-particles=5", "mean-field-elbo"], "seed": ["0", "1"]})
        >>> [cell.name for cell in cells][:2]
        ['trace-elbo-num-particles-5_seed-0', 'trace-elbo-num-particles-5_seed-1']
        >>> cells[0].label, cells[0].settings["estimator.num-particles"]
        ('trace-elbo, num-particles 5', 5)
    """
    if len(given.get("data", [""])) != 1:
        raise UsageError(f"--data takes one data set to compare on, not {' '.join(given['data']) or 'nothing'}")
    axes = [_choices(name, given) for name in given]
    found: dict[str, tuple[Settings, Fragment]] = {}
    unused = set(given)
    for combination in itertools.product(*axes):
        words = _joined(combination)
        useless = idle(words) - _after_colon(combination)
        unused &= useless
        kept = {name: value for name, value in words.items() if name not in useless}
        chosen = settled(kept)
        found.setdefault(identity(chosen.kept()), (chosen, kept))
    if unused:
        settled(_joined([choices[0] for choices in axes if unused & {*choices[0]} or _names_a_part(choices[0])]))
    return _cells([*found.values()])


def _choices(name: str, given: Words) -> list[Fragment]:
    """The values of one axis."""
    words = given[name]
    if _is_list(name, given):
        several = any("," in word for word in words)
        return [{name: word.split(",")} for word in words] if several else [{name: [*words]}]
    values = (_with_options(name, word) if name in catalog.roles() else {name: [word]} for word in words)
    return [*values] or [{name: []}]


def _with_options(role: str, word: str) -> Fragment:
    """``iwae:num-particles=5,gradient=stl`` as the flags it stands for."""
    part, colon, suffix = catalog.split(word)
    out: Fragment = {role: [part]}
    if colon and not suffix:
        raise UsageError(f"--{role} {word} ends in a colon; write {part}:OPTION=VALUE, or {part} alone")
    name = ""
    for piece in suffix.split(",") if suffix else ():
        option, equals, value = piece.partition("=")
        if equals:
            name = f"{role}.{option.replace('_', '-')}"
            out[name] = [value]
        elif name:
            out[name].append(piece)  # a further word of a list
        else:
            raise UsageError(f"--{role} {word} is unknown after its colon; write {part}:OPTION=VALUE")
    return out


def _joined(combination: Sequence[Fragment]) -> Fragment:
    """The words of a cell; an option after a part's colon wins over an axis of its own."""
    return {name: words for fragment in sorted(combination, key=_names_a_part) for name, words in fragment.items()}


def _names_a_part(fragment: Fragment) -> bool:
    return bool(catalog.roles().keys() & fragment.keys())


def _after_colon(combination: Sequence[Fragment]) -> set[str]:
    return {name for fragment in combination if _names_a_part(fragment) for name in fragment if "." in name}


def _is_list(name: str, given: Words) -> bool:
    """Whether train takes several words behind a flag."""
    options = options_named(name, given) if "." in name else [settings_flags()[name]]
    return any(option.words.many for option in options)


def _cells(found: list[tuple[Settings, Fragment]]) -> list[Chosen]:
    values = [chosen.values for chosen, _ in found]
    typed = [*dict.fromkeys(name for _, words in found for name in words)]
    places = {name: typed.index(name) for name in typed}
    typed.sort(key=lambda name: (places.get(name.partition(".")[0], places[name]), "." in name))
    differing = [name for name in typed if len({shown(kept.get(name)) for kept in values}) > 1]
    axes = [*dict.fromkeys([*differing, "seed"])]
    cells: dict[str, Chosen] = {}
    for (chosen, words), kept in zip(found, values, strict=True):
        pieces = _pieces([name for name in axes if name != "seed" and name in kept], words, kept)
        label = " · ".join(pieces) or str(kept.get("estimator", kept["model"]))
        if "estimator" in kept and "estimator" not in axes:
            pieces = [kept["estimator"], *pieces]
        name = folder_name([*pieces, f"seed-{kept['seed']}"], identity(chosen.kept()), cells)
        cells[name] = Chosen(name, label, {axis: kept.get(axis) for axis in axes}, chosen)
    return [*cells.values()]


def _pieces(axes: list[str], words: Fragment, kept: Mapping[str, Any]) -> list[str]:
    """The values in which a setting differs from the others, a part with its options."""
    pieces: list[str] = []
    for name in axes:
        role, dot, option = name.partition(".")
        if dot and role in axes:
            continue
        text = shown(kept[name]) if name in catalog.roles() and name != "beta" else f"{name} {shown(kept[name])}"
        own = [n for n in axes if n.startswith(f"{name}.") and n in words]
        pieces.append(", ".join([text, *(f"{n.partition('.')[2]} {shown(kept[n])}" for n in own)]))
    return pieces
