"""A detector of the registry: the rows it is tried on before it is served, and how it is asked."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.evaluation import detections
from gridcast.runtime import time_axis
from gridcast.runtime.detector import SCORE, Detector, NormalStatistics
from gridcast.runtime.errors import DataError, TrackingError
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.running_threshold import ScoreHistory
from gridcast.tracking import model_loading

MAX_EXAMPLE_STEPS = 480
"""Steps of an example, at most."""


def adapt(given: Any) -> Detector | None:
    """The detector `given`, which runs by the code that its model carries, run by the code of this gridcast.

    None where it is a forecaster.
    """
    if not hasattr(given, "threshold"):
        return None
    names = {field.name for field in dataclasses.fields(Detector)}
    own = {name: getattr(given, name) for name in names if hasattr(given, name)}
    members = tuple(map(adapt, own.get("members", ())))
    # One of an older gridcast knows its usual errors otherwise; `check` refuses it.
    usual = tuple(
        NormalStatistics(one.mean, one.whitening) if hasattr(one, "whitening") else one for one in given.usual
    )
    preprocessing = Preprocessing.from_json(given.preprocessing.to_json())
    own |= {"seen": ScoreHistory(**vars(given.seen))} if own.get("seen") else {}
    return Detector(**own | {"preprocessing": preprocessing, "usual": usual, "members": members})


def batch_contributions(detector: Detector, asked: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Contributions (steps, sensors) of each that is `asked`, scaled values (steps, sensors) with NaN for gaps."""
    # No window goes across a step that was not seen, so what is parted by one goes through the network together.
    apart = np.full((1, len(detector.sensors)), np.nan, np.float32)
    found = detector.contributions(np.concatenate([part for values in asked for part in (values, apart)]))
    ends = np.cumsum([len(values) + 1 for values in asked])
    return [found[end - 1 - len(values) : end - 1] for end, values in zip(ends, asked, strict=True)]


def check(own: Detector, carried: model_loading.LoadedModel, rows: Sequence[Mapping[str, Any]]) -> None:
    """Let a detector score stored rows, or where none are kept usual values.

    Raises TrackingError where its scores are no finite numbers, or others than by the code it carries.
    """
    uri = carried.found.uri
    table, columns = _table(own, rows) if rows else sample_table(own), [SCORE, *own.sensors]
    otherwise = TrackingError(f"{uri}: was made by a gridcast that scores otherwise; train it again, or serve it there")
    if not all(hasattr(one, "whitening") for detector in (own, *own.members) for one in detector.usual):
        raise otherwise
    try:
        expected, found = (one.predict(table)[columns].to_numpy(float) for one in (carried, own))
    except DataError as error:
        raise TrackingError(f"{uri}: cannot score its sample: {error}") from None
    if not np.isfinite(found).any():
        raise TrackingError(f"{uri}: its scores of a sample are no numbers")
    close = {"rtol": 1e-3, "atol": 1e-3 * np.nanmax(found), "equal_nan": True}
    if found.shape != expected.shape or not np.allclose(found, expected, **close):
        raise otherwise


def sample_table(own: Detector) -> pd.DataFrame:
    """A table that a detector must be able to read, whatever data it was trained on."""
    steps, scaler = own.needed + 1, own.preprocessing.target_scaler
    scaled = np.tile(np.resize(np.linspace(0.2, 0.8, 7), steps), (len(own.sensors), 1))
    times = time_axis.steps_after(pd.Timestamp("2020-01-01"), steps, own.frequency, own.preprocessing.weekdays)
    return pd.DataFrame({own.time: times, **dict(zip(own.sensors, scaler.inverse(scaled), strict=True))})


def example_rows(kept: Callable[[str], bytes]) -> tuple[dict[str, Any], ...]:
    """Rows as they stand in a request: those around the highest score of the test span.

    `kept` gives what a sweep keeps of it, by name. Raises ValueError where no step was scored.
    """
    scores, values = (pd.read_parquet(io.BytesIO(kept(name))) for name in (detections.SCORES, detections.VALUES))
    time = values.columns[0]
    place = int(np.searchsorted(values[time], scores[time].iloc[int(scores[SCORE].argmax())]))
    first = max(0, min(place - 2 * MAX_EXAMPLE_STEPS // 3, len(values) - MAX_EXAMPLE_STEPS))
    rows = values.iloc[first : first + MAX_EXAMPLE_STEPS]
    stamps, known = rows.pop(time), rows.astype(object).where(rows.notna(), None)
    return tuple(
        {"time": stamp.isoformat(), **dict(zip(rows.columns, row, strict=True))}
        for stamp, row in zip(stamps, known.to_numpy().tolist(), strict=True)
    )


def _table(own: Detector, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of a request as a table with the experiment's own column names."""
    table = pd.DataFrame(list(rows)).rename(columns={"time": own.time})
    return table.astype(dict.fromkeys(own.sensors, float))
