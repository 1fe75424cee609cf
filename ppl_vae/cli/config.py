"""Configuration files: the flags of ``ppl-vae train`` written down, as YAML or JSON.

The keys are the flags' names with hyphens or underscores; a part's options are nested beside its ``name`` or dotted:

    prior: {name: mixture-of-gaussians, components: 10}          prior: mixture-of-gaussians
                                                                 prior.components: 10

A run folder's config.json can be used too: its section "shell" is such a mapping.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import yaml

from .. import catalog
from ..catalog import word
from ..checks import did_you_mean
from .arguments import UsageError
from .flags import canonical


def words_of(path: str, known: Set[str], switches: Set[str]) -> dict[str, list[str]]:
    """The flags that a file sets, each with its words; flags in ``switches`` may be written ``no-<flag>``."""
    given: dict[str, list[str]] = {}
    content = [(canonical(name), value) for name, value in _flat(_load(path))]
    own = {name for name, value in content for one in _listed(value) if catalog.is_own(str(one))}
    for name, value in content:
        if name.removeprefix("no-") in switches and name not in known:
            name, value = name.removeprefix("no-"), not value if isinstance(value, bool) else value
        if name not in known and name.partition(".")[0] not in own:
            raise UsageError(f"{path} sets {name}, which is unknown{did_you_mean(name, sorted(known))}")
        of_the_line = name in ("config", "parts", "print-config")
        if of_the_line and value:
            raise UsageError(f"{path} sets {name}, which belongs on the command line")
        if value is not None and not of_the_line:
            given[name] = [word(item) for item in _listed(value)]
    return given


def to_yaml(values: Mapping[str, Any]) -> str:
    """Flags as YAML that ``--config`` reads back.

    Example:
        >>> print(to_yaml({"prior": "normal", "lr": 0.001, "hidden": [200, 200]}), end="")
        prior: normal
        lr: 0.001
        hidden: [200, 200]
    """
    lines = []
    for name, value in values.items():
        plain = list(value) if isinstance(value, tuple) else value
        text = yaml.safe_dump(plain, default_flow_style=True, width=float("inf")).partition("\n")[0]
        lines.append(f"{name}: {text}\n")
    return "".join(lines)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _load(path: str) -> Mapping[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--config {path} is neither YAML nor JSON: {reason}") from None
    if isinstance(content, dict) and "ppl_vae" in content:
        content = content.get("shell")
        if not content:
            raise UsageError(f"--config {path} is of a run that was not made by ppl-vae train, so it has no flags")
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} must be a mapping of flags to values, such as 'prior: normal'")
    return content


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; ``{prior: {name: normal}}`` is ``prior: normal``."""
    for key, value in content.items():
        name = str(key).replace("_", "-")
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield (prefix.removesuffix(".") if prefix and name == "name" else prefix + name), value
