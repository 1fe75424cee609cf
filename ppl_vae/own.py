"""A user's own parts: the classes of files, modules and lists, given by hand so that a run with them can be opened.

A run's configuration names such a class, ``{"class": "my_file.py:SkewedT", "dim": 2}``, and nothing is ever executed
because it does: ``load(run, parts="my_file.py")`` and ``--parts my_file.py`` say which file to trust.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from . import randomness
from .failing import OWN, sentence
from .parts import Recorded


def import_file(path: str | Path) -> ModuleType:
    """A file as a module of a name of its own, which the same text at the same place has again.

    Beside it, other files can be imported, as when Python runs it. The random generators are left as they were.

    Raises:
        ValueError: a file that is not there or that fails, in one sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    text, place = path.read_bytes(), path.resolve()
    name = f"{OWN}{hashlib.sha256(str(place).encode() + text).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(place)
    sys.path.insert(0, str(place.parent))
    try:
        with randomness.unchanged():
            exec(compile(text, str(place), "exec", dont_inherit=True), vars(module))  # the user gave this file
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        syntax = isinstance(error, SyntaxError)
        said = f"{error.msg} (line {error.lineno})" if syntax else sentence(error)
        raise ValueError(f"{path} does not import: {said}") from error
    finally:
        sys.path.remove(str(place.parent))
    return module


def classes(given: Any) -> list[type[Recorded]]:
    """The classes of parts that are given: by a path, a module, a class, or a list of them; none for None.

    Raises:
        TypeError: something else.
        ValueError: a file that is not there or that fails.

    Example:
        >>> from ppl_vae import priors
        >>> class Mine(priors.Normal): ...
        >>> [cls.__name__ for cls in classes([Mine])]
        ['Mine']
    """
    found: list[type[Recorded]] = []
    for one in given if isinstance(given, list | tuple) else [] if given is None else [given]:
        if isinstance(one, type) and issubclass(one, Recorded):
            found.append(one)
        elif isinstance(one, str | Path | ModuleType):
            module = one if isinstance(one, ModuleType) else import_file(one)
            held = [value for value in vars(module).values() if isinstance(value, type)]
            found += [cls for cls in held if issubclass(cls, Recorded) and cls.__module__.split(".")[0] != "ppl_vae"]
        else:
            raise TypeError(f"parts must be files, modules or classes derived from ppl_vae.parts.Part, not {one!r}")
    return found
