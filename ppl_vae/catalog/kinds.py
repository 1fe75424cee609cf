"""Kinds: what words a flag takes, read from a type annotation's syntax.

``int``, ``float``, ``bool`` and ``str``; ``Literal[...]`` for a choice; ``X | None`` adds the word ``none``;
``Sequence[X]`` (``list``, ``tuple``) takes several words. Unions try their members in the order
none, choices, bool, int, float, str, so ``float | Literal["learned"]`` takes a number or that one word.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import did_you_mean

_ORDER = ("none", "bool", "int", "float", "str")
_WORDS = {"none": "none", "bool": "true or false", "int": "a whole number", "float": "a number", "str": "a word"}
_MANY = frozenset(("Sequence", "Iterable", "list", "List", "tuple", "Tuple"))


@dataclass(frozen=True)
class Kind:
    """What a flag takes.

    Attributes:
        types: names of simple types.
        choices: literal words.
        many: whether several words may follow, to make a list.
        alone: whether one word then stands for itself, as in ``int | tuple[int, int]``.
    """

    types: frozenset[str]
    choices: tuple[Any, ...] = ()
    many: bool = False
    alone: bool = False

    @classmethod
    def of(cls, node: ast.AST | None, find: Callable[[str], tuple[Any, Any]] | None = None) -> Kind | None:
        """Kind of an annotation; None if no member of it can be written in a shell.

        Args:
            node: the annotation's syntax.
            find: looks a name up, as (module with a ``find`` of its own, syntax), for aliases.

        Example:
            >>> Kind.of(ast.parse("Sequence[int] | None", mode="eval").body).describe()
            'none or a whole number ...'
        """
        types: set[str] = set()
        choices: list[Any] = []
        many = alone = False
        for member in _members(node):
            name = _name(member)
            if isinstance(member, ast.Constant) and member.value is None:
                types.add("none")
            elif name in _ORDER:
                types.add(name)
                alone = True
            elif name == "Literal" and isinstance(member, ast.Subscript):
                choices.extend(ast.literal_eval(choice) for choice in _inside(member))
            elif name in _MANY and isinstance(member, ast.Subscript):
                item = cls.of(_inside(member)[0], find)
                many, types = many or item is not None, types | (item.types if item else set())
            elif find is not None and isinstance(member, ast.Name):
                home, alias = find(name)
                item = cls.of(alias, home.find) if isinstance(alias, ast.Subscript | ast.BinOp) else None
                if item is not None:
                    types, choices, many = types | item.types, [*choices, *item.choices], many or item.many
        return cls(frozenset(types), tuple(choices), many, many and alone) if types - {"none"} or choices else None

    @classmethod
    def like(cls, default: ast.AST | None) -> Kind:
        """Kind of an argument without annotation: like its default, a number or a word if there is none.

        Example:
            >>> Kind.like(ast.parse("3", mode="eval").body).read(["2.5"])
            2.5
        """
        value = default.value if isinstance(default, ast.Constant) else None
        name = {bool: "bool", str: "str"}.get(type(value))
        numbers = {"int", "float"} if value is not None else {"int", "float", "str"}
        return cls(frozenset({name} if name else numbers))

    def read(self, words: Sequence[str]) -> Any:
        """Value of the words behind a flag.

        Raises:
            ValueError: with the clause ``takes ..., not ...``.

        Example:
            >>> Kind(frozenset({"float"}), choices=("learned",)).read(["0.5"])
            0.5
        """
        words = list(words)
        if not words and self.types == {"bool"}:
            return True
        if len(words) == 1 and "none" in self.types and words[0].lower() in {"none", "null"}.difference(self.choices):
            return None
        if self.many and not (self.alone and len(words) == 1):
            return [self._one(word) for word in words]
        if len(words) != 1:
            raise ValueError(f"takes {self.describe()}, not {' '.join(words) or 'nothing'}")
        return self._one(words[0])

    def _one(self, word: str) -> Any:
        for choice in self.choices:
            if word == str(choice):
                return choice
        if "bool" in self.types and word.lower() in ("true", "false"):
            return word.lower() == "true"
        for name, convert in (("int", _whole), ("float", float), ("str", str)):
            if name in self.types:
                try:
                    return convert(word)
                except (ValueError, OverflowError):
                    continue
        raise ValueError(f"takes {self.describe()}, not {word}{did_you_mean(word, map(str, self.choices))}")

    def describe(self) -> str:
        """The kind in words, for help and errors."""
        words = [
            _WORDS[name] for name in _ORDER if name in self.types and not (name == "int" and "float" in self.types)
        ]
        words += [str(choice) for choice in self.choices]
        return " or ".join(words) + (" ..." if self.many else "")


def word(value: Any, between: str = ",") -> str:
    """A value as a user would type it, several with ``between`` between them."""
    if isinstance(value, list | tuple):
        return between.join(map(word, value))
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def _whole(word: str) -> int:
    value = float(word) if "e" in word.lower() else int(word)
    if value != int(value):
        raise ValueError(word)
    return int(value)


def _members(node: ast.AST | None) -> list[ast.AST]:
    """The members of a union, flat."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left) + _members(node.right)
    if isinstance(node, ast.Subscript) and _name(node) in ("Optional", "Union"):
        members = [member for item in _inside(node) for member in _members(item)]
        return [*members, ast.Constant(None)] if _name(node) == "Optional" else members
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _members(ast.parse(node.value, mode="eval").body)
    return [] if node is None else [node]


def _name(node: ast.AST) -> str:
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _inside(node: ast.Subscript) -> list[ast.expr]:
    """What stands between the brackets."""
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
