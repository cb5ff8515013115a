"""Pages for people: `/` to try the models on, and `/docs` with the description of the API."""

from __future__ import annotations

import functools

from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from gridcast import __version__

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""Headers of the page at `/`, which loads nothing from elsewhere."""
SWAGGER_ELEMENT = '<div id="swagger-ui">'
OFFLINE_NOTE = (
    "<p>Swagger UI draws this page; your browser loads it from cdn.jsdelivr.net. Without internet access, read "
    '<a href="openapi.json">openapi.json</a>: it has the whole description.</p>'
)


@functools.cache
def try_page(*, needs_key: bool) -> str:
    """Return the page at `/`; it asks for an API key if requests need one."""
    environment = Environment(
        loader=PackageLoader("gridcast.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(needs_key=needs_key, version=__version__)


async def docs_page() -> HTMLResponse:
    """Return the page at `/docs`; a note stands there until Swagger UI is loaded."""
    page = get_swagger_ui_html(openapi_url="openapi.json", title="gridcast").body
    return HTMLResponse(bytes(page).decode().replace(SWAGGER_ELEMENT, SWAGGER_ELEMENT + OFFLINE_NOTE))
