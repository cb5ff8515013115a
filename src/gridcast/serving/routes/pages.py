"""The pages for people: at `/` they try a model and see what it says, at `/docs` they read how to ask it."""

from __future__ import annotations

import functools

from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from gridcast import __version__

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""The page at `/` needs nothing but this service."""
PLACE = '<div id="swagger-ui">'
OFFLINE = (
    "<p>This page is drawn by Swagger UI, which your browser fetches from cdn.jsdelivr.net. Where it has no way there, "
    'read <a href="openapi.json">openapi.json</a>: it has all that would stand here.</p>'
)


@functools.cache
def html(*, keys: bool) -> str:
    """The page; with `keys` it asks for one."""
    environment = Environment(
        loader=PackageLoader("gridcast.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(keys=keys, version=__version__)


async def documents() -> HTMLResponse:
    """The page at `/docs`, which says what is missing as long as it cannot be drawn."""
    drawn = get_swagger_ui_html(openapi_url="openapi.json", title="gridcast").body
    return HTMLResponse(bytes(drawn).decode().replace(PLACE, PLACE + OFFLINE))
