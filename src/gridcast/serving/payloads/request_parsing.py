"""From a request to what a forecaster or a detector reads, every number in it checked."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridcast.runtime import time_axis
from gridcast.runtime.detector import scaled_values
from gridcast.runtime.errors import DataError
from gridcast.serving import http_errors
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.payloads import schemas
from gridcast.serving.payloads.request_frames import series_frame
from gridcast.serving.payloads.request_types import DetectionRequest, ForecastRequest
from gridcast.serving.payloads.timestamps import EARLIEST_TIME, MAX_MAGNITUDE, order_error, parse_timestamps
from gridcast.serving.rate_limits import RequestLimits

if TYPE_CHECKING:
    from gridcast.serving.models.served_model import ServedModel


# without a time zone, as in training
CLOCK_TOLERANCE = dt.timedelta(days=1)
"""Somewhere on earth it is tomorrow already."""


def horizon_and_levels(
    served: ServedModel, horizon: int | None, quantiles: Sequence[float] | None, limits: RequestLimits
) -> tuple[int, tuple[float, ...]]:
    """What is asked of the model, in its own terms. Raises Refusal (422)."""
    if horizon is not None and horizon > limits.horizon:
        raise invalid_input(f"at most {limits.horizon} steps ahead are forecast", "horizon", "limit_horizon")
    if quantiles is not None and len(quantiles) > limits.levels:
        raise invalid_input(f"at most {limits.levels} quantiles are told", "quantiles", "limit_quantiles")
    levels = None if quantiles is None else tuple(sorted(set(quantiles)))
    asked = {"horizon": horizon, "quantiles": levels}
    try:
        steps, told, _ = served.forecaster.asked(asked)
    except DataError as error:
        raise from_data_error(error, served, "quantiles") from None
    return steps, told


def parse_forecast(
    question: schemas.PredictRequest, served: ServedModel, limits: RequestLimits, now: dt.datetime
) -> ForecastRequest:
    """The question, checked and placed on an axis. Raises Refusal (422) that names the place.

    `now` is the time in UTC, without a time zone: later history is refused.
    """
    own = served.own
    horizon, levels = horizon_and_levels(served, question.horizon, question.quantiles, limits)
    ids = _ids(question, served, limits)
    rows = sum(len(series.history) + len(series.future) for series in question.series)
    if rows > limits.rows:
        raise invalid_input(f"{rows} rows are too many; at most {limits.rows} in a request", "series", "limit_rows")
    needed = (*own.past, *own.future_columns)
    passed_over = {name for name, _ in own.categories}
    times: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for number, series in enumerate(question.series):
        place = f"series[{number}].history"
        times.append(_stamps(series.history, None, now + CLOCK_TOLERANCE, place))
        values.append(_numbers(series.history, needed, passed_over, place))
    check_span(np.array([stamps[end] for stamps in times for end in (0, -1)]), served, limits, "series")
    where = np.repeat(np.arange(len(times)), [len(stamps) for stamps in times])
    for number, series in enumerate(question.series):
        if not series.future:
            continue
        place = f"series[{number}].future"
        if not own.future_columns:
            raise invalid_input("the model has no future covariate that is a column; leave it out", place)
        times.append(_stamps(series.future, times[number][-1], dt.datetime.max, place))
        known = _numbers(series.future, own.future_columns, passed_over, place)
        values.append(np.hstack([np.full((len(known), 1 + len(own.past)), np.nan), known]))
        where = np.append(where, np.full(len(known), number))
    try:
        if own.aggregate != "none":  # rows are finer than steps
            placed = served.forecaster.read(history_frame(question, served), horizon)
        else:
            stamps, matrix = (parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in (times, values))
            placed = served.forecaster.placed(ids, where, stamps, matrix.T, horizon)
    except DataError as error:
        raise from_data_error(error, served, "series", ids) from None
    return ForecastRequest(placed, horizon, levels, rows)


def check_table(
    path: str, frame: pd.DataFrame, served: ServedModel, limits: RequestLimits, now: dt.datetime
) -> pd.DataFrame:
    """The table of a file, its size and its times checked. Raises Refusal (422)."""
    own, detects = served.own, served.task == "anomaly"
    if len(frame) > limits.rows:
        raise invalid_input(f"{len(frame)} rows are too many; at most {limits.rows} in a file", path, "limit_rows")
    if own.keys and not detects and len(frame.drop_duplicates(list(own.keys))) > limits.series:
        raise invalid_input(f"at most {limits.series} series are forecast at once", path, "limit_series")
    for column in own.series if detects else (own.target, *own.past, *own.future_columns):
        large = np.flatnonzero(frame[column].abs() > MAX_MAGNITUDE)
        if len(large):
            raise invalid_input("no number that a network can read", f"row {large[0] + 1}, column '{column}'")
    times = frame[own.time] if detects else frame[own.time][frame[own.target].notna()]
    if len(times) and (times.min() < EARLIEST_TIME or times.max() > now + CLOCK_TOLERANCE):
        early = times.min() < EARLIEST_TIME
        row = int(times.argmin() if early else times.argmax())
        told = "lies before 1700" if early else "lies in the future; history ends now"
        raise invalid_input(f"a time with a value {told}", f"row {row + 1} with a value, column '{own.time}'")
    check_span(times.to_numpy(), served, limits, path)
    return frame


def parse_rows(
    asked: schemas.AnomalyRequest, served: ServedModel, limits: RequestLimits, now: dt.datetime
) -> DetectionRequest:
    """The rows for a detector, checked as histories are. Raises Refusal (422) that names the place."""
    own, sensors = served.own, served.detector.sensors
    if len(asked.rows) > limits.rows:
        raise invalid_input(
            f"{len(asked.rows)} rows are too many; at most {limits.rows} in a request", "rows", "limit_rows"
        )
    times = _stamps(asked.rows, None, now + CLOCK_TOLERANCE, "rows")
    table = pd.DataFrame(_numbers(asked.rows, sensors, set(), "rows", gaps=True), columns=list(sensors))
    table[own.time] = times
    check_span(table[own.time].to_numpy(), served, limits, "rows")
    return detection_request(table, served, "rows")


def detection_request(table: pd.DataFrame, served: ServedModel, where: str) -> DetectionRequest:
    """A table for a detector, checked already, on the axis of its steps. Raises Refusal."""
    detector = served.detector
    try:
        times, values = detector.read(table)
    except DataError as error:
        raise from_data_error(error, served, where) from None
    return DetectionRequest(times, values, scaled_values(detector.preprocessing, values))


def check_span(stamps: np.ndarray, served: ServedModel, limits: RequestLimits, where: str) -> None:
    """Refuse a history over more steps than rows are allowed, filled gaps among them."""
    if len(stamps) and (stamps.max() - stamps.min()) / served.step > limits.rows:
        raise invalid_input(f"the history spans more than {limits.rows} steps; give the last ones", where, "limit_rows")


def history_frame(question: schemas.PredictRequest, served: ServedModel) -> pd.DataFrame:
    """The question as a table with the experiment's own column names."""
    given = question.model_dump()["series"]
    ids = [series["id"] or served.own.series[0] for series in given]
    return pd.concat(
        [series_frame(served.own, series | {"id": name}) for series, name in zip(given, ids, strict=True)],
        ignore_index=True,
    )


def _ids(question: schemas.PredictRequest, served: ServedModel, limits: RequestLimits) -> list[str]:
    """The series asked for: known, and each once."""
    if len(question.series) > limits.series:
        raise invalid_input(f"at most {limits.series} series are forecast at once", "series", "limit_series")
    known, ids = served.own.codes, []
    for number, series in enumerate(question.series):
        place = f"series[{number}].id"
        if series.id is None and len(known) > 1:
            raise invalid_input("is missing; the model knows several series, see GET /models", place)
        name = served.own.series[0] if series.id is None else series.id
        if name not in known:
            raise invalid_input(
                "was not in the training data; GET /models tells which series were", place, "unknown_series"
            )
        if name in ids:
            raise invalid_input("the series stands twice in the request", place)
        ids.append(name)
    return ids


def _stamps(
    steps: Sequence[schemas.HistoryStep | schemas.FutureStep | schemas.SensorRow],
    after: np.datetime64 | None,
    until: dt.datetime,
    place: str,
) -> np.ndarray:
    """The times of `steps` (datetime64[us]), in UTC. Raises Refusal unless they rise from `after` to `until`."""
    texts = tuple([step.time for step in steps])
    found = (parse_timestamps if len(texts) <= time_axis.MAX_CACHED_STEPS else parse_timestamps.__wrapped__)(
        texts, place
    )
    if after is not None and found[0] <= after:
        raise order_error(f"{place}[0].time", same=bool(found[0] == after))
    if found[-1] > np.datetime64(until):
        first = int(np.searchsorted(found, np.datetime64(until), "right"))
        raise invalid_input("lies in the future; history ends now", f"{place}[{first}].time", "future_dated")
    return found


def _numbers(
    steps: Sequence[schemas.HistoryStep | schemas.FutureStep | schemas.SensorRow],
    columns: Sequence[str],
    passed_over: set[str],
    place: str,
    *,
    gaps: bool = False,
) -> np.ndarray:
    """What `steps` say (steps, columns), the value of observed ones first. Raises Refusal that names the place."""
    given = [schemas.extra_fields(step) for step in steps]
    rows: list[list[Any]] = [[step.value] if isinstance(step, schemas.HistoryStep) else [] for step in steps]
    for row, extra in zip(rows, given, strict=True):
        row.extend(map(extra.get, columns))
    if {type(value) for row in rows for value in row} <= {float, int} and set(map(len, given)) == {len(columns)}:
        found = np.array(rows)
        if found.dtype != object and (np.abs(found) <= MAX_MAGNITUDE).all():
            return found.astype(float, copy=False)
    for k, (extra, row) in enumerate(zip(given, rows, strict=True)):  # whatever is not as usual
        first = len(row) - len(columns)
        row[:first] = [_number(value, f"{place}[{k}].value") for value in row[:first]]
        row[first:] = _covariates(extra, columns, passed_over, f"{place}[{k}]", gaps=gaps)
    return np.array(rows, float)


def _covariates(
    given: Mapping[str, Any],
    needed: Sequence[str],
    passed_over: set[str],
    place: str,
    *,
    gaps: bool = False,
) -> list[float]:
    """The values of the columns `needed`, in that order; there must be no others. With `gaps` null is NaN."""
    found = []
    for name in needed:
        value = given.get(name)
        if gaps and value is None and name in given:
            found.append(math.nan)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problem = "is missing" if name not in given else "is no number"
            raise invalid_input(f"{problem}; the model reads it at each step", f"{place}.{name}", "ragged")
        found.append(_number(value, f"{place}.{name}"))
    if len(given) > len(needed) and set(given) - set(needed) - passed_over:
        allowed = ", ".join(needed) or "none"
        raise invalid_input(f"has a column that the model does not read (it reads: {allowed})", place, "unknown_column")
    return found


def _number(value: float, place: str) -> float:
    if not abs(value) <= MAX_MAGNITUDE:
        raise invalid_input("is no number that a network can read", place)
    return float(value)


def from_data_error(
    error: DataError, served: ServedModel, where: str, ids: Sequence[str] = ()
) -> http_errors.HttpError:
    """What a forecaster says of its input, as a refusal; it names one of the series `ids`, or none."""
    text = str(error)
    if text.startswith("quantiles: "):
        where, text = "quantiles", text.removeprefix("quantiles: ")
    named = [number for number, name in enumerate(ids) if f"series '{name}'" in text]
    return http_errors.from_table_error(text, served.names, f"{where}[{named[0]}]" if len(named) == 1 else where)
