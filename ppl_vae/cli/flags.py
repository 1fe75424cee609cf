"""Flags: the signature of a job, and what it takes as a whole: a run, or the settings of a training.

The settings' flags are read off the signatures of ``data.load`` and ``training.fit``, and there is one for every role;
``--<role>.<option>`` flags come from the parts themselves.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .. import catalog
from ..catalog import DEFAULTS, Kind, Option, Source, word

WORD, WHOLE = (Kind(frozenset({name})) for name in ("str", "int"))
WHOLE_OR_NONE = Kind(frozenset({"none", "int"}))
LABELS_HELP = (
    "labels of the training rows that the model is told, as many of each class, by the seed; the others are unknown. "
    "For models that predict labels, such as semi-supervised; if not given, all"
)
YES_OR_NO = Kind(frozenset({"none", "bool"}))

SCALES = Kind(frozenset(), ("auto", "none", "unit", "standard"))
SCALE_HELP = (
    "units in which networks and likelihood see the columns or channels: standard for the training rows' mean and "
    "standard deviation, unit for their range; auto: standard for tables if the model is on the reals, else none"
)
CONDITION_BY = Kind(frozenset(), ("concatenation", "film"))
CONDITION_BY_HELP = (
    "how the networks see y: concatenation joins it to their input, film lets it scale and shift every hidden layer"
)
LOAD_FLAGS = ("binarize", "dequantize", "download")
FIT_BUILT = frozenset("objective train valid out resume overwrite progress extra callback callbacks".split())
"""Arguments of ``fit`` that the shell supplies itself."""

CHOSEN = {
    "likelihood": "; if not given, bernoulli for binary data and images in [0, 1], columns for tables, else normal",
    "posterior": "; if not given, the natural one for the prior's support",
    "penalty": "; of autoencoders, also written --model.penalty; several, and one for every layer, are for Python",
    "corruption": "; of autoencoders, also written --model.corruption",
    "quantizer": "; of models with integer codes, such as vqvae; its vectors have the size --latent-dim",
    "update": "; how the quantizer's codebook is trained: by running means of vectors (ema) or by gradient",
    "code-prior": "; p(codes) of models with integer codes, trained after the rest; none: frequencies, place by place",
    "condition": "; what the labels y are, for a model of x given y",
}
"""Additional help for the choice of a part."""

FROM_DATA = frozenset(("likelihood", "model.output", "condition.classes", "condition.size", "posterior.groups"))
"""Flags that are chosen by looking at the data or at the rest of the model when they are not given."""


def commands() -> tuple[str, ...]:
    """The commands: the files in ``jobs``, in the order of its ``__all__``."""
    return catalog.constant("cli.jobs", "__all__")


def job(command: str) -> tuple[Source, ast.FunctionDef]:
    """The function that a command is, which has its name, and the file it is in."""
    home, node = Source.read(f"cli.jobs.{command}").find(command)
    assert isinstance(node, ast.FunctionDef), command
    return home, node


@functools.cache
def flags_of(command: str) -> dict[str, Option]:
    """A command's flags by name, without the parts' own options, in the order of the job's signature."""
    home, node = job(command)
    annotations = {a.arg: ast.unparse(a.annotation) for a in (*node.args.args, *node.args.kwonlyargs) if a.annotation}
    found: list[Option] = []
    for option in catalog.function(f"cli.jobs.{command}", command).arguments:
        found += [option] if option.kind is not None else _expanded(home, annotations[option.argument])
    return {option.name: option for option in found}


def _expanded(home: Source, annotation: str) -> Iterable[Option]:
    """The flags of an argument that is a class of the shell's."""
    if annotation == "Settings":
        return settings_flags().values()
    if annotation == "Words":  # of a comparison: the settings, each with one word or several
        return [option for option in settings_flags().values() if option.name != "tensorboard"]
    at, node = home.find(annotation)
    assert isinstance(node, ast.ClassDef), annotation
    return catalog.described("cli", at, node).arguments


@functools.cache
def settings_flags() -> dict[str, Option]:
    """The flags for data, model and training, without the options of the parts."""
    load = {option.argument: option for option in catalog.function("data", "load").arguments}
    fit = [option for option in catalog.function("training", "fit").arguments if option.argument not in FIT_BUILT]
    roles = {role: ", ".join(offered) + CHOSEN.get(role, "") for role, offered in catalog.roles().items()}
    usual_beta = "; if neither --epochs nor --estimator is given either, a warm-up over 300 steps"
    roles["beta"] = f"weight of the KL: a number, or the name of a schedule{usual_beta}"
    defaults = {**DEFAULTS, "beta": 1.0}
    sizes = {name: entry.defaults.get("hidden") for name, entry in catalog.parts("network").items()}
    usual = ", ".join(f"{name}: {word(size, ' ')}" for name, size in sizes.items())
    layers = f"sizes of the encoder's layers, mirrored in the decoder ({usual})"
    activations = tuple(catalog.constant("networks", "ACTIVATIONS"))
    between = f"between the layers: {', '.join(activations)}"
    rows = [
        Option(
            "data",
            WORD,
            "a name from the list below, or a .npy, .npz, .csv or .parquet file, or a folder",
            "digits",
            "data",
        ),
        replace(load["root"], argument="data_root", kind=WORD, group="data"),
        *(replace(load[name], group="data") for name in LOAD_FLAGS),
        Option("labels", WHOLE_OR_NONE, LABELS_HELP, None, "data"),
        *(Option(role, WORD, text, defaults.get(role), "model") for role, text in roles.items()),
        Option("scale", SCALES, SCALE_HELP, "auto", "model"),
        Option("given_prior", YES_OR_NO, "the learned prior depends on y too, by priors.Given", None, "model"),
        Option("condition_by", CONDITION_BY, CONDITION_BY_HELP, "concatenation", "model"),
        Option("latent_dim", WHOLE, "size of the code", 16, "model"),
        Option("hidden", replace(WHOLE, many=True), layers, None, "model"),
        Option("activation", Kind(frozenset(), activations), between, "relu", "model"),
        *(replace(option, group="training") for option in fit if option.kind is not None),
    ]
    return {option.name: option for option in rows}


def canonical(flag: str) -> str:
    """A flag's name; a part may be written behind the part that takes it.

    Example:
        >>> [canonical(flag) for flag in ("model.penalty.k", "model.penalty", "penalty.k", "model.code")]
        ['penalty.k', 'penalty', 'penalty.k', 'model.code']
    """
    first, dot, rest = flag.partition(".")
    roles = catalog.roles()
    return rest if dot and first in roles and re.split("[.=]", rest)[0] in roles else flag


def load_options() -> dict[str, Option]:
    """Arguments of ``data.load`` that are written ``--data.<option>``."""
    taken = ("name", "root", "kinds", "scale", *LOAD_FLAGS)
    return {name: o for name, o in catalog.function("data", "load").options.items() if o.argument not in taken}


@functools.cache
def option_flags() -> dict[str, list[Option]]:
    """Every ``<role>.<option>`` flag, whichever part is chosen: the options of that name that there are."""
    owners = [("data", load_options())]
    owners += [(role, entry.options) for role, offered in catalog.roles().items() for entry in offered.values()]
    owners += [("objective", catalog.objective(entry).options) for entry in catalog.parts("model").values()]
    found: dict[str, list[Option]] = {}
    for role, options in owners:
        for name, option in options.items():
            found.setdefault(f"{role}.{name}", []).append(option)
    return found


def options_named(flag: str, given: Mapping[str, Sequence[str]]) -> list[Option]:
    """The options that a ``<role>.<option>`` flag may mean: of listed parts, and of own ones among the words."""
    role, _, name = flag.partition(".")
    own = [catalog.lookup(role, catalog.split(word)[0]) for word in own_words(given, role)]
    return [*option_flags().get(flag, ()), *(part.options[name] for part in own if part and name in part.options)]


def own_words(given: Mapping[str, Sequence[str]], role: str) -> list[str]:
    """The words of a role's flag that name the user's own parts."""
    return [word for word in given.get(role, ()) if role in catalog.roles() and catalog.is_own(word)]
