"""From the numbers of a forecaster or a detector to what the client reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridcast.runtime import events
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD
from gridcast.runtime.forecaster import ANSWERING_MODEL, FORECAST, ROLLED_FORWARD, quantile_column
from gridcast.serving.http_errors import HttpError, invalid_input
from gridcast.serving.payloads.request_frames import key_columns
from gridcast.serving.payloads.request_types import DetectionRequest, ForecastRequest
from gridcast.serving.payloads.timestamps import format_timestamps

if TYPE_CHECKING:
    from gridcast.serving.models.served_model import ServedModel


def model_fields(served: ServedModel, milliseconds: float) -> dict[str, Any]:
    """What every answer says of the model that gave it."""
    return {
        "model": served.name,
        "version": served.version,
        "run_id": served.run_id,
        "elapsed_ms": round(milliseconds, 3),
        "beaten_by_baseline": served.beaten_by is not None,
        "beaten_by": served.beaten_by,
    }


def forecast_items(asked: ForecastRequest, found: np.ndarray, served: ServedModel) -> list[dict[str, Any]]:
    """The forecasts of each series, from `found` (series, horizon, 1 + levels) in data units. Raises Refusal (422)."""
    if not np.isfinite(found).all():
        number = int(np.flatnonzero(~np.isfinite(found).all(axis=(1, 2)))[0])
        raise not_finite_error(f"series[{number}].history")
    placed, routes = asked.placed, served.forecaster.routes
    trained, names = served.own.horizon, [f"{level:g}" for level in asked.levels]
    steps = placed.origin[:, None] + np.arange(asked.horizon)
    stamps = format_timestamps(placed.times[steps])
    answers = []
    for row, (name, values) in enumerate(zip(placed.ids, found.tolist(), strict=True)):
        points = []
        for step, (stamp, (value, *levels)) in enumerate(zip(stamps[row], values, strict=True)):
            point = {"time": stamp, "value": value, "rolled_forward": step >= trained}
            if names:
                point["quantiles"] = dict(zip(names, levels, strict=True))
            points.append(point)
        answer = {"id": name, "points": points}
        if routes:
            answer["answered_by"] = routes[placed.codes[row]].model
        answers.append(answer)
    return answers


def items_from_frame(
    frame: pd.DataFrame, served: ServedModel, levels: Sequence[float], history: pd.DataFrame, back: int
) -> list[dict[str, Any]]:
    """The same from a table of forecasts, with the last `back` steps of each series' history."""
    own, answers = served.own, []
    past = history[history[own.target].notna()].sort_values(own.time, kind="stable")
    for name, rows in _by_series(frame, own):
        points = []
        stamps = format_timestamps(rows[own.time].to_numpy())
        for k, (value, rolled) in enumerate(zip(rows[FORECAST].tolist(), rows[ROLLED_FORWARD].tolist(), strict=True)):
            point = {"time": stamps[k], "value": value, "rolled_forward": rolled}
            if levels:
                point["quantiles"] = {f"{level:g}": float(rows[quantile_column(level)].iloc[k]) for level in levels}
            points.append(point)
        answer = {"id": name, "points": points}
        if ANSWERING_MODEL in rows:
            answer["answered_by"] = rows[ANSWERING_MODEL].iloc[0]
        answers.append(answer)
    if back:
        before = dict(_by_series(past, own))
        for answer in answers:
            rows = before[str(answer["id"])].tail(back)
            pairs = zip(format_timestamps(rows[own.time].to_numpy()), rows[own.target].tolist(), strict=True)
            answer["history"] = [{"time": stamp, "value": value} for stamp, value in pairs]
    return answers


def forecast_frame(asked: ForecastRequest, found: np.ndarray, served: ServedModel) -> pd.DataFrame:
    """The forecasts as `Forecaster.predict` gives them."""
    placed, own = asked.placed, served.own
    series, steps = np.divmod(np.arange(len(placed.ids) * asked.horizon), asked.horizon)
    table = pd.DataFrame([key_columns(own, placed.ids[row]) for row in series])
    table[own.time] = placed.times[placed.origin[series] + steps]
    table[FORECAST] = found[series, steps, 0]
    for k, level in enumerate(asked.levels):
        table[quantile_column(level)] = found[series, steps, 1 + k]
    table[ROLLED_FORWARD] = steps >= own.horizon
    if routes := served.forecaster.routes:
        table[ANSWERING_MODEL] = [routes[code].model for code in placed.codes[series]]
    return table


def anomaly_fields(asked: DetectionRequest, found: np.ndarray, served: ServedModel, *, values: bool) -> dict[str, Any]:
    """Scores and events from `found`, the contributions (steps, sensors); with `values` the readings of each step."""
    own, score = served.detector, events.anomaly_score(found)
    stamps, limits = format_timestamps(asked.times.to_numpy()), own.limits(score)
    scores: list[dict[str, Any]] = [
        {"time": stamp, "score": _known(value), "anomaly": value > limit}
        for stamp, value, limit in zip(stamps, score.tolist(), limits.tolist(), strict=True)
    ]
    if own.seen is not None:
        for step, limit in zip(scores, limits.tolist(), strict=True):
            step["threshold"] = limit
    if values:
        for step, row in zip(scores, asked.values.tolist(), strict=True):
            step["values"] = dict(zip(own.sensors, map(_known, row), strict=True))
    stretches = [
        {
            "start": stamps[one.start],
            "end": stamps[one.end - 1],
            "steps": one.end - one.start,
            "peak": one.peak,
            "severity": _known(one.severity),
            "blame": [{"sensor": name, "share": share} for name, share in one.blame if share > 0],
        }
        for one in events.find_events(score, limits, found, own.sensors, own.least, own.gap)
    ]
    return {"threshold": own.threshold, "scores": scores, "events": stretches}


def score_frame(asked: DetectionRequest, found: np.ndarray, served: ServedModel) -> pd.DataFrame:
    """The same contributions as `Detector.predict` gives them."""
    own, score = served.detector, events.anomaly_score(found)
    limits = own.limits(score)
    told = {own.time: asked.times, SCORE: score, THRESHOLD: limits, ANOMALY: score > limits}
    return pd.DataFrame(told | dict(zip(own.sensors, found.T, strict=True)))


def not_finite_error(where: str) -> HttpError:
    """The refusal of an input of which the network makes nothing: no answer is made of it."""
    text = "the forecast is no finite number: the history lies far outside of what the model was trained on"
    return invalid_input(text, where, "not_finite")


def _known(value: float) -> float | None:
    """As JSON has it."""
    return value if math.isfinite(value) else None


def _by_series(frame: pd.DataFrame, own: Any) -> list[tuple[str, pd.DataFrame]]:
    if not own.keys:
        return [(own.series[0], frame)]
    groups = frame.groupby(list(own.keys), sort=False, observed=True)
    return [("/".join(map(str, keys)), rows) for keys, rows in groups]
