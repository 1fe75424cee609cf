"""A part of the report's page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A part of the page: what is shown, in plain words, and its figures."""

    id: str
    title: str
    text: str
    figures: tuple[Markup, ...] = ()
