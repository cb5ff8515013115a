"""Sensors of a stream that show one value for too long: no score tells, as such a reading is an ordinary one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gridcast.monitoring.drift import MIN_STUCK_STEPS
from gridcast.monitoring.stream.followed_model import FollowedModel, step_length
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.ledger_rows import Alert

MAX_LIMIT = 5000
"""A sensor that showed one value for half as many steps in training is constant, or nearly so, and not judged."""


def stuck_alerts(begin: pd.Timestamp, ledger: Ledger, model: FollowedModel) -> list[Alert]:
    """Return an alert for each run of one value, among the steps from `begin` on, that is longer than normal.

    Normal is twice the longest run of that sensor in training, and at least MIN_STUCK_STEPS; a model that does not
    know its longest runs judges none. A run has one alert, whatever is added to it later: its id is that of its start.
    It has none where scores call it an anomaly already.
    """
    limits = run_limits(model)
    if not limits:
        return []
    # One step more: whether a run began before the steps that are read decides about its id.
    since = begin - (max(limits.values()) + 1) * step_length(model.detector.frequency)
    readings = ledger.readings(since, list(limits))
    return [
        _alert(sensor, run, limits[sensor], model)
        for sensor in limits
        for run in _runs(readings[sensor].dropna())
        if len(run) > limits[sensor]
        and run.index[limits[sensor]] >= begin
        and not ledger.has_anomaly(run.index[0], run.index[-1])
    ]


def run_limits(model: FollowedModel) -> dict[str, int]:
    """Return the longest run of one value that is normal, by sensor, for those that are judged."""
    preprocessing: Any = getattr(model.detector, "preprocessing", None)
    longest: Sequence[int] = getattr(preprocessing, "longest_runs", ())
    limits = {name: max(2 * run, MIN_STUCK_STEPS) for name, run in zip(model.detector.sensors, longest, strict=False)}
    return {name: limit for name, limit in limits.items() if limit <= MAX_LIMIT}


def _runs(values: pd.Series) -> list[pd.Series]:
    """The runs of equal values, in their order."""
    return [run for _, run in values.groupby((values != values.shift()).cumsum())]


def _alert(sensor: str, run: pd.Series, limit: int, model: FollowedModel) -> Alert:
    event_id = f"{model.name}/{sensor} stuck/{run.index[0].isoformat()}"
    return Alert(
        id=event_id,
        title=f"{model.name}: {sensor} is stuck since {run.index[0].isoformat()}",
        text=f"It has been {run.iloc[0]:g} for more than {limit} steps, twice the longest such run in training or "
        f"{MIN_STUCK_STEPS}; its scores look normal. Alert {event_id}",
        event={
            "id": event_id,
            "first": run.index[0].isoformat(),
            "last": run.index[-1].isoformat(),
            "steps": len(run),
            "blame": [[sensor, 1.0]],
            "version": model.version,
        },
    )
