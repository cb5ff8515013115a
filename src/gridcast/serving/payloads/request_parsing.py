"""From a validated request to the input of a forecaster or detector; every number and stamp in it is checked."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.runtime.detector import scaled_values
from gridcast.runtime.errors import DataError
from gridcast.runtime.forecast_params import parse_params
from gridcast.runtime.input_rows import InputRows
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving import http_errors, request_costs
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import schemas
from gridcast.serving.payloads.request_frames import history_frame
from gridcast.serving.payloads.request_types import DetectionRequest, ForecastRequest
from gridcast.serving.payloads.row_pieces import RowPieces, pieces_of
from gridcast.serving.payloads.timestamps import EARLIEST_TIME, axis_stamps, order_error, parse_timestamps
from gridcast.serving.rate_limits import RequestLimits

CLOCK_TOLERANCE = dt.timedelta(days=1)
"""Stamps have no time zone; somewhere it is tomorrow already."""
MAX_MAGNITUDE = 1e30
"""Networks use single precision, which ends at 3e38: a larger value would overflow, and still yield a number."""
Steps = Sequence[schemas.HistoryStep | schemas.FutureStep | schemas.SensorRow]


@dataclass(frozen=True)
class Columns:
    """The columns that a model reads of each step beside its value; those to `ignore` may be there as well.

    With `allow_null` a null is a missing value.
    """

    names: tuple[str, ...]
    ignore: frozenset[str] = frozenset()
    allow_null: bool = False


def horizon_and_levels(
    served: ServedModel, *, horizon: int | None, quantiles: Sequence[float] | None, limits: RequestLimits
) -> tuple[int, tuple[float, ...]]:
    """Return the steps ahead and the quantile levels to forecast, by default those of the model.

    Raises HttpError (422).
    """
    if horizon is not None and horizon > limits.horizon:
        raise invalid_input(f"at most {limits.horizon} steps ahead can be forecast", "horizon", "limit_horizon")
    if quantiles is not None and len(quantiles) > limits.levels:
        raise invalid_input(f"at most {limits.levels} quantiles can be forecast", "quantiles", "limit_quantiles")
    params = {"horizon": horizon, "quantiles": None if quantiles is None else tuple(sorted(set(quantiles)))}
    try:
        steps, levels, _ = parse_params(params, served.forecaster.preprocessing.horizon, served.forecaster.quantiles)
    except DataError as error:
        raise from_data_error(error, served, "quantiles") from None
    return steps, levels


def parse_forecast(
    request: schemas.PredictRequest, served: ServedModel, *, limits: RequestLimits, now: dt.datetime
) -> ForecastRequest:
    """Return the request on a time axis. Raises HttpError (422) with the place of what is wrong.

    `now` is the time in UTC, without a time zone: history after it is refused.
    """
    preprocessing = served.preprocessing
    horizon, levels = horizon_and_levels(served, horizon=request.horizon, quantiles=request.quantiles, limits=limits)
    ids = _series_ids(request, served, limits)
    rows = row_count(request)
    _check_row_count(rows, limits, "series")
    request_costs.check_values(len(ids) * horizon * (1 + len(levels)), limits, "series")
    ignored = frozenset(name for name, _ in preprocessing.categories)
    history_columns = Columns((*preprocessing.past, *preprocessing.future_columns), ignored)
    stamps: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for number, series in enumerate(request.series):
        place = f"series[{number}].history"
        texts, of_series = _texts_and_values(series.history, history_columns, place)
        stamps.append(_stamps(texts, place, preprocessing, until=now + CLOCK_TOLERANCE))
        values.append(of_series)
    first, last = min(times[0] for times in stamps), max(times[-1] for times in stamps)
    check_span(first, last, served=served, limits=limits, place="series", series=len(ids))
    lengths = [len(times) for times in stamps]
    series_of_rows = np.repeat(np.arange(len(stamps)), lengths)
    for number, series in enumerate(request.series):
        if len(series.future):
            place = f"series[{number}].future"
            if not preprocessing.future_columns:
                raise invalid_input("the model reads no column of future steps; leave them out", place)
            texts, known = _texts_and_values(series.future, Columns(preprocessing.future_columns, ignored), place)
            stamps.append(_future_stamps(texts, place, served=served, after=stamps[number][-1]))
            # The target and the past columns are NaN.
            unknown = np.full((len(known), 1 + len(preprocessing.past)), np.nan)
            values.append(np.hstack([unknown, known]))
            series_of_rows = np.append(series_of_rows, np.full(len(series.future), number))
    try:
        if preprocessing.aggregate != "none":  # several rows make a step
            forecast_input = served.forecaster.read_table(history_frame(request, preprocessing), horizon)
        else:
            all_stamps, all_values = (
                parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in (stamps, values)
            )
            input_rows = InputRows(ids, series_of_rows, all_stamps, all_values.T)
            forecast_input = served.forecaster.input_from_rows(input_rows, horizon)
    except DataError as error:
        raise from_data_error(error, served, "series", ids=ids) from None
    return ForecastRequest(forecast_input, horizon, levels, rows)


def row_count(request: schemas.PredictRequest) -> int:
    """Return the number of steps in a request."""
    return sum(len(series.history) + len(series.future) for series in request.series)


def parse_rows(
    request: schemas.AnomalyRequest, served: ServedModel, *, limits: RequestLimits, now: dt.datetime
) -> DetectionRequest:
    """Return the rows of a request to a detector, checked as a history is. Raises HttpError (422)."""
    sensors = served.detector.sensors
    _check_row_count(len(request.rows), limits, "rows")
    preprocessing = served.preprocessing
    texts, values = _texts_and_values(request.rows, Columns(sensors, allow_null=True), "rows")
    stamps = _stamps(texts, "rows", preprocessing, until=now + CLOCK_TOLERANCE)
    check_span(stamps[0], stamps[-1], served=served, limits=limits, place="rows")
    times = preprocessing.with_zone(stamps)
    table = pd.DataFrame(values, columns=list(sensors)).assign(**{preprocessing.time: times})
    return detection_request(table, served, "rows")


def detection_request(table: pd.DataFrame, served: ServedModel, place: str) -> DetectionRequest:
    """Return a table for a detector, whose size and times are checked already. Raises HttpError (422)."""
    detector = served.detector
    try:
        times, values = detector.read_table(table)
    except DataError as error:
        raise from_data_error(error, served, place) from None
    return DetectionRequest(times, values, scaled_values(detector.preprocessing, values))


def series_count(table: pd.DataFrame, preprocessing: Preprocessing) -> int:
    """Return the number of series in an uploaded table for a forecaster."""
    return len(table.drop_duplicates(list(preprocessing.keys))) if preprocessing.keys else 1


def check_table(table: pd.DataFrame, served: ServedModel, *, limits: RequestLimits, now: dt.datetime) -> None:
    """Raise HttpError (422) for an uploaded table that is too large, or has a number or time that is out of range."""
    preprocessing, is_detector = served.preprocessing, served.task == "anomaly"
    if len(table) > limits.rows:
        raise invalid_input(f"{len(table)} rows are too many; at most {limits.rows} in a file", "file", "limit_rows")
    series = 1 if is_detector else series_count(table, preprocessing)
    if series > limits.series:
        raise _too_many_series(limits, "file")
    target_columns = (preprocessing.target, *preprocessing.past, *preprocessing.future_columns)
    for column in preprocessing.series if is_detector else target_columns:
        too_large = np.flatnonzero(table[column].abs() > MAX_MAGNITUDE)
        if len(too_large):
            text = f"is larger than the network can read (at most {MAX_MAGNITUDE:g})"
            raise invalid_input(text, f"row {too_large[0] + 1}, column '{column}'")
    times = pd.Series(axis_stamps(table[preprocessing.time]), index=table.index)
    if not is_detector:
        times = times[table[preprocessing.target].notna()]
    if not len(times):
        return
    place = f"with a value, column '{preprocessing.time}'"
    if times.min() < EARLIEST_TIME:
        raise invalid_input("a time with a value is before 1700", f"row {int(times.argmin()) + 1} {place}")
    if times.max() > now + CLOCK_TOLERANCE:
        text = "a time with a value is in the future; history must end now"
        raise invalid_input(text, f"row {int(times.argmax()) + 1} {place}")
    stamps = times.to_numpy()
    check_span(stamps.min(), stamps.max(), served=served, limits=limits, place="file", series=series)


def check_span(
    first: np.datetime64,
    last: np.datetime64,
    *,
    served: ServedModel,
    limits: RequestLimits,
    place: str,
    series: int = 1,
) -> None:
    """Raise HttpError (422) for a history over more steps than rows are allowed: its gaps would be filled.

    All `series` span all of its steps, so together they may span ten times as many.
    """
    steps = (last - first) / served.step
    if steps > limits.rows or series * steps > 10 * limits.rows:
        most = limits.rows if steps > limits.rows else 10 * limits.rows // series
        text = f"the history of the series spans more than {most} steps; send only the most recent ones"
        raise invalid_input(text, place, "limit_rows")


def from_data_error(
    error: DataError, served: ServedModel, where: str, *, ids: Sequence[str] = ()
) -> http_errors.HttpError:
    """Return the error (422) for what a model says of its input; its place is one of the series `ids`, if named."""
    text = str(error)
    if text.startswith("quantiles: "):
        where, text = "quantiles", text.removeprefix("quantiles: ")
    named = [number for number, name in enumerate(ids) if f"series '{name}'" in text]
    return http_errors.from_table_error(text, served.known_names, f"{where}[{named[0]}]" if len(named) == 1 else where)


def _check_row_count(rows: int, limits: RequestLimits, place: str) -> None:
    if rows > limits.rows:
        raise invalid_input(f"{rows} rows are too many; at most {limits.rows} in a request", place, "limit_rows")


def _too_many_series(limits: RequestLimits, place: str) -> http_errors.HttpError:
    return invalid_input(f"at most {limits.series} series can be forecast at once", place, "limit_series")


def _series_ids(request: schemas.PredictRequest, served: ServedModel, limits: RequestLimits) -> list[str]:
    """The series of a request; each must be known and occur once."""
    if len(request.series) > limits.series:
        raise _too_many_series(limits, "series")
    codes = served.preprocessing.codes
    ids: dict[str, None] = {}
    for number, series in enumerate(request.series):
        place = f"series[{number}].id"
        if series.id is None and len(codes) > 1:
            raise invalid_input("is missing; the model has several series, see GET /models", place)
        name = served.preprocessing.series[0] if series.id is None else series.id
        if name not in codes:
            text = "was not in the training data; GET /models lists the series that were"
            raise invalid_input(text, place, "unknown_series")
        if name in ids:
            raise invalid_input("the series occurs twice in the request", place)
        ids[name] = None
    return list(ids)


def _texts_and_values(steps: Steps | RowPieces[Any], columns: Columns, place: str) -> tuple[list[str], np.ndarray]:
    """The times of `steps` as text, and their values as `_values` returns them."""
    texts: list[str] = []
    values: list[np.ndarray] = []
    for piece in pieces_of(steps):
        values.append(_values(piece, columns, place, first=len(texts)))
        texts.extend([step.time for step in piece])
    return texts, values[0] if len(values) == 1 else np.concatenate(values)


def _stamps(texts: Sequence[str], place: str, preprocessing: Preprocessing, *, until: dt.datetime) -> np.ndarray:
    """The times in `texts` (datetime64[us]) on the axis. Raises HttpError unless they ascend and end by `until`."""
    stamps = parse_timestamps(texts, place, preprocessing)
    end = np.datetime64(until)
    if stamps[-1] > end:
        first = int(np.searchsorted(stamps, end, "right"))
        raise invalid_input("is in the future; history must end now", f"{place}[{first}].time", "future_dated")
    return stamps


def _future_stamps(texts: Sequence[str], place: str, *, served: ServedModel, after: np.datetime64) -> np.ndarray:
    """The times of future steps. Raises HttpError unless they come after the history."""
    stamps = parse_timestamps(texts, place, served.preprocessing)
    if stamps[0] <= after:
        raise order_error(f"{place}[0].time", is_duplicate=bool(stamps[0] == after))
    return stamps


def _values(steps: Steps, columns: Columns, place: str, *, first: int) -> np.ndarray:
    """The values of `steps` (steps, columns): `value` first, if they have one. Raises HttpError with the place.

    In the request, they begin with number `first`.
    """
    extras = [schemas.extra_fields(step) for step in steps]
    rows: list[list[Any]] = [[step.value] if isinstance(step, schemas.HistoryStep) else [] for step in steps]
    for row, extra in zip(rows, extras, strict=True):
        row.extend(map(extra.get, columns.names))
    # The usual case is checked as a whole; the loop below finds the place of whatever is unusual.
    are_numbers = {type(value) for row in rows for value in row} <= {float, int}
    if are_numbers and set(map(len, extras)) == {len(columns.names)}:
        values = np.array(rows)
        if values.dtype != object and (np.abs(values) <= MAX_MAGNITUDE).all():
            return values.astype(float, copy=False)
    for k, (extra, row) in enumerate(zip(extras, rows, strict=True), start=first):
        own = len(row) - len(columns.names)
        row[:own] = [_checked_number(value, f"{place}[{k}].value") for value in row[:own]]
        row[own:] = _checked_columns(extra, columns, f"{place}[{k}]")
    return np.array(rows, float)


def _checked_columns(extra: Mapping[str, Any], columns: Columns, place: str) -> list[float]:
    """The values of the `columns` among the `extra` fields of a step; raises HttpError if there are other fields."""
    values = []
    for name in columns.names:
        value = extra.get(name)
        if columns.allow_null and value is None and name in extra:
            values.append(math.nan)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problem = "is missing" if name not in extra else "is not a number"
            raise invalid_input(f"{problem}; the model reads it at each step", f"{place}.{name}", "ragged")
        values.append(_checked_number(value, f"{place}.{name}"))
    if len(extra) > len(columns.names) and set(extra) - set(columns.names) - columns.ignore:
        names = ", ".join(columns.names) or "none"
        raise invalid_input(f"has a column that the model does not read (it reads: {names})", place, "unknown_column")
    return values


def _checked_number(value: float, place: str) -> float:
    if not abs(value) <= MAX_MAGNITUDE:  # also true of NaN
        raise invalid_input(f"is not a finite number between -{MAX_MAGNITUDE:g} and {MAX_MAGNITUDE:g}", place)
    return float(value)
