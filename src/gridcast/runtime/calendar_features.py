"""Covariates that follow from the time stamp, known as far ahead as anyone asks."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import time_axis
from .errors import DataError

CYCLES = {
    "minute_of_hour": 60,
    "hour": 24,
    "day_of_week": 7,
    "day_of_month": 31,
    "day_of_year": 366,
    "week_of_year": 53,
    "month": 12,
    "quarter": 4,
}
TREND = "trend"
BETWEEN, FOURIER, HOLIDAYS, EVENTS = "between:", "fourier:", "holidays:", "events:"
PREFIXES = (BETWEEN, FOURIER, HOLIDAYS, EVENTS)


@dataclass(frozen=True)
class MarkedDays:
    """The days that `name`, holidays or events, marks: looked up when the panel was built.

    `channels` gives for each channel its `labels` and its stretches of days, the first and the last
    of each. Nothing is known outside of the days `known`, both included; None: it holds for ever.
    """

    name: str
    labels: tuple[str, ...]
    channels: tuple[tuple[tuple[str, str], ...], ...]
    known: tuple[str, str] | None = None


def is_column(name: str) -> bool:
    """Whether a future covariate is a column of the table rather than one made from the time stamp."""
    return name not in CYCLES and name != TREND and not name.startswith(PREFIXES)


def similar_names(name: str) -> list[str]:
    """Names made from the time stamp that `name` may have meant, for a suggestion."""
    return [*CYCLES, TREND, *(prefix + name.partition(":")[2] for prefix in PREFIXES if ":" in name)]


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a `between:` that is not two dates in order, a `fourier:` that is no period and order."""
    for name in names:
        if name.startswith(BETWEEN):
            _interval(name)
        elif name.startswith(FOURIER):
            _harmonics(name)


def calendar_channel_names(names: Sequence[str], dated: Sequence[MarkedDays] = ()) -> tuple[str, ...]:
    """What each channel of `calendar` is made of: its name in `names`, with that of the event where it has one."""
    by_name = {one.name: one.labels for one in dated}
    found: list[str] = []
    for name in names:
        if not is_column(name):
            width = 2 * _harmonics(name)[1] if name.startswith(FOURIER) else 2 if name in CYCLES else 1
            found += by_name.get(name, (name,) * width)
    return tuple(found)


def calendar_channels(
    times: pd.DatetimeIndex | np.ndarray,
    names: Sequence[str],
    frequency: str = "D",
    dated: Sequence[MarkedDays] = (),
    span: tuple[str, str] | None = None,
) -> np.ndarray:
    """Channels (len(times), len(labels(names, dated))), float32; names that are columns are passed over.

    A cycle such as day_of_week becomes the sine and cosine of its phase, so that its end meets its
    beginning; `fourier:365.25:3` those of a period in days and of its half and its third.
    `between:2023-09-10:2023-11-02` is 1 where the stamp lies on those days, both included, else 0.
    What is `dated` is the share of marked days among those of a step of `frequency`: 0 or 1 up to a
    day, see `axis.days`. `trend` grows from 0 to 1 over the training span, whose first and last
    stamp is `span`, and goes on. Raises DataError for steps beyond what is known of holidays.
    """
    work = _calendar if len(times) <= time_axis.MAX_CACHED_STEPS else _calendar.__wrapped__
    return work(np.asarray(times, "datetime64[us]").tobytes(), tuple(names), frequency, tuple(dated), span)


@functools.lru_cache(maxsize=256)
def _calendar(
    stamps: bytes, names: tuple[str, ...], frequency: str, dated: tuple[MarkedDays, ...], span: tuple[str, str] | None
) -> np.ndarray:
    times = pd.DatetimeIndex(np.frombuffer(stamps, "datetime64[us]"))
    by_name = {one.name: one for one in dated}
    channels: list[np.ndarray] = []
    for name in names:
        if name in CYCLES:
            phase = 2 * np.pi * _position(times, name) / CYCLES[name]
            channels += [np.sin(phase), np.cos(phase)]
        elif name.startswith(FOURIER):
            period, order = _harmonics(name)
            phase = 2 * np.pi * _days_since(times, "2000-01-01") / period
            channels += [wave(k * phase) for k in range(1, order + 1) for wave in (np.sin, np.cos)]
        elif name.startswith(BETWEEN):
            start, end = _interval(name)
            channels.append(((times >= start) & (times < end + pd.Timedelta(days=1))).astype(float))
        elif name in by_name:
            channels += _marked(times, frequency, by_name[name])
        elif name == TREND:
            first, last = span or ("2000-01-01", "2001-01-01")
            length = (pd.Timestamp(last) - pd.Timestamp(first)) / pd.Timedelta(days=1)
            channels.append(_days_since(times, first) / (length or 1.0))
    found = np.stack(channels, axis=1).astype(np.float32) if channels else np.zeros((len(times), 0), np.float32)
    found.flags.writeable = False  # it is handed to others too
    return found


def _position(times: pd.DatetimeIndex, name: str) -> np.ndarray:
    if name == "week_of_year":
        return times.isocalendar().week.to_numpy(float) - 1
    start = {"day_of_month": 1, "day_of_year": 1, "month": 1, "quarter": 1}.get(name, 0)
    attribute = {"day_of_month": "day", "minute_of_hour": "minute"}.get(name, name)
    return np.asarray(getattr(times, attribute), float) - start


def _days_since(times: pd.DatetimeIndex, start: str) -> np.ndarray:
    return np.asarray((times - pd.Timestamp(start)) / pd.Timedelta(days=1), float)


def _interval(name: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    try:
        start, end = (dt.date.fromisoformat(part) for part in name.removeprefix(BETWEEN).split(":"))
    except ValueError:
        raise ValueError(f"'{name}': expected between:2023-09-10:2023-11-02") from None
    if end < start:
        raise ValueError(f"'{name}': ends before it starts")
    return pd.Timestamp(start), pd.Timestamp(end)


def _harmonics(name: str) -> tuple[float, int]:
    try:
        period, order = name.removeprefix(FOURIER).split(":")
        found = float(period), int(order)
    except ValueError:
        raise ValueError(f"'{name}': expected a period in days and an order, as fourier:365.25:3") from None
    if not (0 < found[0] < np.inf and 1 <= found[1] <= 50):
        raise ValueError(f"'{name}': expected a period above 0 days and an order of 1 to 50, as fourier:365.25:3")
    return found


def _marked(times: pd.DatetimeIndex, frequency: str, dated: MarkedDays) -> list[np.ndarray]:
    """For each channel the share of marked days (len(times),) of each step."""
    if not len(times):
        return [np.zeros(0) for _ in dated.channels]
    first, after = (found.to_numpy("datetime64[D]").astype(int) for found in time_axis.days_of_steps(times, frequency))
    if dated.known:
        since, until = (_day(text) for text in dated.known)
        beyond = np.flatnonzero((first < since) | (after - 1 > until))
        if len(beyond):
            raise DataError(
                f"{times[beyond[0]]}: '{dated.name}' is known from {dated.known[0]} to {dated.known[1]} only, as the "
                "model was trained; train again on newer data, or ask for fewer steps"
            )
    start, channels = first.min(), []
    for stretches in dated.channels:
        marks = np.zeros(after.max() - start, bool)
        for begun, last in stretches:
            marks[max(_day(begun) - start, 0) : max(_day(last) + 1 - start, 0)] = True
        until_then = np.concatenate([[0], np.cumsum(marks)])
        channels.append((until_then[after - start] - until_then[first - start]) / (after - first))
    return channels


def _day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(int))
