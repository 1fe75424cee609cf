"""``ppl-vae list``."""

from __future__ import annotations

from typing import Any

from ... import catalog, networks, randomness, supports
from ..files import print_json


def list(json: bool = False) -> None:
    """The parts to choose from, and which go together.

    Args:
        json: print JSON.
    """
    names = {catalog.plural(role): [*offered] for role, offered in catalog.roles().items() if role != "beta"}
    names["data"] = [*catalog.constant("data", "NAMES")]
    pairs = compatible_pairs()
    if json:
        return print_json(names | {"compatible": [(p, q) for p, qs in pairs.items() for q in qs]})
    for kind, offered in names.items():
        print(f"{kind:<12} {', '.join(offered)}")
    width = max(map(len, pairs)) + 2
    print(f"\n{'prior':<{width}}posteriors on the same support")
    for prior, qs in pairs.items():
        print(f"{prior:<{width}}{'every one' if len(qs) == len(names['posteriors']) else ', '.join(qs)}")


def compatible_pairs() -> dict[str, Any]:
    """The posteriors that live on the same support as each prior, found by building small ones.

    A prior that is made of a posterior goes with every one.

    Example:
        >>> compatible_pairs()["uniform"]
        ['beta', 'kumaraswamy', 'logit-normal']
    """
    with randomness.unchanged():
        known = {"dim": 2, "shape": (4,), "network": networks.MLP(4, [2])}
        priors = {name: _support(entry, known) for name, entry in catalog.parts("prior").items()}
        posteriors = {name: _support(entry, known) for name, entry in catalog.parts("posterior").items()}
    return {prior: [q for q, on in posteriors.items() if lives in (None, on)] for prior, lives in priors.items()}


def _support(entry: catalog.Entry, known: dict[str, Any]) -> str | None:
    """Where the codes of a part live; None for a prior that lives where its posterior does."""
    if "posterior" in entry.takes:
        return None
    least = {option.argument: 2 for option in entry.options.values() if option.required}
    return supports.name(entry.build(known, least).support)
