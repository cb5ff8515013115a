"""A simulated plant: an HTTP server of sensor readings that fall due minute by minute, for demonstrations and tests."""

from __future__ import annotations

import sys
import time as clock
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd

from gridcast.runtime.errors import ConfigError

TIME_COLUMN = "time"
"""The column of time stamps in simulated data."""


class PlantServer(ThreadingHTTPServer):
    """An HTTP server that does not report clients which hang up."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Report an error, unless a client hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def make_server(
    readings: pd.DataFrame, labels: pd.DataFrame, host: str, port: int, *, speed: float, ready: int
) -> ThreadingHTTPServer:
    """Return a server at `host` and `port` (0: a free one) that delivers the rows of `readings`; it is not started.

    The first `ready` rows are available at once; the others follow by their time stamps, `speed` times faster than
    real time.

    `GET /readings?after=TIME&format=csv` returns the due rows after that time (without it: all of them) as CSV or,
    with `format=json`, as a list of objects; `GET /labels` returns all simulated anomalies, due or not, for checking.
    Raises ConfigError if the port cannot be opened.
    """
    started, first_due = clock.monotonic(), pd.Timestamp(readings[TIME_COLUMN].iloc[min(ready, len(readings)) - 1])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(parts.query))
            due = first_due + pd.Timedelta(seconds=speed * (clock.monotonic() - started))
            try:
                table = {
                    "/readings": lambda: rows_due(readings, query.get("after"), due),
                    "/labels": lambda: labels,
                }[parts.path]()
            except KeyError:
                self._respond(404, "text/plain", "there are /readings?after=TIME and /labels")
            except ValueError:
                self._respond(400, "text/plain", "after: give a time such as 2024-01-31T12:00:00")
            else:
                if query.get("format") == "json":
                    self._respond(200, "application/json", table.to_json(orient="records", date_format="iso"))
                else:
                    self._respond(200, "text/csv", table.to_csv(index=False))

        def _respond(self, status: int, content_type: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{content_type}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: the client prints what it received."""

    try:
        return PlantServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"--port: cannot listen on {host}:{port}: {error.strerror}; choose another port") from None


def rows_due(readings: pd.DataFrame, after: str | None, due: pd.Timestamp) -> pd.DataFrame:
    """Return the rows of `readings` up to `due` and, if given, after the time `after`.

    Raises ValueError if `after` is not a time.
    """
    rows = readings[readings[TIME_COLUMN] <= due]
    if after is None:
        return rows
    stamp = pd.Timestamp(after)
    return rows[rows[TIME_COLUMN] > (stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo else stamp)]
