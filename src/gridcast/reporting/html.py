"""Parts that all pages share: Jinja templates, number formats, SVG figures inside the page."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from gridcast.reporting import plot_style

MONITOR_FILE, LIVE_FILE = "monitor.html", "live.html"
"""Pages of the monitor and of a follower, beside the report."""
PAGE_WIDTH_REM, PAGE_WIDTH_INCHES = 74, 13.5


def template_environment() -> Environment:
    """Return the Jinja environment of the templates, with the filters `number`, `percent` and `sentence`."""
    environment = Environment(
        loader=PackageLoader("gridcast.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": format_number, "percent": format_percent, "sentence": as_sentence}
    return environment


def to_svg(figure: Figure) -> str:
    """Return the figure as SVG."""
    with plot_style.plot_style():
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
        # A second time would double the work. With "none" a placeholder would remain, for which `savefig` draws once
        # more, on nothing.
        figure.set_layout_engine(None)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(name: str, svg: str) -> Markup:
    """Return the SVG with the page's colours, and with ids that start with `name` so that several can share a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{name}-\1"', svg)
    # A narrow figure is not stretched to the width of the page, so that all figures have letters of one size.
    share = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1]) / 72 / PAGE_WIDTH_INCHES  # type: ignore[index]
    start = f'<svg role="img" style="--wide: {PAGE_WIDTH_REM * share:.1f}rem" viewBox'
    svg = re.sub(r"<svg[^>]*?viewBox", start, svg, count=1)
    svg = svg.replace(plot_style.INK, "var(--ink)").replace(plot_style.LINE, "var(--line)")
    return Markup(svg)  # noqa: S704 - our own drawing


def format_number(value: Any) -> str:
    """Return a value as tables show it: four digits, yes and no, `-` for what is not finite."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return "-" if not np.isfinite(value) else f"{value:.4g}"
    return str(value)


def format_percent(share: float) -> str:
    """Return a share (0 to 1) in percent, `-` where it is not finite."""
    return f"{100 * share:.1f} %" if np.isfinite(share) else "-"


def as_sentence(note: str) -> str:
    """Return a note as a sentence: with a capital letter and a full stop, without the prefix `warning: `."""
    text = note.removeprefix("warning: ").strip()
    if text.partition(" ")[0].isalpha():  # not the name of a file
        text = f"{text[:1].upper()}{text[1:]}"
    return text + ("" if text.endswith((".", "!", "?")) else ".")
