"""Pages: the template of a package, filled in with sections, with the style sheet that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from .. import __version__
from . import drawing


@dataclass(frozen=True)
class Section:
    """A part of a page: what is shown, in plain words, its figures, and whether they need the page's legend."""

    id: str
    title: str
    text: str
    figures: tuple[Markup, ...] = ()
    legend: bool = False


def page(package: str, **values: Any) -> bytes:
    """The ``report.html`` of a package as a page that opens by itself."""
    loader = DictLoader({"style.css": _read("ppl_vae.reporting", "style.css")})
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
    template = environment.from_string(_read(package, "report.html"))
    return template.render(palette=drawing.PALETTE, version=__version__, **values).encode()


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
