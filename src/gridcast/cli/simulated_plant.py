"""A plant that is not there: simulated minutes over HTTP, as a stream asks for them, for demonstration and tests."""

from __future__ import annotations

import sys
import time as clock
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd

from gridcast.runtime.errors import ConfigError

TIME_COLUMN = "time"
"""The column of stamps in simulated data."""


class PlantServer(ThreadingHTTPServer):
    """One that has nothing to say of clients that hang up."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of an error, unless it is such a client."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def make_server(
    table: pd.DataFrame, labels: pd.DataFrame, host: str, port: int, speed: float, begun: int
) -> ThreadingHTTPServer:
    """A server at `host` and `port` (0: a free one), made but not started, that delivers the rows of `table`.

    The first `begun` rows are there at once; the others follow as the stamps say, `speed` times as fast as the clock.

    `GET /readings?after=STAMP&format=csv` gives the rows after that stamp (without it: all) that are due, as CSV
    or, with `format=json`, as a list of objects; `GET /labels` the anomalies that were simulated, due or not, for
    whoever wants to check. Raises ConfigError where the port cannot be had.
    """
    start, now = clock.monotonic(), pd.Timestamp(table[TIME_COLUMN].iloc[min(begun, len(table)) - 1])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            asked = dict(urllib.parse.parse_qsl(parts.query))
            due = now + pd.Timedelta(seconds=speed * (clock.monotonic() - start))
            try:
                found = {
                    "/readings": lambda: rows_due(table, asked.get("after"), due),
                    "/labels": lambda: labels,
                }[parts.path]()
            except KeyError:
                self._answer(404, "text/plain", "there are /readings?after=STAMP and /labels")
            except ValueError:
                self._answer(400, "text/plain", "after: give a stamp such as 2024-01-31T12:00:00")
            else:
                if asked.get("format") == "json":
                    self._answer(200, "application/json", found.to_json(orient="records", date_format="iso"))
                else:
                    self._answer(200, "text/csv", found.to_csv(index=False))

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: who follows tells what came."""

    try:
        return PlantServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"--port: {host}:{port} cannot be had: {error.strerror}; name another one") from None


def rows_due(table: pd.DataFrame, after: str | None, due: pd.Timestamp) -> pd.DataFrame:
    """The rows of `table` after the stamp `after` that are `due`. ValueError: `after` is no stamp."""
    rows = table[table[TIME_COLUMN] <= due]
    if after is None:
        return rows
    stamp = pd.Timestamp(after)
    return rows[rows[TIME_COLUMN] > (stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo else stamp)]
