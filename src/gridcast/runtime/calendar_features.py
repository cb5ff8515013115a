"""Covariates that follow from the time stamp, and are therefore known as far ahead as a forecast goes."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
"""Cyclic features and their periods, in units of the feature."""
TREND = "trend"
BETWEEN, FOURIER, HOLIDAYS, EVENTS = "between:", "fourier:", "holidays:", "events:"
PREFIXES = (BETWEEN, FOURIER, HOLIDAYS, EVENTS)
MAX_ORDER = 50
"""Harmonics of a `fourier:` feature."""


@dataclass(frozen=True)
class MarkedDays:
    """The days that the covariate `name`, holidays or events, marks; looked up when the panel was built.

    `labels` names each channel; `channels` holds, for each, pairs of the first and the last day of an event.
    The days are complete within `known_span`, both ends included; None: they hold for ever. Dates are ISO texts.
    """

    name: str
    labels: tuple[str, ...]
    channels: tuple[tuple[tuple[str, str], ...], ...]
    known_span: tuple[str, str] | None = None

    @property
    def fingerprint_text(self) -> str:
        """Text of these days that goes into the fingerprint of a panel.

        The words are those of the first version, or runs that finished before would not be recognised.
        """
        return (
            f"Dated(name={self.name!r}, labels={self.labels!r}, channels={self.channels!r}, known={self.known_span!r})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings, by the keys of forecaster.json."""
        return {
            "name": self.name,
            "labels": list(self.labels),
            "channels": [[list(event) for event in events] for events in self.channels],
            "known": None if self.known_span is None else list(self.known_span),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> MarkedDays:
        """Return the days that `to_json` gave."""
        channels = tuple(tuple((first, last) for first, last in events) for events in content["channels"])
        known = content.get("known")
        return cls(content["name"], tuple(content["labels"]), channels, None if known is None else (known[0], known[1]))


def is_column(name: str) -> bool:
    """Whether a future covariate is a column of the table rather than a feature of the time stamp."""
    return name not in CYCLES and name != TREND and not name.startswith(PREFIXES)


def similar_names(name: str) -> list[str]:
    """Return the calendar features that `name` may be a misspelling of, as candidates for a suggestion."""
    return [*CYCLES, TREND, *(prefix + name.partition(":")[2] for prefix in PREFIXES if ":" in name)]


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a `between:` without two dates in order, or a `fourier:` without a period and an order."""
    for name in names:
        if name.startswith(BETWEEN):
            _interval(name)
        elif name.startswith(FOURIER):
            _period_and_order(name)


def calendar_channel_names(names: Sequence[str], marked_days: Sequence[MarkedDays] = ()) -> tuple[str, ...]:
    """Return for each channel of `calendar_channels` the covariate that it comes from, with its event if it has one."""
    labels = {days.name: days.labels for days in marked_days}
    channel_names: list[str] = []
    for name in names:
        if not is_column(name):
            width = 2 * _period_and_order(name)[1] if name.startswith(FOURIER) else 2 if name in CYCLES else 1
            channel_names += labels.get(name, (name,) * width)
    return tuple(channel_names)


def calendar_channels(
    times: pd.DatetimeIndex | np.ndarray,
    names: Sequence[str],
    frequency: str = "D",
    marked_days: Sequence[MarkedDays] = (),
    training_span: tuple[str, str] | None = None,
) -> np.ndarray:
    """Return the calendar features in `names` as float32 channels (steps, channels); columns in `names` are skipped.

    - A cycle such as `day_of_week`: sine and cosine of its phase, so that its end meets its beginning.
    - `fourier:365.25:3`: sine and cosine of a period in days, of its half and of its third.
    - `between:2023-09-10:2023-11-02`: 1 on these days, both included, else 0.
    - `marked_days`: the share of marked days among the days of a step of `frequency`, see `time_axis.days_of_steps`.
    - `trend`: grows from 0 to 1 over `training_span` (first and last stamp), and goes on beyond it.

    Raises DataError for steps outside the known span of the marked days.
    """
    # Requests to a service ask for the same few days again and again; a long training axis would fill the cache.
    compute = _calendar_channels if len(times) <= time_axis.MAX_CACHED_STEPS else _calendar_channels.__wrapped__
    stamps = np.asarray(times, "datetime64[us]").tobytes()
    return compute(stamps, tuple(names), frequency, tuple(marked_days), training_span)


@functools.lru_cache(maxsize=256)
def _calendar_channels(
    stamps: bytes,
    names: tuple[str, ...],
    frequency: str,
    marked_days: tuple[MarkedDays, ...],
    training_span: tuple[str, str] | None,
) -> np.ndarray:
    times = pd.DatetimeIndex(np.frombuffer(stamps, "datetime64[us]"))
    days_by_name = {days.name: days for days in marked_days}
    channels: list[np.ndarray] = []
    for name in names:
        if name in CYCLES:
            phase = 2 * np.pi * _position_in_cycle(times, name) / CYCLES[name]
            channels += [np.sin(phase), np.cos(phase)]
        elif name.startswith(FOURIER):
            period, order = _period_and_order(name)
            phase = 2 * np.pi * _days_since(times, "2000-01-01") / period
            channels += [wave(k * phase) for k in range(1, order + 1) for wave in (np.sin, np.cos)]
        elif name.startswith(BETWEEN):
            first, last = _interval(name)
            channels.append(((times >= first) & (times < last + pd.Timedelta(days=1))).astype(float))
        elif name in days_by_name:
            channels += _marked_shares(times, frequency, days_by_name[name])
        elif name == TREND:
            first_stamp, last_stamp = training_span or ("2000-01-01", "2001-01-01")
            length = (pd.Timestamp(last_stamp) - pd.Timestamp(first_stamp)) / pd.Timedelta(days=1)
            channels.append(_days_since(times, first_stamp) / (length or 1.0))
    array = np.stack(channels, axis=1).astype(np.float32) if channels else np.zeros((len(times), 0), np.float32)
    array.flags.writeable = False  # the cache hands the same array to every caller
    return array


def _position_in_cycle(times: pd.DatetimeIndex, name: str) -> np.ndarray:
    """Position (steps,) within the cycle, from 0."""
    if name == "week_of_year":
        return times.isocalendar().week.to_numpy(float) - 1
    start = {"day_of_month": 1, "day_of_year": 1, "month": 1, "quarter": 1}.get(name, 0)
    attribute = {"day_of_month": "day", "minute_of_hour": "minute"}.get(name, name)
    return np.asarray(getattr(times, attribute), float) - start


def _days_since(times: pd.DatetimeIndex, start: str) -> np.ndarray:
    return np.asarray((times - pd.Timestamp(start)) / pd.Timedelta(days=1), float)


def _interval(name: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    try:
        first, last = (dt.date.fromisoformat(part) for part in name.removeprefix(BETWEEN).split(":"))
    except ValueError:
        raise ValueError(f"'{name}': expected between:2023-09-10:2023-11-02") from None
    if last < first:
        raise ValueError(f"'{name}': ends before it starts")
    return pd.Timestamp(first), pd.Timestamp(last)


def _period_and_order(name: str) -> tuple[float, int]:
    try:
        period_text, order_text = name.removeprefix(FOURIER).split(":")
        period, order = float(period_text), int(order_text)
    except ValueError:
        raise ValueError(f"'{name}': expected a period in days and an order, such as fourier:365.25:3") from None
    if not (0 < period < np.inf and 1 <= order <= MAX_ORDER):
        raise ValueError(
            f"'{name}': expected a period above 0 days and an order of 1 to {MAX_ORDER}, such as fourier:365.25:3"
        )
    return period, order


def _marked_shares(times: pd.DatetimeIndex, frequency: str, marked: MarkedDays) -> list[np.ndarray]:
    """Return for each channel the share (steps,) of marked days among the days of each step."""
    if not len(times):
        return [np.zeros(0) for _ in marked.channels]
    # Days are counted from 1970; each step covers the days [first, end).
    first, end = (stamps.to_numpy("datetime64[D]").astype(int) for stamps in time_axis.days_of_steps(times, frequency))
    if marked.known_span:
        known_first, known_last = (_day_number(text) for text in marked.known_span)
        outside = np.flatnonzero((first < known_first) | (end - 1 > known_last))
        if len(outside):
            raise DataError(
                f"{times[outside[0]]}: '{marked.name}' is known from {marked.known_span[0]} to "
                f"{marked.known_span[1]} only, as of training; train again on newer data, or ask for fewer steps"
            )
    start, shares = first.min(), []
    for events in marked.channels:
        is_marked = np.zeros(end.max() - start, bool)
        for event_first, event_last in events:
            is_marked[max(_day_number(event_first) - start, 0) : max(_day_number(event_last) + 1 - start, 0)] = True
        marked_before = np.concatenate([[0], np.cumsum(is_marked)])
        shares.append((marked_before[end - start] - marked_before[first - start]) / (end - first))
    return shares


def _day_number(text: str) -> int:
    return int(np.datetime64(text, "D").astype(int))
