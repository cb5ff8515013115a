"""What all pages are made with: templates, numbers as people read them, pictures inside the page."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from gridcast.reporting import plot_style

MONITOR_FILE = "monitor.html"
"""The page of the monitor, which stands beside the report and outlives it."""


def template_environment() -> Environment:
    """Where the templates are found, with the filters `number`, `percent` and `sentence`."""
    found = Environment(
        loader=PackageLoader("gridcast.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    found.filters |= {"number": format_number, "percent": format_percent, "sentence": as_sentence}
    return found


def to_svg(figure: Figure) -> str:
    """The picture as SVG."""
    with plot_style.plot_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out by now, and that is half of the work
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(name: str, svg: str) -> Markup:
    """An SVG that takes the page's colours, with ids of its own so that several can share a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{name}-\1"', svg)
    # A small picture keeps the size of its letters: what fills the page is 13.5 inches wide.
    wide = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1]) / 72 / 13.5  # type: ignore[index]
    start = f'<svg role="img" style="--wide: {74 * wide:.1f}rem" viewBox'
    svg = re.sub(r"<svg[^>]*?viewBox", start, svg, count=1)
    svg = svg.replace(plot_style.INK, "var(--ink)").replace(plot_style.LINE, "var(--line)")
    return Markup(svg)  # noqa: S704 - our own drawing


def format_number(value: Any) -> str:
    """As a table shows it: four digits, yes and no, `-` for what is not finite."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return "-" if not np.isfinite(value) else f"{value:.4g}"
    return str(value)


def format_percent(share: float) -> str:
    """A share (0 to 1) in percent."""
    return f"{100 * share:.1f} %" if np.isfinite(share) else "-"


def as_sentence(note: str) -> str:
    """A note as a sentence: a capital at its start, a stop at its end."""
    text = note.removeprefix("warning: ").strip()
    if text.partition(" ")[0].isalpha():  # not the name of a file
        text = f"{text[:1].upper()}{text[1:]}"
    return text + ("" if text.endswith((".", "!", "?")) else ".")
