"""Web pages of other sites: those that may call the service, and those that may not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from gridcast.runtime.errors import ConfigError
from gridcast.serving.client_addresses import is_loopback
from gridcast.serving.http_errors import HttpError

PORT = re.compile(r":\d*$")


def parse_origins(options: Sequence[str]) -> tuple[str, ...]:
    """Return the origins of web pages, such as https://shop.example. Raises ConfigError."""
    for option in options:
        try:
            parts = urlsplit(option)
            is_origin = parts.scheme in ("http", "https") and option == f"{parts.scheme}://{parts.netloc}"
            is_origin = is_origin and bool(parts.hostname) and parts.username is None and parts.port != 0
        except ValueError:
            is_origin = False
        if not is_origin or option != option.lower():
            raise ConfigError(
                f"--cors-origin: '{option}' is not the origin of a web page; give scheme, host and perhaps a port in "
                "small letters, nothing after them, such as https://shop.example"
            )
    return tuple(dict.fromkeys(options))


def require_local_page(headers: Mapping[bytes, bytes], origins: Sequence[str]) -> None:
    """Raise HttpError (403) unless a request to an open service is addressed to this machine, and by no other site.

    Any web page can let the browser of this machine send requests here. The browser adds the origin of the page, of
    which only this service itself and the allowed `origins` pass.
    """
    host = headers.get(b"host", b"").decode("latin-1").lower()
    # A web page that made a name of its own point to this machine would send that name.
    if not is_loopback(PORT.sub("", host).strip("[]")):
        raise HttpError(403, "not_local", "this service is open to this machine only; address it as 127.0.0.1")
    origin = headers.get(b"origin")
    if origin is None:
        is_foreign = headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate"
    else:
        is_foreign = origin.decode("latin-1") not in (f"http://{host}", f"https://{host}", *origins)
    if is_foreign:
        text = "this service is open to its own pages only; --cors-origin allows the pages of another site"
        raise HttpError(403, "cross_site", text, where="Origin")
