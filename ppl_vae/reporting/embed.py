"""Figures as HTML: inline SVG in the colours of the page, or PNG in base64 for pictures without letters."""

from __future__ import annotations

import base64
import io
import re
import zlib

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from . import drawing

_COLOURS = {drawing.INK: "ink", drawing.MUTED: "muted", drawing.RULE: "rule", drawing.PAPER: "paper"}


def embed(figure: Figure, alt: str) -> Markup:
    """A figure as HTML: PNG for pictures without letters, else SVG in the colours of the page."""
    plain = all(axes.images and not axes.get_yticklabels() for axes in figure.axes)
    return Markup("<figure>{}</figure>").format(_png(figure, alt) if plain else _svg(figure, alt))


def _png(figure: Figure, alt: str) -> Markup:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=220, transparent=True)
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(
        base64.b64encode(buffer.getvalue()).decode(), alt
    )


def _svg(figure: Figure, alt: str) -> Markup:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=220, transparent=True)
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    opening, _, rest = svg.partition(">")
    svg = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening) + ">" + rest
    mark = f"f{zlib.crc32(alt.encode()):x}-"  # ids must differ between the figures of a page
    for old, new in ((' id="', f' id="{mark}'), ("url(#", f"url(#{mark}"), ('href="#', f'href="#{mark}')):
        svg = svg.replace(old, new)
    svg = svg.replace("xlink:href=", "href=")
    colours = _COLOURS | {colour: f"series-{i}" for i, colour in enumerate(drawing.PALETTE)}
    for colour, name in colours.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1))
