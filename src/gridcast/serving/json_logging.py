"""Logs as lines of JSON: who called which route of which model, and how long it took; never the input itself."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import IO, Any

from pydantic_core import to_json

LOGGER_NAME = "gridcast.serving"


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object. Of an exception it shows type and place: its message may quote input."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, with the fields of `extra={"fields": …}`."""
        fields = getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            fields = fields | exception_fields(record.exc_info[1])
        return format_line(record.getMessage(), fields, seconds=record.created, level=record.levelname.lower())


def format_line(event: str, fields: Mapping[str, Any], *, seconds: float, level: str) -> str:
    """Return the log line of an `event` at `seconds` since 1970."""
    time = dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
    return to_json({"time": time, "level": level, "event": event, **fields}).decode()


def write_lines(lines: Sequence[str]) -> None:
    """Write `lines` to the streams of the log in one call each, bypassing the slower path through log records."""
    for handler in logging.getLogger(LOGGER_NAME).handlers:
        if lines and isinstance(handler, logging.StreamHandler):
            with handler.lock or contextlib.nullcontext():
                handler.stream.write("".join(f"{line}\n" for line in lines))
                handler.stream.flush()


def exception_fields(error: BaseException) -> dict[str, str]:
    """Return the type of an exception and the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "at": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""}


def configure(stream: IO[str] | None = None) -> None:
    """Log as JSON to `stream`, by default standard error. Warnings of gridcast about tables are not logged."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in (LOGGER_NAME, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("gridcast").setLevel(logging.CRITICAL)  # its warnings quote values of a table
