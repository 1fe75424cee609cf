"""Files that are replaced as a whole (a reader sees the old content or the new one), and values that JSON holds."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: a reader sees the old file or the new one, whatever happens in between.

    Raises:
        OSError: the content could not be written (disk full, no permission); the old file stands.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            kept = "; the file that was there is kept" if path.exists() else ""
            raise OSError(error.errno, f"could not write {path}: {error.strerror or error}{kept}") from None
        raise


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no such file or it does not read."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    write_atomically(file, (json.dumps(plain(content), indent=1) + "\n").encode())


def plain(value: Any, words: bool = False) -> Any:
    """The value as JSON can hold it: None for a number that is NaN or infinite, or a word for one that is infinite.

    Example:
        >>> plain({"elbo": math.nan, "values": (math.inf, 3)}), plain([-math.inf], words=True)
        ({'elbo': None, 'values': [None, 3]}, ['-inf'])
    """
    if isinstance(value, Mapping):
        return {name: plain(item, words) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, words) for item in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return str(value) if words and math.isinf(value) else None


def flat(nested: Mapping[str, Any], join: str = "_") -> dict[str, Any]:
    """A dict of dicts as one dict.

    Example:
        >>> flat({"epoch": 3, "valid": {"elbo": -90.0}}, "/")
        {'epoch': 3, 'valid/elbo': -90.0}
    """
    out: dict[str, Any] = {}
    for name, value in nested.items():
        inner = isinstance(value, Mapping)
        out |= {f"{name}{join}{k}": v for k, v in flat(value, join).items()} if inner else {name: value}
    return out
