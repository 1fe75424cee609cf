"""The catalogue: what the shell offers, read from the source text and never imported.

A folder such as ``ppl_vae/priors`` is the one list of its parts: its literal ``__all__`` gives the names, the classes
behind them give the options (constructor arguments, their annotations, defaults and docs) and a first docstring line.
``ppl-vae --help`` therefore answers without loading torch.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from typing import Any

from .kinds import Kind
from .source import Source, argument_docs, summary

ROLES = {
    "model": "models",
    "prior": "priors",
    "posterior": "posteriors",
    "likelihood": "likelihoods",
    "network": "networks",
    "penalty": "penalties",
    "corruption": "corruptions",
    "estimator": "estimators",
    "beta": "handlers",
}
"""The flags that name a part, and the folder each chooses from."""

STRUCTURAL = frozenset(
    "network dim shape in_shape in_shape_or_dim hidden activation parameters encoder decoder "
    "prior posterior likelihood penalty corruption model estimator beta max_plate_nesting".split()
)
"""Constructor arguments that the rest of the model or a flag of their own supplies; no options of a part."""

_SPELLINGS = {
    "ResNet": "resnet",
    "ResNetTranspose": "resnet-transpose",
    "DReG": "dreg",
    "DisARM": "disarm",
    "KLRate": "kl",
    "DeepBeliefNet": "dbn",
    **{f"{kind}Autoencoder": kind.lower() for kind in ("Contractive", "Denoising", "Regularized", "Sparse", "Stacked")},
    "LatentNoiseAutoencoder": "latent-noise",
}
_REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """One argument that a flag can set."""

    argument: str
    kind: Kind | None
    help: str = ""
    default: Any = _REQUIRED

    @property
    def name(self) -> str:
        """The argument's name in the shell: ``num_particles`` is ``num-particles``."""
        return self.argument.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is _REQUIRED


@dataclass(frozen=True)
class Entry:
    """One class or function: its name in the shell, its first docstring line, its arguments and its methods."""

    name: str
    cls: str
    summary: str
    arguments: tuple[Option, ...]
    methods: frozenset[str] = frozenset()
    abstract: bool = False

    @property
    def options(self) -> dict[str, Option]:
        """Arguments that are flags, by name in the shell."""
        return {a.name: a for a in self.arguments if a.argument not in STRUCTURAL and a.kind is not None}

    @property
    def structural(self) -> tuple[str, ...]:
        """Arguments that the builder supplies."""
        return tuple(a.argument for a in self.arguments if a.argument in STRUCTURAL)

    @property
    def buildable(self) -> bool:
        """Whether a shell can supply every argument that has no default."""
        return all(a.kind is not None or a.argument in STRUCTURAL for a in self.arguments if a.required)


def kebab(name: str) -> str:
    """Class name as the shell spells it.

    Example:
        >>> [kebab(name) for name in ("MixtureOfGaussians", "TraceELBO", "MeanFieldELBO", "MLP", "ResNet")]
        ['mixture-of-gaussians', 'trace-elbo', 'mean-field-elbo', 'mlp', 'resnet']
    """
    return _SPELLINGS.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


@functools.cache
def parts(role: str) -> dict[str, Entry]:
    """What the flag ``--<role>`` chooses from, by name in the shell.

    A folder may export more than there is to choose: a network is offered if it has a mirror (a ``decoder``
    classmethod), a beta schedule if it can be called, anything if its arguments can be supplied and it is not put
    around another of its kind.

    Example:
        >>> parts("network")["mlp"].cls
        'MLP'
    """
    found = [e for e in exported(ROLES[role]).values() if e.buildable and not e.abstract and role not in e.structural]
    needed = {"network": "decoder", "beta": "__call__"}.get(role)
    return {entry.name: entry for entry in found if needed is None or needed in entry.methods}


def lookup(role: str, name: str) -> Entry | None:
    """The part a user names, with any hyphens and capitals: ``res-net`` and ``ResNet`` are ``resnet``."""
    key = re.sub(r"[-_]", "", name).lower()
    found = parts(role).values()
    return next((entry for entry in found if key in (entry.name.replace("-", ""), entry.cls.lower())), None)


def canonical(flag: str) -> str:
    """A flag's name; a part may be written behind the part that takes it.

    Example:
        >>> [canonical(flag) for flag in ("model.penalty.k", "model.penalty", "penalty.k", "model.code")]
        ['penalty.k', 'penalty', 'penalty.k', 'model.code']
    """
    first, _, rest = flag.partition(".")
    return rest if first in ROLES and re.split("[.=]", rest)[0] in ROLES else flag


@functools.cache
def exported(folder: str) -> dict[str, Entry]:
    """Every class in a folder's ``__all__``, sorted by name in the shell."""
    entries = []
    for name in constant(folder, "__all__") or ():
        home, node = Source.read(folder).find(name)
        if isinstance(node, ast.ClassDef):
            entries.append(_class(home, node))
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def _class(home: Source, node: ast.ClassDef) -> Entry:
    lineage = list(home.lineage(node))
    functions = [(at, f) for at, cls in lineage for f in cls.body if isinstance(f, ast.FunctionDef)]
    docs: dict[str, str] = {}
    for _, cls in reversed(lineage):
        docs |= argument_docs(cls)
    arguments = next((_arguments(at, f, docs)[1:] for at, f in functions if f.name == "__init__"), ())
    methods = frozenset(f.name for _, f in functions)
    return Entry(kebab(node.name), node.name, summary(node), arguments, methods, _is_abstract(node))


def _is_abstract(node: ast.ClassDef) -> bool:
    """Whether a class leaves methods to its subclasses."""
    own = [name for item in node.body for name in ast.walk(item) if isinstance(name, ast.Name)]
    return any(name.id in ("abstractmethod", "_needs") for name in own)


@functools.cache
def function(folder: str, name: str) -> Entry:
    """A function that a folder exports, such as ``data.load``."""
    home, node = Source.read(folder).find(name)
    if not isinstance(node, ast.FunctionDef):
        raise LookupError(f"ppl_vae.{folder} has no function {name}")
    return Entry(kebab(name), name, summary(node), _arguments(home, node, argument_docs(node)))


def constant(folder: str, name: str) -> Any:
    """A literal that a folder defines or imports; of a dict of anything, the keys; None if there is none."""
    home, node = Source.read(folder).find(name)
    return home.literal(node)


def _arguments(home: Source, node: ast.FunctionDef, docs: dict[str, str]) -> tuple[Option, ...]:
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(positional) - len(node.args.defaults)) + node.args.defaults
    pairs = [*zip(positional, defaults, strict=True), *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    return tuple(
        Option(
            arg.arg,
            Kind.of(arg.annotation, home.find),
            docs.get(arg.arg, ""),
            *(() if value is None else (home.literal(value),)),
        )
        for arg, value in pairs
    )
