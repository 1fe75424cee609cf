"""Source: top-level names of files, read with ``ast`` and followed through imports of the package."""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
Documented = ast.ClassDef | ast.FunctionDef


class Source:
    """One source file, of the package or a user's own, whose imports from the package are followed.

    Example:
        >>> home, node = Source.read("priors").find("Normal")
        >>> home.path.name, node.name
        ('normal.py', 'Normal')
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[str, ast.AST] = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                self.names[node.name] = node
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.names.update({_bound(node, alias): node for alias in node.names})
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.names.update({t.id: node.value for t in targets if isinstance(t, ast.Name)})

    @staticmethod
    @functools.cache
    def open(path: Path) -> Source:
        """The file at ``path``, parsed once."""
        return Source(path)

    @classmethod
    def read(cls, module: str) -> Source:
        """The file of a module below the package: ``"priors"``, ``"priors.normal"``."""
        return cls.open(_file(ROOT.joinpath(*module.split("."))))

    def find(self, name: str) -> tuple[Source, ast.AST | None]:
        """Where a name, such as ``Prior`` or ``priors.Prior``, is defined, and its syntax; None outside the package."""
        first, dot, rest = name.partition(".")
        node = self.names.get(first)
        if isinstance(node, ast.Import | ast.ImportFrom):
            start, pieces = self._imported(node, first)
            found = start and _inside(start, [*pieces, *(rest.split(".") if dot else [])])
            return found or (self, None)
        return self, None if dot else node

    def _imported(self, node: ast.Import | ast.ImportFrom, name: str) -> tuple[Path | None, list[str]]:
        """The folder that an import starts at, None outside the package, and the names from there to what it binds."""
        alias = next(alias for alias in node.names if _bound(node, alias) == name)
        if isinstance(node, ast.Import):
            pieces = (alias.name if alias.asname else name).split(".")
        else:
            pieces = [*(node.module.split(".") if node.module else []), alias.name]
            if node.level:
                return self.path.parents[node.level - 1], pieces
        return ROOT if pieces[0] == ROOT.name else None, pieces[1:]

    def literal(self, node: ast.AST | None) -> Any:
        """Value of a literal; for a dict of anything, its keys; None for anything else."""
        if isinstance(node, ast.Dict):
            return tuple(key.value for key in node.keys if isinstance(key, ast.Constant))
        try:
            return None if node is None else ast.literal_eval(node)
        except ValueError:
            return None

    def lineage(self, node: ast.ClassDef) -> Iterator[tuple[Source, ast.ClassDef]]:
        """A class and its bases inside the package, depth first."""
        yield self, node
        for base in node.bases:
            home, parent = self.find(ast.unparse(base))
            if isinstance(parent, ast.ClassDef):
                yield from home.lineage(parent)


def _bound(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """The name that an import binds: ``import ppl_vae.priors`` binds ``ppl_vae``."""
    return alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)


def _inside(path: Path, pieces: list[str]) -> tuple[Source, ast.AST | None] | None:
    """The definition of a dotted name in a folder or file of the package: a name there, or in one of its modules."""
    first, *rest = pieces or [""]
    home = Source.open(_file(path)) if _file(path).exists() else None
    if home is not None and not rest and first in home.names:
        return home.find(first)
    if first and _file(path / first).exists():
        return _inside(path / first, rest)
    lazy = home and home.names.get("_HOMES")  # of the package itself
    if isinstance(lazy, ast.Dict) and not rest and (folder := ast.literal_eval(lazy).get(first)):
        return _inside(ROOT / folder, [first])
    return None if home is None else (home, None)


def _file(path: Path) -> Path:
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def summary(node: Documented) -> str:
    """First line of a docstring, or nothing."""
    return (ast.get_docstring(node) or "").partition("\n")[0].replace("``", "")


def argument_docs(node: Documented) -> dict[str, str]:
    """The ``Args:`` section of a docstring: one line for each argument.

    Example:
        >>> argument_docs(Source.read("priors").find("Normal")[1])["dim"]
        'size of the code.'
    """
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)+)", (ast.get_docstring(node) or "") + "\n", re.MULTILINE)
    text = textwrap.dedent(section[1]) if section else ""
    found = re.findall(r"^(\w+): ((?:.*)(?:\n[ ]+.*)*)", text, re.MULTILINE)
    return {name: " ".join(words.split()).replace("``", "") for name, words in found}
