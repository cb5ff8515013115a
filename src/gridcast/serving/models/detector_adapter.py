"""Adapt a detector from the registry to this version of the code, check it on a sample, answer batches with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.evaluation import artifact_files
from gridcast.runtime import step_rule
from gridcast.runtime.detector import SCORE, Detector
from gridcast.runtime.errors import DataError, TrackingError
from gridcast.runtime.normal_statistics import NormalStatistics
from gridcast.runtime.online import OnlineThreshold
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.running_threshold import ScoreHistory
from gridcast.tracking.model_loading import LoadedModel

MAX_EXAMPLE_STEPS = 480


def adapt(carried: Any) -> Detector:
    """Return a detector of this version's code from the `carried` one, whose classes come from its model's code.

    Only attributes that models of version 0.1.0 have too are read off it; those that it lacks get their defaults.
    """
    names = {field.name for field in dataclasses.fields(Detector)}
    values = {name: getattr(carried, name) for name in names if hasattr(carried, name)}
    values["preprocessing"] = Preprocessing.adopt(carried.preprocessing)
    # Statistics of an older form, without a whitening matrix, are kept as they are: `check` refuses such a detector.
    values["usual"] = tuple(
        NormalStatistics(statistics.mean, statistics.whitening) if hasattr(statistics, "whitening") else statistics
        for statistics in carried.usual
    )
    values["members"] = tuple(map(adapt, values.get("members", ())))
    if values.get("seen"):
        values["seen"] = ScoreHistory(**vars(carried.seen))
    values["online"] = tuple(
        OnlineThreshold(one.wait, one.threshold, one.seen and ScoreHistory(**vars(one.seen)))
        for one in values.get("online", ())
    )
    return Detector(**values)


def batch_contributions(detector: Detector, tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the contributions (steps, sensors) of each table of scaled values (steps, sensors), NaN for gaps."""
    if detector.fills_gaps:
        return [detector.contributions(table) for table in tables]
    # No window touches a missing step. So tables with such a step between them go through the network as one.
    gap = np.full((1, len(detector.sensors)), np.nan, np.float32)
    contributions = detector.contributions(np.concatenate([part for table in tables for part in (table, gap)]))
    ends = np.cumsum([len(table) + 1 for table in tables])
    return [contributions[end - 1 - len(table) : end - 1] for end, table in zip(ends, tables, strict=True)]


def check(detector: Detector, carried: LoadedModel, rows: Sequence[Mapping[str, Any]]) -> None:
    """Score stored rows, or typical values if there are none, and compare with the `carried` model.

    Raises TrackingError if the scores are not finite, or differ from those of the code that the model carries.
    """
    uri = carried.reference.uri
    table, columns = _table(detector, rows) if rows else sample_table(detector), [SCORE, *detector.sensors]
    differs = TrackingError(
        f"{uri}: was made by a version of gridcast that scores differently; train it again, or serve it with that "
        "version"
    )
    statistics = [one for member in (detector, *detector.members) for one in member.usual]
    if not all(hasattr(one, "whitening") for one in statistics):
        raise differs
    try:
        expected, scores = (model.predict(table)[columns].to_numpy(float) for model in (carried, detector))
    except DataError as error:
        raise TrackingError(f"{uri}: cannot score its sample: {error}") from None
    if not np.isfinite(scores).any():
        raise TrackingError(f"{uri}: none of its scores of a sample is a finite number")
    tolerance = 1e-3 * np.nanmax(scores)
    if scores.shape != expected.shape or not np.allclose(scores, expected, rtol=1e-3, atol=tolerance, equal_nan=True):
        raise differs


def sample_table(detector: Detector) -> pd.DataFrame:
    """Return a table that the detector must be able to read, whatever it was trained on."""
    steps, scaler = detector.min_table_steps + 1, detector.preprocessing.target_scaler
    scaled = np.tile(np.resize(np.linspace(0.2, 0.8, 7), steps), (len(detector.sensors), 1))
    start = pd.Timestamp("2020-01-01")
    times = step_rule.steps_after(start, steps, detector.preprocessing.steps)
    return pd.DataFrame({detector.time: times, **dict(zip(detector.sensors, scaler.inverse(scaled), strict=True))})


def example_rows(read_artifact: Callable[[str], bytes]) -> tuple[dict[str, Any], ...]:
    """Return rows, as in a request, around the highest score of the test span.

    `read_artifact` returns an artifact of the test by its name. Raises ValueError if no step was scored.
    """
    scores, values = (
        artifact_files.read_parquet_bytes(read_artifact(name))
        for name in (artifact_files.SCORES, artifact_files.SENSOR_VALUES)
    )
    time = values.columns[0]
    highest = int(np.searchsorted(values[time], scores[time].iloc[int(scores[SCORE].argmax())]))
    first = max(0, min(highest - 2 * MAX_EXAMPLE_STEPS // 3, len(values) - MAX_EXAMPLE_STEPS))
    rows = values.iloc[first : first + MAX_EXAMPLE_STEPS]
    stamps = rows.pop(time)
    sensor_values = rows.astype(object).where(rows.notna(), None)
    return tuple(
        {"time": stamp.isoformat(), **dict(zip(rows.columns, row, strict=True))}
        for stamp, row in zip(stamps, sensor_values.to_numpy().tolist(), strict=True)
    )


def _table(detector: Detector, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of a request as a table with the experiment's own column names."""
    table = pd.DataFrame(list(rows)).rename(columns={"time": detector.time})
    if detector.preprocessing.has_zoned_axis:  # they are of the test, whose axis is in UTC then
        table[detector.time] = pd.to_datetime(table[detector.time], format="ISO8601", utc=True)
    return table.astype(dict.fromkeys(detector.sensors, float))
