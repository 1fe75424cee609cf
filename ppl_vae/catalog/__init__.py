"""The catalogue: what the package offers, read from the source text and never imported.

A folder such as ``ppl_vae/priors`` is the one list of its parts: its literal ``__all__`` gives the names, the classes
behind them give the options (constructor arguments, their annotations, defaults and docs) and a first docstring line.
The base class says the role: what derives from ``Prior`` is a prior. ``ppl-vae --help`` therefore answers without
loading torch. A user's own class is described in the same way from the text of its file, and imported to be built.
"""

from .entries import (
    DEFAULTS,
    Entry,
    Option,
    constant,
    described,
    exported,
    function,
    kebab,
    objective,
    parts,
    plural,
    roles,
    taken,
)
from .kinds import Kind, word
from .own import Given, Of, is_own, lookup, split
from .source import Source, summary

__all__ = [
    "DEFAULTS",
    "Entry",
    "Given",
    "Kind",
    "Of",
    "Option",
    "Source",
    "constant",
    "described",
    "exported",
    "function",
    "is_own",
    "kebab",
    "lookup",
    "objective",
    "parts",
    "plural",
    "roles",
    "split",
    "summary",
    "taken",
    "word",
]
