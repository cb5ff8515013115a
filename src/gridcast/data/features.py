"""Covariates that follow from the time stamp alone, known as far ahead as anyone asks."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

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
BETWEEN = "between:"


def is_column(name: str) -> bool:
    """Whether a future covariate is a column of the table rather than one made from the time stamp."""
    return name not in CYCLES and not name.startswith(BETWEEN)


def width(names: tuple[str, ...]) -> int:
    """How many channels `calendar` gives for `names`."""
    return sum(2 if name in CYCLES else 1 for name in names if not is_column(name))


def calendar(times: pd.DatetimeIndex, names: tuple[str, ...]) -> np.ndarray:
    """Channels (len(times), width(names)), float32, within [-1, 1].

    A cycle such as day_of_week becomes the sine and cosine of its phase, so that its end meets its
    beginning; `between:2023-09-10:2023-11-02` is 1 on those days, both included, else 0. Names that
    are columns are passed over. Raises ValueError for a `between:` that is not two dates in order.
    """
    channels: list[np.ndarray] = []
    for name in names:
        if name in CYCLES:
            phase = 2 * np.pi * _position(times, name) / CYCLES[name]
            channels += [np.sin(phase), np.cos(phase)]
        elif name.startswith(BETWEEN):
            start, end = _interval(name)
            channels.append(((times >= start) & (times < end + pd.Timedelta(days=1))).astype(float))
    return np.stack(channels, axis=1).astype(np.float32) if channels else np.zeros((len(times), 0), np.float32)


def _position(times: pd.DatetimeIndex, name: str) -> np.ndarray:
    if name == "week_of_year":
        return times.isocalendar().week.to_numpy(float) - 1
    start = {"day_of_month": 1, "day_of_year": 1, "month": 1, "quarter": 1}.get(name, 0)
    attribute = {"day_of_month": "day", "minute_of_hour": "minute"}.get(name, name)
    return np.asarray(getattr(times, attribute), float) - start


def _interval(name: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    try:
        start, end = (dt.date.fromisoformat(part) for part in name.removeprefix(BETWEEN).split(":"))
    except ValueError:
        raise ValueError(f"'{name}': expected between:2023-09-10:2023-11-02") from None
    if end < start:
        raise ValueError(f"'{name}': ends before it starts")
    return pd.Timestamp(start), pd.Timestamp(end)
