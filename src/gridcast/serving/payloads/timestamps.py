"""Time stamps of requests and responses."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gridcast.runtime.time_axis import MAX_CACHED_STEPS
from gridcast.serving.http_errors import HttpError, invalid_input

EARLIEST_TIME = dt.datetime(1700, 1, 1)
"""Stamps before it do not fit into the nanoseconds of pandas."""


def parse_timestamps(texts: Sequence[str], place: str) -> np.ndarray:
    """Return the times (datetime64[us], UTC) of ISO 8601 `texts`, each later than the one before; do not write to it.

    Raises HttpError (422) for the first that is wrong, named after `place`.
    """
    # Requests of the same days have the same stamps, so short axes are cached; long ones would fill the memory.
    parse = _parse if len(texts) <= MAX_CACHED_STEPS else _parse.__wrapped__
    return parse(tuple(texts), place)


@functools.lru_cache(maxsize=256)
def _parse(texts: tuple[str, ...], place: str) -> np.ndarray:
    times, last = [], EARLIEST_TIME
    for k, text in enumerate(texts):
        try:
            time = dt.datetime.fromisoformat(text)
            if time.tzinfo is not None:
                time = time.astimezone(dt.UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            message = "is not a date such as 2011-12-31 or 2011-12-31T13:00"
            raise invalid_input(message, f"{place}[{k}].time") from None
        if time <= last:
            if not k:
                raise invalid_input("is before 1700", f"{place}[0].time", "wrong_order")
            raise order_error(f"{place}[{k}].time", is_duplicate=time == last)
        times.append(time)
        last = time
    stamps = np.array(times, "datetime64[us]")
    stamps.flags.writeable = False  # the cache hands the same array to every caller
    return stamps


def order_error(place: str, *, is_duplicate: bool) -> HttpError:
    """Return the error (422) for a stamp that is not later than the one before it."""
    if is_duplicate:
        return invalid_input("occurs twice in the series", place, "duplicated")
    return invalid_input("is earlier than the step before it; give the oldest step first", place, "wrong_order")


def format_timestamps(stamps: np.ndarray) -> Any:
    """Return stamps (datetime64, of any shape) as nested lists of text; without a time if all are at midnight."""
    days = stamps.astype("datetime64[D]")
    if (days == stamps).all():
        return np.datetime_as_string(days).tolist()
    seconds = stamps.astype("datetime64[s]")
    return np.datetime_as_string(seconds if (seconds == stamps).all() else stamps.astype("datetime64[us]")).tolist()
