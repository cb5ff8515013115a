"""Time stamps of requests and responses."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from gridcast.runtime import local_time
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.time_axis import MAX_CACHED_STEPS
from gridcast.serving.http_errors import HttpError, invalid_input

EARLIEST_TIME = dt.datetime(1700, 1, 1)
"""Stamps before it do not fit into the nanoseconds of pandas."""
TIMES_AT_ONCE = 1000
"""Times that are converted together: meanwhile no other thread runs."""


def parse_timestamps(texts: Sequence[str], place: str, preprocessing: Preprocessing) -> np.ndarray:
    """Return the times (datetime64[us]), on the axis of the model, of ISO 8601 `texts`, each later than the one before.

    Do not write to it. Raises HttpError (422) for the first that is wrong, named after `place`.
    """
    # Requests of the same days have the same stamps, so short axes are cached; long ones would fill the memory.
    parse = _parse if len(texts) <= MAX_CACHED_STEPS else _parse.__wrapped__
    return parse(tuple(texts), place, preprocessing.time_zone, preprocessing.frequency)


@functools.lru_cache(maxsize=256)
def _parse(texts: tuple[str, ...], place: str, time_zone: str, frequency: str) -> np.ndarray:
    times, last = [], EARLIEST_TIME
    has_zoned_axis = local_time.has_zoned_axis(time_zone, frequency)
    for k, text in enumerate(texts):
        try:
            stamp = time = dt.datetime.fromisoformat(text)
            if stamp.tzinfo is not None or has_zoned_axis:
                time = local_time.axis_stamp(stamp, time_zone, frequency)
            if time <= last and has_zoned_axis:  # the second time of an hour that is repeated, where there is one
                time = local_time.axis_stamp(stamp.replace(fold=1), time_zone, frequency)
        except (ValueError, OverflowError):
            message = "is not a date such as 2011-12-31 or 2011-12-31T13:00"
            if has_zoned_axis:
                message += f", or was skipped by the clocks of {time_zone}"
            raise invalid_input(message, f"{place}[{k}].time") from None
        if time <= last:
            if not k:
                raise invalid_input("is before 1700", f"{place}[0].time", "wrong_order")
            raise order_error(f"{place}[{k}].time", is_duplicate=time == last)
        times.append(time)
        last = time
    stamps = np.empty(len(times), "datetime64[us]")
    for start in range(0, len(times), TIMES_AT_ONCE):
        stamps[start : start + TIMES_AT_ONCE] = times[start : start + TIMES_AT_ONCE]
    stamps.flags.writeable = False  # the cache hands the same array to every caller
    return stamps


def axis_stamps(column: pd.Series) -> np.ndarray:
    """Return the stamps (n,) of the time column of a table in use, datetime64[us], in UTC where they have a zone."""
    times = pd.DatetimeIndex(column)
    return (times if times.tz is None else times.tz_convert("UTC").tz_localize(None)).to_numpy("datetime64[us]")


def order_error(place: str, *, is_duplicate: bool) -> HttpError:
    """Return the error (422) for a stamp that is not later than the one before it."""
    if is_duplicate:
        return invalid_input("occurs twice in the series", place, "duplicated")
    return invalid_input("is earlier than the step before it; give the oldest step first", place, "wrong_order")


def timestamp_unit(stamps: np.ndarray) -> Literal["D", "s", "us"]:
    """Return the unit in which stamps (datetime64, of any shape) are written: days if all are at midnight."""
    if (stamps.astype("datetime64[D]") == stamps).all():
        return "D"
    return "s" if (stamps.astype("datetime64[s]") == stamps).all() else "us"


def format_timestamps(
    stamps: np.ndarray, preprocessing: Preprocessing, unit: Literal["D", "s", "us"] | None = None
) -> list[str]:
    """Return stamps (n,) (datetime64) on the axis of the model as texts, in their own unit or that of more of them.

    Without a time if all are at midnight; local times with their offset where the axis is in UTC and the zone is known.
    """
    if preprocessing.has_zoned_axis:
        return [stamp.isoformat() for stamp in preprocessing.with_zone(stamps)]
    in_unit = stamps.astype(f"datetime64[{unit or timestamp_unit(stamps)}]")
    texts: list[str] = []
    for start in range(0, len(stamps), TIMES_AT_ONCE):
        texts += np.datetime_as_string(in_unit[start : start + TIMES_AT_ONCE]).tolist()
    return texts
