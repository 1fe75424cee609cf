"""``ppl-vae list``."""

from __future__ import annotations

import json as text
from typing import Any

import torch

from ... import networks, supports
from .. import catalog


def list(json: bool = False) -> None:
    """The parts to choose from, and which go together.

    Args:
        json: print JSON.
    """
    names = {catalog.plural(role): [*offered] for role, offered in catalog.roles().items() if role != "beta"}
    names["data"] = [*catalog.constant("data", "NAMES")]
    pairs = compatible_pairs()
    if json:
        print(text.dumps({**names, "compatible": pairs}))
        return
    for kind, offered in names.items():
        print(f"{kind:<12} {', '.join(offered)}")
    print(_table(pairs))


def compatible_pairs() -> Any:
    """Names of the priors and the posteriors that live on the same support, found by building small ones.

    A prior that is made of a posterior goes with every one.

    Example:
        >>> ("normal", "multivariate-normal") in compatible_pairs()
        True
    """
    with torch.random.fork_rng(devices=[]):
        known = {"dim": 2, "shape": (4,), "network": networks.MLP(4, [2])}
        priors, posteriors = (
            {name: _support(entry, known) for name, entry in catalog.parts(role).items()}
            for role in ("prior", "posterior")
        )
    return [(prior, q) for prior, lives in priors.items() for q, on in posteriors.items() if lives in (None, on)]


def _support(entry: catalog.Entry, known: dict[str, Any]) -> str | None:
    """Where the codes of a part live; None for a prior that lives where its posterior does."""
    if "posterior" in entry.takes:
        return None
    given = {name: value for name, value in known.items() if name in entry.takes}
    least = {option.argument: 2 for option in entry.options.values() if option.required}
    return supports.name(entry.load()(**given, **least).support)


def _table(pairs: Any) -> str:
    """The posteriors that go with every prior, one prior a line."""
    width = max(len(prior) for prior, _ in pairs) + 2
    posteriors = {prior: [q for p, q in pairs if p == prior] for prior, _ in pairs}
    most = len({q for _, q in pairs})
    lines = [f"\n{'prior':<{width}}posteriors on the same support"]
    lines += [f"{p:<{width}}{'every one' if len(qs) == most else ', '.join(qs)}" for p, qs in posteriors.items()]
    return "\n".join(lines)
