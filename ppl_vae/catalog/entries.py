"""Entries: the classes and functions that the package exports, their options, and the roles that they play."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .kinds import Kind
from .source import ROOT, Source, argument_docs, summary

DEFAULTS = {
    "model": "vae",
    "prior": "normal",
    "posterior": None,
    "likelihood": None,
    "network": "mlp",
    "quantizer": "vector",
    "update": "ema",
    "code-prior": "transformer",
    "penalty": "l1",
    "corruption": "gaussian",
    "estimator": "mean-field-elbo",
}
"""The part that is taken for a role where none is named; the order in which the roles are listed."""

_SPELLINGS = {
    **{"ResNet": "resnet", "DReG": "dreg", "DisARM": "disarm", "KLRate": "kl", "DeepBeliefNet": "dbn"},
    **{"AdjustedVAE": "adjusted", "AuxiliaryVAE": "auxiliary", "StackedSemiSupervisedVAE": "stacked-semi-supervised"},
    **{"SemiSupervisedVAE": "semi-supervised", "SupervisedVAE": "supervised", "ConvAutoencoder": "conv-autoencoder"},
}

_BASES = {"Codec": "model", "Latent": "model", "Pair": "model", "Schedule": "beta", "CodebookUpdate": "update"}
"""Base classes that do not have their role's name."""

_SUPPLIED = frozenset(
    "dim shape in_shape in_shape_or_dim hidden activation encoder decoder classifier features target predictor "
    "auxiliary reverse max_plate_nesting".split()
)
"""Constructor arguments that the data, flags of their own and the rest of the model give, besides the roles."""

_REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """One argument that a flag can set; ``kind`` is None if no words can be typed for it."""

    argument: str
    kind: Kind | None
    help: str = ""
    default: Any = _REQUIRED
    group: str = "flags"

    @property
    def name(self) -> str:
        """The argument's name in the shell: ``num_particles`` is ``num-particles``, ``from_`` is ``from``."""
        return self.argument.rstrip("_").replace("_", "-")

    @property
    def words(self) -> Kind:
        """The kind of words that may follow the flag; any one word if the annotation says nothing."""
        return self.kind or Kind(frozenset({"str"}))

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is _REQUIRED

    @property
    def supplied(self) -> bool:
        """Whether a shell can give the argument in another way than by an option of the part."""
        return self.argument in _SUPPLIED or self.argument.replace("_", "-") in by_role()

    @property
    def is_switch(self) -> bool:
        """Whether the flag stands alone: ``--resume``, ``--no-progress``."""
        return self.kind is not None and self.kind.types == {"bool"} and not self.kind.choices


@dataclass(frozen=True)
class Entry:
    """One class or function: its name in the shell, where it is, its first docstring line and its arguments.

    ``base`` is where a class's first base classes inside the package lead, itself where it has none. ``usual`` are the
    flags that a model changes the defaults of, its class attribute of that name.
    """

    name: str
    folder: str
    cls: str
    summary: str
    arguments: tuple[Option, ...]
    methods: frozenset[str] = frozenset()
    base: str = ""
    usual: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes(self) -> frozenset[str]:
        """Names of all arguments."""
        return frozenset(option.argument for option in self.arguments)

    @property
    def defaults(self) -> dict[str, Any]:
        """Values of the arguments that need not be given."""
        return {option.argument: option.default for option in self.arguments if not option.required}

    @property
    def options(self) -> dict[str, Option]:
        """Arguments that are flags, by name in the shell."""
        return {option.name: option for option in self.arguments if option.kind is not None and not option.supplied}

    @property
    def buildable(self) -> bool:
        """Whether a shell can give every argument that has no default."""
        return all(option.kind is not None or option.supplied for option in self.arguments if option.required)

    def load(self) -> Any:
        """The class or function itself."""
        return getattr(importlib.import_module(f"ppl_vae.{self.folder}"), self.cls)

    def build(self, known: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """An instance, of what the rest of the model knows and what flags say."""
        return self.load()(**{name: known[name] for name in self.takes & known.keys()}, **options)


def kebab(name: str) -> str:
    """Class name as the shell spells it.

    Example:
        >>> [kebab(name) for name in ("MixtureOfGaussians", "TraceELBO", "MLP", "ResNet", "SparseAutoencoder")]
        ['mixture-of-gaussians', 'trace-elbo', 'mlp', 'resnet', 'sparse']
    """
    short = name.removesuffix("Autoencoder").removesuffix("Quantizer") or name
    return _SPELLINGS.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", short).lower()


@functools.cache
def by_role() -> dict[str, list[Entry]]:
    """Everything exported, by the role that its base class says; classes without a base are in no role."""
    found: dict[str, list[Entry]] = {role: [] for role in DEFAULTS}
    for folder in constant("parts", "_FOLDERS"):
        for entry in exported(folder).values():
            if entry.base != entry.cls:
                found.setdefault(_BASES.get(entry.base, kebab(entry.base)), []).append(entry)
    return found


@functools.cache
def roles() -> dict[str, dict[str, Entry]]:
    """The flags that name a part, and what each chooses from by name in the shell.

    A part is offered if its arguments can be supplied and it is not put around another of its kind, a network if it
    has a mirror (a ``decoder`` classmethod). The objective is chosen by the model.

    Example:
        >>> roles()["network"]["mlp"].cls
        'MLP'
    """
    found = {role: entries for role, entries in by_role().items() if role != "objective"}
    return {
        role: {e.name: e for e in entries if e.buildable and role not in e.takes and _mirrored(role, e)}
        for role, entries in found.items()
    }


def _mirrored(role: str, entry: Entry) -> bool:
    return role != "network" or "decoder" in entry.methods


def parts(role: str) -> dict[str, Entry]:
    """The parts that the flag ``--<role>`` offers, by name in the shell."""
    return roles()[role]


def plural(role: str) -> str:
    """Plural of a role, such as "penalties"; it is the folder's name if the folder holds one role."""
    return f"{role.removesuffix('y')}ies" if role.endswith("y") else f"{role}s"


_OBJECTIVES = {
    "classify": "semi-supervised",
    "assign": "clustering",
    "dependence": "adjusted",
    "guide": "svi",
    "free_energy": "contrastive-divergence",
}
"""The objective of a model with a method of this name, the first that it has; Reconstruction takes the rest."""


def objective(model: Entry) -> Entry:
    """The objective of a model, by what it can do.

    Example:
        >>> objective(parts("model")["vae"]).cls, objective(parts("model")["rbm"]).cls
        ('SVI', 'ContrastiveDivergence')
    """
    name = next((name for method, name in _OBJECTIVES.items() if method in model.methods), "reconstruction")
    return exported("objectives")[name]


def taken(model: Entry) -> frozenset[str]:
    """The roles of the parts that a model takes: itself, in its objective or in its networks."""
    found = {name.replace("_", "-") for name in model.takes | objective(model).takes} | {"model"}
    found |= {"update"} if "quantizer" in found else set()
    found |= {"network"} if found & {"encoder", "likelihood"} else set()
    found |= {"condition"} if "likelihood" in found and "target" not in model.takes else set()
    return frozenset(found & roles().keys())


@functools.cache
def exported(folder: str) -> dict[str, Entry]:
    """Every class in a folder's ``__all__``, sorted by name in the shell."""
    found = map(Source.read(folder).find, constant(folder, "__all__") or ())
    entries = [described(folder, home, node) for home, node in found if isinstance(node, ast.ClassDef)]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def described(folder: str, home: Source, node: ast.ClassDef) -> Entry:
    """A class and its constructor, its own or inherited."""
    lineage = list(home.lineage(node))
    functions = [(at, f) for at, cls in lineage for f in cls.body if isinstance(f, ast.FunctionDef)]
    docs: dict[str, str] = {}
    for _, cls in reversed(lineage):
        docs |= argument_docs(cls)
    arguments = next((_arguments(at, f, docs)[1:] for at, f in functions if f.name == "__init__"), ())
    methods = frozenset(f.name for _, f in functions)
    usual = next((found for _, cls in lineage if (found := _usual(cls)) is not None), {})
    return Entry(kebab(node.name), folder, node.name, summary(node), arguments, methods, _base(home, node), usual)


def _usual(node: ast.ClassDef) -> dict[str, Any] | None:
    """The dict that a class assigns to ``usual``, if it does."""
    lines = (line for line in node.body if isinstance(line, ast.Assign))
    return next((ast.literal_eval(line.value) for line in lines if ast.unparse(line.targets[0]) == "usual"), None)


def _base(home: Source, node: ast.ClassDef) -> str:
    """The name of the class that says the role; what follows the first base class are mixins."""
    found = (home.find(ast.unparse(base)) for base in node.bases)
    first = ((at, cls) for at, cls in found if isinstance(cls, ast.ClassDef) and at.path.name != "parts.py")
    return next((_base(at, cls) for at, cls in first), node.name)


@functools.cache
def function(folder: str, name: str) -> Entry:
    """A function that a folder exports, such as ``data.load``."""
    home, node = Source.read(folder).find(name)
    if not isinstance(node, ast.FunctionDef):
        raise LookupError(f"ppl_vae.{folder} has no function {name}")
    return Entry(kebab(name), folder, name, summary(node), _arguments(home, node, argument_docs(node)))


def constant(folder: str, name: str) -> Any:
    """A literal that a folder defines or imports; of a dict of anything, the keys; None if there is none."""
    home, node = Source.read(folder).find(name)
    return home.literal(node)


def _arguments(home: Source, node: ast.FunctionDef, docs: dict[str, str]) -> tuple[Option, ...]:
    """The arguments of a function; one of a user's own may have no annotation, and takes words like its default."""
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(positional) - len(node.args.defaults)) + node.args.defaults
    pairs = [*zip(positional, defaults, strict=True), *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    own = ROOT not in home.path.parents
    return tuple(
        Option(
            arg.arg,
            Kind.like(value) if own and arg.annotation is None else Kind.of(arg.annotation, home.find),
            docs.get(arg.arg, "").rstrip("."),
            *(() if value is None else (home.literal(value),)),
        )
        for arg, value in pairs
    )
