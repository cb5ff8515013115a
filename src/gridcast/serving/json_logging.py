"""Logs as lines of JSON: who asked what of which model, and how long it took; never what was sent."""

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
    """One JSON object a line. Of an exception its kind and place: its message may quote what was sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, with what `extra={"told": …}` brought."""
        told = getattr(record, "told", {})
        if record.exc_info and record.exc_info[1] is not None:
            told = told | exception_fields(record.exc_info[1])
        return format_line(record.created, record.levelname.lower(), record.getMessage(), told)


def format_line(seconds: float, level: str, event: str, told: Mapping[str, Any]) -> str:
    """What is logged of an `event` so many seconds after 1970."""
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
    return to_json({"time": moment, "level": level, "event": event, **told}).decode()


def write_lines(lines: Sequence[str]) -> None:
    """Write `lines` at once, where all others are logged, but by none of the detours that others may take."""
    for handler in logging.getLogger(LOGGER_NAME).handlers:
        if lines and isinstance(handler, logging.StreamHandler):
            with handler.lock or contextlib.nullcontext():
                handler.stream.write("".join(f"{one}\n" for one in lines))
                handler.stream.flush()


def exception_fields(error: BaseException) -> dict[str, str]:
    """The kind of an exception and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "at": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""}


def configure(stream: IO[str] | None = None) -> None:
    """Log as JSON to `stream`, standard error by default; what gridcast warns of tables is not logged."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in (LOGGER_NAME, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("gridcast").setLevel(logging.CRITICAL)  # its warnings quote the words of a table
