"""Pages for people: `/` to try the models on, and `/docs` with the description of the API.

They load nothing from elsewhere: a script from another server could read the API key that is typed in here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import ChainableUndefined, Environment, PackageLoader, StrictUndefined

from gridcast import __version__

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""Headers of both pages."""
BOUNDS = (
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("exclusiveMinimum", "more than"),
    ("exclusiveMaximum", "less than"),
    ("maxLength", "length at most"),
)
FieldRow = tuple[str, Mapping[str, Any], bool, str | None]


@functools.cache
def try_page(*, needs_key: bool, root_path: str) -> str:
    """Return the page at `/`; it asks for an API key if requests need one."""
    environment = Environment(
        loader=PackageLoader("gridcast.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(needs_key=needs_key, root_path=root_path, version=__version__)


async def docs_page(request: Request) -> HTMLResponse:
    """Return the page at `/docs`."""
    page = await anyio.to_thread.run_sync(_docs, request.app)
    return HTMLResponse(page, headers=SECURITY_HEADERS)


@functools.lru_cache(maxsize=1)
def _docs(app: FastAPI) -> str:
    api = app.openapi()
    tags: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], []).append((method, path, operation))
    environment = Environment(
        loader=PackageLoader("gridcast.serving"), autoescape=True, undefined=ChainableUndefined, trim_blocks=True
    )
    environment.filters |= {"field_rows": _field_rows, "parameter_row": _parameter_row}
    return environment.get_template("docs.html").render(api=api, tags=tags, bounds=BOUNDS)


def _field_rows(schema: Mapping[str, Any]) -> Iterator[FieldRow]:
    for name, field in schema["properties"].items():
        yield name, field, name in schema.get("required", ()), field.get("description")


def _parameter_row(parameter: Mapping[str, Any]) -> FieldRow:
    text = parameter.get("description") or f"in the {parameter['in']}"
    return parameter["name"], parameter["schema"], parameter.get("required", False), text
