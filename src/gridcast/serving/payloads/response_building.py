"""From the numbers of a forecaster or detector to the body of a response."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_json

from gridcast.runtime import events
from gridcast.runtime.answer_columns import ANSWERING_MODEL, FORECAST, ROLLED_FORWARD, quantile_column
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD, Detector
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving.cancellation import check_cancelled
from gridcast.serving.http_errors import HttpError, invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads.request_types import DetectionRequest, ForecastRequest
from gridcast.serving.payloads.timestamps import axis_stamps, format_timestamps, timestamp_unit
from gridcast.serving.request_context import RequestContext

STEPS_AT_ONCE = 1000
"""Scores that are objects at the same time."""


def model_fields(served: ServedModel, elapsed_ms: float) -> dict[str, Any]:
    """Return the fields of every response that describe the model."""
    return {
        "model": served.name,
        "version": served.version,
        "run_id": served.run_id,
        "elapsed_ms": round(elapsed_ms, 3),
        "beaten_by_baseline": served.beaten_by is not None,
        "beaten_by": served.beaten_by,
    }


def forecast_items(request: ForecastRequest, forecasts: np.ndarray, served: ServedModel) -> Iterator[dict[str, Any]]:
    """Yield the forecast of each series as a response has it.

    `forecasts` (series, horizon, 1 + levels) are in data units. Raises HttpError (422) if one is not finite.
    """
    if not np.isfinite(forecasts).all():
        number = int(np.flatnonzero(~np.isfinite(forecasts).all(axis=(1, 2)))[0])
        raise not_finite_error(f"series[{number}].history")
    source, routes = request.forecast_input, served.forecaster.routes
    trained_horizon, labels = served.preprocessing.horizon, [f"{level:g}" for level in request.levels]
    stamps_by_origin: dict[int, list[str]] = {}
    unit = timestamp_unit(source.times[source.origin[:, None] + np.arange(request.horizon)])
    for row, (name, origin) in enumerate(zip(source.ids, source.origin.tolist(), strict=True)):
        if origin not in stamps_by_origin:
            steps = source.times[origin : origin + request.horizon]
            stamps_by_origin[origin] = format_timestamps(steps, served.preprocessing, unit)
        points = []
        for step, (stamp, (value, *quantiles)) in enumerate(
            zip(stamps_by_origin[origin], forecasts[row].tolist(), strict=True)
        ):
            point = {"time": stamp, "value": value, "rolled_forward": step >= trained_horizon}
            if labels:
                point["quantiles"] = dict(zip(labels, quantiles, strict=True))
            points.append(point)
        item = {"id": name, "points": points}
        if routes:
            item["answered_by"] = routes[source.codes[row]].model
        yield item


def items_from_frame(
    forecasts: pd.DataFrame, history: pd.DataFrame, served: ServedModel, *, levels: Sequence[float], history_steps: int
) -> Iterator[dict[str, Any]]:
    """Yield the same from a table of `forecasts`, with the last `history_steps` observed steps of each series."""
    preprocessing, history_by_series = served.preprocessing, dict[str, pd.DataFrame]()
    if history_steps:
        observed = history[history[preprocessing.target].notna()].sort_values(preprocessing.time, kind="stable")
        history_by_series = dict(_rows_by_series(observed, preprocessing))
    for name, rows in _rows_by_series(forecasts, preprocessing):
        points = []
        stamps = format_timestamps(axis_stamps(rows[preprocessing.time]), preprocessing)
        values, rolled_forward = rows[FORECAST].tolist(), rows[ROLLED_FORWARD].tolist()
        quantiles = {f"{level:g}": rows[quantile_column(level)].tolist() for level in levels}
        for step, stamp in enumerate(stamps):
            point = {"time": stamp, "value": values[step], "rolled_forward": rolled_forward[step]}
            if levels:
                point["quantiles"] = {label: of_level[step] for label, of_level in quantiles.items()}
            points.append(point)
        item = {"id": name, "points": points}
        if ANSWERING_MODEL in rows:
            item["answered_by"] = rows[ANSWERING_MODEL].iloc[0]
        if history_steps:
            newest = history_by_series[name].tail(history_steps)
            stamps = format_timestamps(axis_stamps(newest[preprocessing.time]), preprocessing)
            pairs = zip(stamps, newest[preprocessing.target].tolist(), strict=True)
            item["history"] = [{"time": stamp, "value": value} for stamp, value in pairs]
        yield item


def forecast_body(served: ServedModel, context: RequestContext, items: Iterable[dict[str, Any]]) -> bytes:
    """Return the body of a response with the forecasts `items`, in JSON.

    Each item becomes text at once: as objects, all of them would take many times as much memory.
    """
    texts = []
    for item in items:
        check_cancelled()
        texts.append(to_json(item))
    return _with_list(model_fields(served, context.elapsed_ms), "forecasts", texts)


def _with_list(fields: dict[str, Any], name: str, items: Iterable[bytes]) -> bytes:
    """An object with `fields`, and a list of `items`, which are JSON already."""
    return b'%b,"%b":[%b]}' % (to_json(fields)[:-1], name.encode(), b",".join(items))


def forecast_frame(request: ForecastRequest, forecasts: np.ndarray, served: ServedModel) -> pd.DataFrame:
    """Return forecasts (series, horizon, 1 + levels) as the table of `Forecaster.predict`."""
    source, preprocessing = request.forecast_input, served.preprocessing
    series, steps = np.divmod(np.arange(len(source.ids) * request.horizon), request.horizon)
    table = pd.DataFrame([preprocessing.key_values(source.ids[row]) for row in series])
    table[preprocessing.time] = preprocessing.with_zone(source.times[source.origin[series] + steps])
    table[FORECAST] = forecasts[series, steps, 0]
    for k, level in enumerate(request.levels):
        table[quantile_column(level)] = forecasts[series, steps, 1 + k]
    table[ROLLED_FORWARD] = steps >= preprocessing.horizon
    if routes := served.forecaster.routes:
        table[ANSWERING_MODEL] = [routes[code].model for code in source.codes[series]]
    return table


def anomaly_body(
    request: DetectionRequest,
    contributions: np.ndarray,
    served: ServedModel,
    context: RequestContext,
    *,
    with_values: bool,
) -> bytes:
    """Return the body of a response with threshold, scores and events, in JSON.

    `contributions` are (steps, sensors); `with_values` adds the sensor values of each step to its score.
    """
    detector, score = served.detector, events.anomaly_score(contributions)
    stamps = format_timestamps(request.times.to_numpy(), detector.preprocessing)
    limits = detector.limits(score)
    scores = []
    for start in range(0, len(score), STEPS_AT_ONCE):
        check_cancelled()
        part = slice(start, start + STEPS_AT_ONCE)
        values = request.values[part] if with_values else None
        steps = _score_items(stamps[part], score[part], limits[part], detector, values=values)
        scores.append(to_json(steps)[1:-1])
    found_events = events.find_events(
        score, limits, contributions, detector.sensors, min_steps=detector.least, merge_gap=detector.gap
    )
    event_fields = [
        {
            "start": stamps[event.start],
            "end": stamps[event.end - 1],
            "steps": event.end - event.start,
            "peak": event.peak,
            "severity": _finite_or_none(event.severity),
            "blame": [{"sensor": name, "share": share} for name, share in event.blame if share > 0],
        }
        for event in found_events
    ]
    fields = {"threshold": detector.threshold, "events": event_fields}
    return _with_list(model_fields(served, context.elapsed_ms) | fields, "scores", scores)


def _score_items(
    stamps: list[str], score: np.ndarray, limits: np.ndarray, detector: Detector, *, values: np.ndarray | None
) -> list[dict[str, Any]]:
    """Some steps as a response has them."""
    items: list[dict[str, Any]] = [
        {"time": stamp, "score": _finite_or_none(value), "anomaly": value > limit}
        for stamp, value, limit in zip(stamps, score.tolist(), limits.tolist(), strict=True)
    ]
    if detector.seen is not None:  # a running threshold
        for step, limit in zip(items, limits.tolist(), strict=True):
            step["threshold"] = limit
    if values is not None:
        for step, row in zip(items, values.tolist(), strict=True):
            step["values"] = dict(zip(detector.sensors, map(_finite_or_none, row), strict=True))
    return items


def score_frame(request: DetectionRequest, contributions: np.ndarray, detector: Detector) -> pd.DataFrame:
    """Return contributions (steps, sensors) as the table of `Detector.predict`."""
    score = events.anomaly_score(contributions)
    limits = detector.limits(score)
    columns = {detector.time: request.times, SCORE: score, THRESHOLD: limits, ANOMALY: score > limits}
    return pd.DataFrame(columns | dict(zip(detector.sensors, contributions.T, strict=True)))


def not_finite_error(where: str) -> HttpError:
    """Return the error (422) for an input of which the network makes no finite number."""
    text = "the forecast is not a finite number: the history is far outside the range of the training data"
    return invalid_input(text, where, "not_finite")


def _finite_or_none(value: float) -> float | None:
    """The value as JSON can express it."""
    return value if math.isfinite(value) else None


def _rows_by_series(frame: pd.DataFrame, preprocessing: Preprocessing) -> list[tuple[str, pd.DataFrame]]:
    if not preprocessing.keys:
        return [(preprocessing.series[0], frame)]
    return [(str(name), rows) for name, rows in frame.groupby(preprocessing.series_column(frame), sort=False)]
