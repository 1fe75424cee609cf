"""Pages: the template of a package, filled in with sections, in the frame and the style sheet that all pages share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment
from matplotlib.figure import Figure

from .. import __version__
from .drawing import PALETTE
from .embed import embed


@dataclass(frozen=True)
class Section:
    """A part of a page: what is shown, in plain words, and figures, each with words that stand for it.

    Where ``legend`` is true the figures need the legend of the page; where ``stacked`` is, each has a row of its own.
    """

    id: str
    title: str
    text: str
    figures: Sequence[tuple[Figure, str]] = ()
    legend: bool = False
    stacked: bool = False


def page(package: str, **values: Any) -> bytes:
    """The ``report.html`` of a package as a page that opens by itself."""
    loader = DictLoader({name: _read("ppl_vae.reporting", name) for name in ("page.html", "style.css")})
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
    template = environment.from_string(_read(package, "report.html"))
    return template.render(embed=embed, palette=PALETTE, version=__version__, **values).encode()


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
