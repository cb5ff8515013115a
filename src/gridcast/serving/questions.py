"""From a request to what a forecaster or a detector reads, every number in it checked."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.anomaly.detector import channels
from gridcast.errors import DataError
from gridcast.serving import refusals, schemas
from gridcast.serving.limits import Limits
from gridcast.serving.models import Served
from gridcast.serving.refusals import wrong
from gridcast.serving.rows import frame

EARLIEST = dt.datetime(1700, 1, 1)  # without a time zone, as in training
AHEAD = dt.timedelta(days=1)
"""Somewhere on earth it is tomorrow already."""
LARGEST = 1e30
"""A network counts in single precision, which ends at 3e38; what is infinite there would still give a number."""


@dataclass(frozen=True)
class Asked:
    """What is to be forecast, as `Forecaster.answers` takes it; `rows` are those of the request."""

    placed: Any
    horizon: int
    levels: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class Whole:
    """What is to be forecast of a whole table."""

    horizon: int
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Readings:
    """What a detector is to look at: `values` (steps, sensors) in data units, NaN where nothing was seen.

    `scaled` are the same as its network reads them.
    """

    times: pd.DatetimeIndex
    values: np.ndarray
    scaled: np.ndarray


def horizon_and_levels(
    served: Served, horizon: int | None, quantiles: Sequence[float] | None, limits: Limits
) -> tuple[int, tuple[float, ...]]:
    """What is asked of the model, in its own terms. Raises Refusal (422)."""
    if horizon is not None and horizon > limits.horizon:
        raise wrong(f"at most {limits.horizon} steps ahead are forecast", "horizon", "limit_horizon")
    if quantiles is not None and len(quantiles) > limits.levels:
        raise wrong(f"at most {limits.levels} quantiles are told", "quantiles", "limit_quantiles")
    levels = None if quantiles is None else tuple(sorted(set(quantiles)))
    asked = {"horizon": horizon, "quantiles": levels}
    try:
        steps, told, _ = served.forecaster.asked(asked)
    except DataError as error:
        raise refused(error, served, "quantiles") from None
    return steps, told


def read(question: schemas.Question, served: Served, limits: Limits, now: dt.datetime) -> Asked:
    """The question, checked and placed on an axis. Raises Refusal (422) that names the place.

    `now` is the time in UTC, without a time zone: later history is refused.
    """
    own = served.own
    horizon, levels = horizon_and_levels(served, question.horizon, question.quantiles, limits)
    ids = _ids(question, served, limits)
    rows = sum(len(series.history) + len(series.future) for series in question.series)
    if rows > limits.rows:
        raise wrong(f"{rows} rows are too many; at most {limits.rows} in a request", "series", "limit_rows")
    needed = (*own.past, *own.future_columns)
    passed_over = {name for name, _ in own.categories}
    where: list[int] = []
    times: list[dt.datetime] = []
    values: list[list[float]] = []
    nothing = [math.nan] * (1 + len(own.past))
    for number, series in enumerate(question.series):
        place = f"series[{number}]"
        last = EARLIEST
        for k, step in enumerate(series.history):
            last = _stamp(step.time, last, now + AHEAD, f"{place}.history[{k}].time")
            times.append(last)
            values.append(
                [
                    _number(step.value, f"{place}.history[{k}].value"),
                    *_covariates(step, needed, passed_over, f"{place}.history[{k}]"),
                ]
            )
        if series.future and not own.future_columns:
            raise wrong("the model has no future covariate that is a column; leave it out", f"{place}.future")
        for k, ahead in enumerate(series.future):
            last = _stamp(ahead.time, last, dt.datetime.max, f"{place}.future[{k}].time")
            times.append(last)
            values.append(nothing + _covariates(ahead, own.future_columns, passed_over, f"{place}.future[{k}]"))
        where += [number] * (len(series.history) + len(series.future))
    stamps = np.array(times, "datetime64[us]")
    history = [row for row, numbers in enumerate(values) if not math.isnan(numbers[0])]
    spread(stamps[history], served, limits, "series")
    try:
        if own.aggregate != "none":  # rows are finer than steps
            placed = served.forecaster.read(frames(question, served), horizon)
        else:
            placed = served.forecaster.placed(ids, np.array(where), stamps, np.array(values).T, horizon)
    except DataError as error:
        raise refused(error, served, "series", ids) from None
    return Asked(placed, horizon, levels, rows)


def table(path: str, frame: pd.DataFrame, served: Served, limits: Limits, now: dt.datetime) -> pd.DataFrame:
    """The table of a file, its size and its times checked. Raises Refusal (422)."""
    own, detects = served.own, served.task == "anomaly"
    if len(frame) > limits.rows:
        raise wrong(f"{len(frame)} rows are too many; at most {limits.rows} in a file", path, "limit_rows")
    if own.keys and not detects and len(frame.drop_duplicates(list(own.keys))) > limits.series:
        raise wrong(f"at most {limits.series} series are forecast at once", path, "limit_series")
    for column in own.series if detects else (own.target, *own.past, *own.future_columns):
        large = np.flatnonzero(frame[column].abs() > LARGEST)
        if len(large):
            raise wrong("no number that a network can read", f"row {large[0] + 1}, column '{column}'")
    times = frame[own.time] if detects else frame[own.time][frame[own.target].notna()]
    if len(times) and (times.min() < EARLIEST or times.max() > now + AHEAD):
        early = times.min() < EARLIEST
        row = int(times.argmin() if early else times.argmax())
        told = "lies before 1700" if early else "lies in the future; history ends now"
        raise wrong(f"a time with a value {told}", f"row {row + 1} with a value, column '{own.time}'")
    spread(times.to_numpy(), served, limits, path)
    return frame


def rows(asked: schemas.Rows, served: Served, limits: Limits, now: dt.datetime) -> Readings:
    """The rows for a detector, checked as histories are. Raises Refusal (422) that names the place."""
    own, sensors = served.own, served.detector.sensors
    if len(asked.rows) > limits.rows:
        raise wrong(f"{len(asked.rows)} rows are too many; at most {limits.rows} in a request", "rows", "limit_rows")
    last, times, values = EARLIEST, [], []
    for k, row in enumerate(asked.rows):
        last = _stamp(row.time, last, now + AHEAD, f"rows[{k}].time")
        times.append(last)
        values.append(_covariates(row, sensors, set(), f"rows[{k}]", gaps=True))
    table = pd.DataFrame(np.array(values, float), columns=list(sensors))
    table[own.time] = np.array(times, "datetime64[us]")
    spread(table[own.time].to_numpy(), served, limits, "rows")
    return readings(table, served, "rows")


def readings(table: pd.DataFrame, served: Served, where: str) -> Readings:
    """A table for a detector, checked already, on the axis of its steps. Raises Refusal."""
    detector = served.detector
    try:
        times, values = detector.read(table)
    except DataError as error:
        raise refused(error, served, where) from None
    return Readings(times, values, channels(detector.preprocessing, values))


def spread(stamps: np.ndarray, served: Served, limits: Limits, where: str) -> None:
    """Refuse a history over more steps than rows are allowed, filled gaps among them."""
    if len(stamps) and (stamps.max() - stamps.min()) / served.step > limits.rows:
        raise wrong(f"the history spans more than {limits.rows} steps; give the last ones", where, "limit_rows")


def frames(question: schemas.Question, served: Served) -> pd.DataFrame:
    """The question as a table with the experiment's own column names."""
    given = question.model_dump()["series"]
    ids = [series["id"] or served.own.series[0] for series in given]
    return pd.concat(
        [frame(served.own, series | {"id": name}) for series, name in zip(given, ids, strict=True)],
        ignore_index=True,
    )


def _ids(question: schemas.Question, served: Served, limits: Limits) -> list[str]:
    """The series asked for: known, and each once."""
    if len(question.series) > limits.series:
        raise wrong(f"at most {limits.series} series are forecast at once", "series", "limit_series")
    known, ids = served.own.series, []
    for number, series in enumerate(question.series):
        place = f"series[{number}].id"
        if series.id is None and len(known) > 1:
            raise wrong("is missing; the model knows several series, see GET /models", place)
        name = known[0] if series.id is None else series.id
        if name not in known:
            raise wrong("was not in the training data; GET /models tells which series were", place, "unknown_series")
        if name in ids:
            raise wrong("the series stands twice in the request", place)
        ids.append(name)
    return ids


def _stamp(text: str, after: dt.datetime, until: dt.datetime, place: str) -> dt.datetime:
    """The time that `text` means, in UTC without a time zone. Raises Refusal unless it is later than `after`."""
    try:
        found = dt.datetime.fromisoformat(text)
        if found.tzinfo is not None:
            found = found.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise wrong("is no date such as 2011-12-31 or 2011-12-31T13:00", place) from None
    if found > until:
        raise wrong("lies in the future; history ends now", place, "future_dated")
    if found <= after:
        if found == after:
            raise wrong("stands twice in the series", place, "duplicated")
        first = after == EARLIEST
        text = "lies before 1700" if first else "is earlier than the step before; give the oldest step first"
        raise wrong(text, place, "wrong_order")
    return found


def _covariates(
    step: schemas.Observed | schemas.Ahead | schemas.Row,
    needed: Sequence[str],
    passed_over: set[str],
    place: str,
    *,
    gaps: bool = False,
) -> list[float]:
    """The values of the columns `needed`, in that order; there must be no others. With `gaps` null is NaN."""
    given = schemas.extras(step)
    found = []
    for name in needed:
        value = given.get(name)
        if gaps and value is None and name in given:
            found.append(math.nan)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problem = "is missing" if name not in given else "is no number"
            raise wrong(f"{problem}; the model reads it at each step", f"{place}.{name}", "ragged")
        found.append(_number(value, f"{place}.{name}"))
    if len(given) > len(needed) and set(given) - set(needed) - passed_over:
        allowed = ", ".join(needed) or "none"
        raise wrong(f"has a column that the model does not read (it reads: {allowed})", place, "unknown_column")
    return found


def _number(value: float, place: str) -> float:
    if not abs(value) <= LARGEST:
        raise wrong("is no number that a network can read", place)
    return float(value)


def refused(error: DataError, served: Served, where: str, ids: Sequence[str] = ()) -> refusals.Refusal:
    """What a forecaster says of its input, as a refusal; it names one of the series `ids`, or none."""
    text = str(error)
    if text.startswith("quantiles: "):
        where, text = "quantiles", text.removeprefix("quantiles: ")
    named = [number for number, name in enumerate(ids) if f"series '{name}'" in text]
    return refusals.of_table(text, served.names, f"{where}[{named[0]}]" if len(named) == 1 else where)
