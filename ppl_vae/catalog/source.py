"""Source: top-level names of the package's files, read with ``ast`` and followed through imports inside the package."""

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
    """One source file of the package.

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
            elif isinstance(node, ast.ImportFrom):
                self.names.update({alias.asname or alias.name: node for alias in node.names})
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
        """Where a name is defined, and its syntax; None if that is outside the package."""
        node = self.names.get(name)
        if not isinstance(node, ast.ImportFrom):
            return self, node
        path = self._imported(node)
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        return Source.open(path).find(original) if path else (self, None)

    def _imported(self, node: ast.ImportFrom) -> Path | None:
        pieces = node.module.split(".") if node.module else []
        if node.level:
            base = self.path.parents[node.level - 1]
        elif pieces[:1] == [ROOT.name]:
            base, pieces = ROOT, pieces[1:]
        else:
            return None
        path = _file(base.joinpath(*pieces))
        return path if path.exists() else None

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
            if isinstance(base, ast.Name):
                home, parent = self.find(base.id)
                if isinstance(parent, ast.ClassDef):
                    yield from home.lineage(parent)


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
