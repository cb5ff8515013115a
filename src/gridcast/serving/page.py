"""The page at `/` for people: pick a model and a series or drop a file, see the forecast."""

from __future__ import annotations

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined

from gridcast import __version__

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""The page needs nothing but this service."""


@functools.cache
def html(*, keys: bool) -> str:
    """The page; with `keys` it asks for one."""
    environment = Environment(
        loader=PackageLoader("gridcast.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(keys=keys, version=__version__)
