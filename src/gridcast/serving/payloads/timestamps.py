"""Time stamps of requests and responses."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

import numpy as np

from gridcast.serving import http_errors
from gridcast.serving.http_errors import invalid_input

EARLIEST_TIME = dt.datetime(1700, 1, 1)


MAX_MAGNITUDE = 1e30
"""A network counts in single precision, which ends at 3e38; what is infinite there would still give a number."""


@functools.lru_cache(maxsize=256)
def parse_timestamps(texts: tuple[str, ...], place: str) -> np.ndarray:
    """The times that `texts` mean, each later than the one before; remembered, as all ask of the same days."""
    found, last = [], EARLIEST_TIME
    for k, text in enumerate(texts):
        try:
            stamp = dt.datetime.fromisoformat(text)
            if stamp.tzinfo is not None:
                stamp = stamp.astimezone(dt.UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            raise invalid_input("is no date such as 2011-12-31 or 2011-12-31T13:00", f"{place}[{k}].time") from None
        if stamp <= last:
            if not k:
                raise invalid_input("lies before 1700", f"{place}[0].time", "wrong_order")
            raise order_error(f"{place}[{k}].time", same=stamp == last)
        found.append(stamp)
        last = stamp
    stamps = np.array(found, "datetime64[us]")
    stamps.flags.writeable = False
    return stamps


def order_error(place: str, *, same: bool) -> http_errors.HttpError:
    if same:
        return invalid_input("stands twice in the series", place, "duplicated")
    return invalid_input("is earlier than the step before; give the oldest step first", place, "wrong_order")


def format_timestamps(stamps: np.ndarray) -> Any:
    """Stamps as text, nested as they are: dates alone where all are at midnight."""
    days = stamps.astype("datetime64[D]")
    if (days == stamps).all():
        return np.datetime_as_string(days).tolist()
    seconds = stamps.astype("datetime64[s]")
    return np.datetime_as_string(seconds if (seconds == stamps).all() else stamps.astype("datetime64[us]")).tolist()
