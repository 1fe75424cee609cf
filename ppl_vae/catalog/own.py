"""Parts that the package does not list: a class in a user's file, and any distribution of Pyro.

FILE.py:CLASS    the class of a file, described from the file's text; the file is imported when the part is built
of:weibull       the general rule ``Of`` of a prior, posterior or likelihood, with a class of ``pyro.distributions``
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checks import did_you_mean
from .entries import Entry, Option, by_role, described, exported, kebab, parts, plural
from .kinds import Kind
from .source import Source

_OWN = re.compile(r"(of:[^:]*|.*\.py(?::[^:]*)?)(?:(:)(.*))?", re.DOTALL)
_NUMBERS = Kind(frozenset({"none", "int", "float"}), many=True, alone=True)


@dataclasses.dataclass(frozen=True)
class Given(Entry):
    """A class in a user's file.

    Attributes:
        path: the file.
        role: the flag that names the part.
    """

    path: Path = Path()
    role: str = ""

    def load(self) -> Any:
        """The class, from the file imported; it must derive from the base of its role."""
        cls = vars(importlib.import_module("ppl_vae.own").import_file(self.path)).get(self.cls)
        bases = _bases(self.role)
        if not (isinstance(cls, type) and issubclass(cls, bases)):
            names = " or ".join(".".join([*base.__module__.split(".")[:2], base.__name__]) for base in bases)
            raise ValueError(f"--{self.role} {self.name}: the class must derive from {names}")
        if inspect.isabstract(cls):
            raise ValueError(f"--{self.role} {self.name}: the class must define {', '.join(cls.__abstractmethods__)}")
        if self.role == "model" and not issubclass(cls, importlib.import_module("ppl_vae.parts").Part):
            raise ValueError(
                f"--model {self.name}: the class must derive from ppl_vae.parts.Part first, as in class "
                f"{self.cls}(Part, ...), so that its run can be opened again"
            )
        return cls

    def build(self, known: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """An instance; what the constructor raises is told in one sentence."""
        failing, cls = importlib.import_module("ppl_vae.failing"), self.load()
        try:
            made = cls(**{name: known[name] for name in self.takes & known.keys()}, **options)
            if self.role in ("prior", "posterior", "likelihood"):
                importlib.import_module("ppl_vae.supports").check_stated(self.role, made)
            return made
        except Exception as error:
            if failing.is_ours(error):
                raise
            inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            said = failing.sentence(error) if inside else error
            raise ValueError(f"--{self.role} {self.name} cannot be built: {said}") from error


@dataclasses.dataclass(frozen=True)
class Of(Entry):
    """The general rule with a class of ``pyro.distributions``, whose parameters are options."""

    distribution: Any = None

    def build(self, known: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """An instance; a refusal of the rule names parameters as options."""
        tensor, role = importlib.import_module("torch").tensor, self.folder.removesuffix("s")
        own = {n: tensor([*map(float, v)]) if isinstance(v, list) else v for n, v in options.items() if v is not None}
        rest = {name: known[name] for name in self.takes & known.keys()}
        try:
            return self.load()(distribution=self.distribution, **rest, **own)
        except ValueError as error:
            said = re.sub(r"\b(\w+)= given", lambda name: f"--{role}.{name[1].replace('_', '-')}", str(error))
            raise ValueError(f"--{role} {self.name}: {said}") from error


def is_own(word: str) -> bool:
    """Whether a word names a part that the package does not list.

    Example:
        >>> [is_own(word) for word in ("normal", "my.py:Skewed", "my.py", "of:weibull", "iwae:num-particles=5")]
        [False, True, True, True, False]
    """
    return _OWN.fullmatch(word) is not None


def split(word: str) -> tuple[str, str, str]:
    """A part, a colon if there is one, and what stands behind it, as ``str.partition`` gives them.

    Example:
        >>> split("my.py:Skewed:df=3"), split("iwae:num-particles=5")
        (('my.py:Skewed', ':', 'df=3'), ('iwae', ':', 'num-particles=5'))
    """
    own = _OWN.fullmatch(word)
    return word.partition(":") if own is None else (own[1], own[2] or "", own[3] or "")


def lookup(role: str, name: str) -> Entry | None:
    """The part a user names, with any hyphens and capitals (``res-net`` and ``ResNet`` are ``resnet``), or an own one.

    Raises:
        ValueError: an own part whose file or class does not exist, or that flags cannot build.
    """
    try:
        if name.startswith("of:"):
            return _of(role, name.removeprefix("of:"))
        if is_own(name):
            path, _, cls = (name, "", "") if name.endswith(".py") else name.rpartition(":")
            if not Path(path).is_file():
                raise ValueError(f"there is no file {path}")
            stat = Path(path).stat()
            return _given(role, Path(path), cls, (stat.st_mtime_ns, stat.st_size))
    except ValueError as error:
        raise ValueError(f"--{role} {name}: {error}") from None
    found = parts(role).values()
    return next((entry for entry in found if _key(name) in (_key(entry.name), entry.cls.lower())), None)


def _key(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()


@functools.cache
def _given(role: str, path: Path, cls: str, _stamp: tuple[int, int]) -> Entry:
    """The entry of a class, from the text of its file."""
    try:
        home = Source(path)
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        said = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"the file is not Python: {said}{where}") from None
    node, classes = home.names.get(cls), [name for name, n in home.names.items() if isinstance(n, ast.ClassDef)]
    if not isinstance(node, ast.ClassDef):
        holds = f"it has {', '.join(classes)}{did_you_mean(cls, classes)}" if classes else "it has no classes"
        raise ValueError(f"the file has no class {cls}; {holds}" if cls else f"write {path}:CLASS; {holds}")
    entry = described(plural(role), home, node)
    fields = {field.name: vars(entry)[field.name] for field in dataclasses.fields(Entry)}
    made = Given(**fields | {"name": f"{path}:{cls}"}, path=path, role=role)
    layers = [option.argument for option in made.arguments[1:3]]
    if role == "network" and (layers != ["hidden", "activation"] or "decoder" not in made.methods):
        raise ValueError(
            "encoder and decoder need __init__(self, in_shape, hidden, activation) and a classmethod decoder(cls, dim, "
            "hidden, shape, activation), as networks.MLP has them"
        )
    untold = [o.argument for o in made.arguments if o.required and o.kind is None and not o.supplied]
    if untold:
        raise ValueError(f"argument {untold[0]} needs a default, since no words can be typed for it")
    return made


@functools.cache
def _of(role: str, name: str) -> Entry:
    """The entry of the general rule with a distribution."""
    rule = exported(plural(role)).get("of") if role in ("prior", "posterior", "likelihood") else None
    if rule is None:
        raise ValueError("only a prior, a posterior and a likelihood can be of a distribution")
    pyro, torch = (importlib.import_module(f"{package}.distributions") for package in ("pyro", "torch"))
    classes = [v for v in vars(pyro).values() if isinstance(v, type) and issubclass(v, torch.Distribution)]
    known = {f"of:{kebab(cls.__name__)}": cls for cls in classes if not inspect.isabstract(cls)}
    word = next((word for word in known if _key(word) == _key(f"of:{name}")), None)
    if word is None:
        raise ValueError(f"no class of pyro.distributions has this name{did_you_mean(f'of:{name}', known)}")
    of_rule = [option for option in rule.arguments if option.argument != "distribution"]
    others = {"self", "validate_args", *(option.argument for option in of_rule)}
    found = known[word]
    signature = inspect.signature(found.__init__).parameters.values()
    own = [p.name for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in others]
    fields = {field.name: vars(rule)[field.name] for field in dataclasses.fields(Entry)}
    options = (*of_rule, *(Option(n, _NUMBERS, f"parameter of {found.__name__}", None) for n in own))
    return Of(**fields | {"name": word, "arguments": options}, distribution=found)


def _bases(role: str) -> tuple[type, ...]:
    """The base classes of a role, which all parts that the package lists for it derive from."""
    listed = [(entry.base, entry.load()) for entry in by_role()[role]]
    found = [base for name, cls in listed for base in cls.__mro__ if base.__name__ == name]
    elbo = [importlib.import_module("pyro.infer").ELBO] if role == "estimator" else []
    return tuple(dict.fromkeys([*found, *elbo]))
