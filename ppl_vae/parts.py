"""Parts: objects that remember the arguments they were built with, so that a run can be rebuilt from JSON.

``describe(part)`` gives a JSON-able record ``{"class": "priors.Normal", "dim": 16}``; ``build(record)`` gives an
equal part back. An object met a second time is recorded as ``{"same_as": "path/of/the/first"}``, so that modules
shared between parts stay shared. Classes are named by the public module that exports them, never by import path, so
a record can name only classes of ``ppl_vae``, and a user's own as ``"my_file.py:SkewedT"``, which ``build`` looks for
among the classes it is given and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from abc import abstractmethod as abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyro.distributions
import torch
from torch import nn

from .failing import is_ours, sentence

if TYPE_CHECKING:
    from .data import Split

_FOLDERS = (
    "networks",
    "penalties",
    "corruptions",
    "distributions",
    "quantizers",
    "priors",
    "code_priors",
    "posteriors",
    "likelihoods",
    "models",
    "estimators",
    "objectives",
    "handlers",
)


_RESERVED = frozenset(("class", "distribution", "dtype", "items", "same_as", "tensor"))
"""Reserved keys of a record: a user's mapping with one of them is stored as pairs."""


class Recorded:
    """Mixin that keeps the constructor's arguments of every instance, subclasses included.

    Example:
        >>> class Scale(Recorded):
        ...     def __init__(self, by, plus=0):
        ...         self.by, self.plus = by, plus
        >>> Scale(2).arguments
        {'by': 2, 'plus': 0}
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        self = super().__new__(cls)
        object.__setattr__(self, "_given", (args, kwargs))
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments by name, defaults filled in."""
        args, kwargs = self._given
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        named = dict(list(bound.arguments.items())[1:])
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                named |= named.pop(parameter.name)
        return named


class Abstract:
    """Mixin of base classes: a subclass that lacks one of their abstract methods cannot be built.

    It does what ``abc.ABC`` does without a metaclass, so that ``PyroModule[part]`` and ``to_pyro_module_`` work.
    Methods marked with ``abc.abstractmethod`` are abstract; so are the names in ``_needs``, which may be attributes: a
    subclass defines them or annotates them in its body. ``inspect.isabstract`` tells which classes are unfinished.

    Example:
        >>> class Base(Abstract):
        ...     @abstractmethod
        ...     def area(self): ...
        >>> class Circle(Base): ...
        >>> inspect.isabstract(Circle)
        True
        >>> Circle()
        Traceback (most recent call last):
        ...
        TypeError: Can't instantiate abstract class Circle with abstract method area
    """

    _needs: ClassVar[tuple[str, ...]] = ()
    __abstractmethods__: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: D105
        super().__init_subclass__(**kwargs)
        own = {name for name, value in vars(cls).items() if _is_abstract(value)} | {*vars(cls).get("_needs", ())}
        inherited = {name for base in cls.__bases__ if issubclass(base, Abstract) for name in base.__abstractmethods__}
        annotated = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", ())}
        found = {name: inspect.getattr_static(cls, name, None) for name in inherited}
        missing = {n for n, value in found.items() if _is_abstract(value) or (value is None and n not in annotated)}
        cls.__abstractmethods__ = frozenset(own | missing)  # type: ignore[attr-defined]


def _is_abstract(value: Any) -> bool:
    return getattr(value, "__isabstractmethod__", False)


class Part(Abstract, Recorded, nn.Module):
    """An ``nn.Module`` that can be described and rebuilt: the base of networks, priors, posteriors and likelihoods."""

    def start(self, train: Split) -> None:
        """Set initial values from the training data, in this part and the parts inside it; ``fit`` calls it.

        Values that have changed since the part was built (set, loaded or trained) are kept.

        Args:
            train: the training rows as the model sees them.
        """
        _start_inside(self, train)


def _start_inside(module: nn.Module, train: Split) -> None:
    for child in module.children():
        if isinstance(child, Part):
            child.start(train)
        else:
            _start_inside(child, train)


def digest(*tensors: torch.Tensor) -> bytes:
    """Fingerprint of values, the same in any floating dtype that holds them and on any device.

    Example:
        >>> digest(torch.ones(2)) == digest(torch.ones(2).double()) != digest(torch.zeros(2))
        True
    """
    values = [tensor.detach().cpu().float().contiguous().numpy().tobytes() for tensor in tensors]
    return hashlib.blake2b(b"".join(values), digest_size=16).digest()


def exported_name(obj: Any) -> str | None:
    """Public name of an object's class, such as ``"priors.Normal"``; None if ``ppl_vae`` does not export it."""
    cls = type(obj)
    pieces = cls.__module__.split(".")
    if pieces[0] != "ppl_vae" or len(pieces) < 2 or pieces[1] not in _FOLDERS:
        return None
    module = importlib.import_module(f"ppl_vae.{pieces[1]}")
    return f"{pieces[1]}.{cls.__name__}" if getattr(module, cls.__name__, None) is cls else None


def own_name(cls: type) -> str:
    """File and name of a class of the user's own, such as ``"my_file.py:SkewedT"``."""
    file = vars(sys.modules.get(cls.__module__, sys)).get("__file__")
    return f"{Path(file).name if file else cls.__module__}:{cls.__qualname__}"


def describe(part: Any) -> Any:
    """JSON-able record of a part and everything it was built from.

    A user's own part is recorded as ``{"class": "my_file.py:SkewedT", ...}`` with its arguments; other objects that
    ``ppl_vae`` does not export as ``{"class": null, "custom": "module.Class"}``: they can be named, not rebuilt.
    """
    seen: dict[int, str] = {}

    def record(value: Any, path: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, torch.Size | tuple | list):
            return [record(item, f"{path}/{i}") for i, item in enumerate(value)]
        if isinstance(value, dict):
            made = {key: record(item, f"{path}/{key}") for key, item in value.items()}
            return {"items": [[*pair] for pair in made.items()]} if _RESERVED & made.keys() else made
        if isinstance(value, torch.Tensor):
            return {"tensor": value.detach().cpu().tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
        if isinstance(value, type) and getattr(pyro.distributions, value.__name__, None) is value:
            return {"distribution": value.__name__}
        if id(value) in seen:
            return {"same_as": seen[id(value)]}
        seen[id(value)] = path
        name = exported_name(value)
        if name is None and isinstance(value, Recorded) and type(value).__module__.split(".")[0] != "ppl_vae":
            name = own_name(type(value))
        if name is None or not isinstance(value, Recorded):
            kind = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
            return {"class": None, "custom": f"{kind.__module__}.{kind.__qualname__}"}
        fields = {key: record(item, f"{path}/{key}") for key, item in value.arguments.items()}
        return {"class": name, **fields}

    return record(part, "")


def build(record: Any, own: Sequence[type] = (), kept: Path | None = None) -> Any:
    """Build the part that ``describe`` recorded.

    Args:
        record: what ``describe`` gave.
        own: the user's own classes that may be built.
        kept: a folder that may hold copies of the users' files, named in the error where one is missing.

    Raises:
        ValueError: the record names a class that ``ppl_vae`` does not export, one of the user's own that is not given,
            or arguments that its constructor does not take.
    """
    made: dict[str, Any] = {}

    def make(value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [make(item, f"{path}/{i}") for i, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"tensor", "dtype"}:
            return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
        if value.keys() == {"distribution"}:
            return _distribution(value["distribution"])
        if value.keys() == {"items"}:
            return {key: make(item, f"{path}/{key}") for key, item in value["items"]}
        if "same_as" in value:
            if value["same_as"] not in made:
                raise ValueError(f"the record refers to {value['same_as']!r}, which no earlier part of it describes")
            return made[value["same_as"]]
        if "class" not in value:
            return {key: make(item, f"{path}/{key}") for key, item in value.items()}
        cls = _find(value, own, kept)
        fields = {key: make(item, f"{path}/{key}") for key, item in value.items() if key != "class"}
        variadic = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.VAR_POSITIONAL]
        try:
            made[path] = cls(*fields.pop(variadic[0], ()), **fields) if variadic else cls(**fields)
        except TypeError as error:
            raise ValueError(f"the record of {value['class']} does not fit its constructor: {error}") from None
        except Exception as error:
            if cls not in own or is_ours(error):
                raise
            raise ValueError(f"{value['class']} cannot be built as the run records it: {sentence(error)}") from error
        return made[path]

    return make(record, "")


def _distribution(name: str) -> type:
    found = getattr(pyro.distributions, str(name), None)
    if isinstance(found, type) and issubclass(found, torch.distributions.Distribution):
        return found
    raise ValueError(f"distribution {name!r} is not a class of pyro.distributions")


def _find(record: dict[str, Any], own: Sequence[type], kept: Path | None) -> type:
    name = record["class"]
    if name is None:
        raise ValueError(
            f"the run holds {record.get('custom')}, a class of your own that a configuration cannot rebuild; "
            "pass model= with a model built the same way"
        )
    file, colon, own_class = str(name).rpartition(":")
    if colon:
        found = [cls for cls in own if own_name(cls) == name] or [c for c in own if c.__qualname__ == own_class]
        if len(set(found)) == 1:
            return found[0]
        copy = kept / file if kept is not None and (kept / file).is_file() else file
        among = f" (given: {', '.join(map(own_name, own))})" if own else ""
        raise ValueError(
            f"the run holds the class {own_class} of {file}, your own code, which is not executed unasked{among}; give "
            f"it by --parts {copy} in the shell, and in Python by parts={str(copy)!r} or parts=[{own_class}]"
        )
    folder, _, cls_name = str(name).partition(".")
    if folder in _FOLDERS:
        module = importlib.import_module(f"ppl_vae.{folder}")
        cls = getattr(module, cls_name, None) if cls_name in module.__all__ else None
        if isinstance(cls, type) and issubclass(cls, Recorded):
            return cls
    raise ValueError(f"class {name!r} is not one that ppl_vae exports")
