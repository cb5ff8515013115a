"""Events among the steps of a record, as in one pass over all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.monitoring.stream.followed_model import FollowedModel, step_length
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.ledger_rows import ScoredStep
from gridcast.runtime import events


def find_events(begin: pd.Timestamp, ledger: Ledger, model: FollowedModel) -> list[dict[str, Any]]:
    """Return the events among the steps from `begin` on, including one that began before and is not over yet."""
    # An event may continue over many batches, so steps before `begin` are read back until more than `gap` steps without
    # an anomaly lie together: no event spans those, and what is older is settled. The event is computed again from its
    # first step, so its peak and blame are those of one pass; `save_event` recognises it by its overlap with the stored
    # one, and only a new event raises an alert.
    detector, length = model.detector, step_length(model.detector.frequency)
    steps: list[ScoredStep] = []
    edge = begin
    for step in ledger.scored_steps():
        if step.time < begin and (edge - step.time) / length - step.is_anomaly > detector.gap:
            break
        edge = step.time if step.is_anomaly and step.time < begin else edge
        steps.append(step)
    steps.reverse()
    times = pd.DatetimeIndex([step.time for step in steps])
    ends = [0, *(np.flatnonzero(np.diff(times) > (detector.gap + 1) * length) + 1), len(steps)]
    return [event for start, end in itertools.pairwise(ends) for event in _events_among(steps[start:end], model)]


def _events_among(steps: Sequence[ScoredStep], model: FollowedModel) -> list[dict[str, Any]]:
    """The events among steps in their order, without a hole that no event spans."""
    if not steps:
        return []
    detector = model.detector
    times = pd.DatetimeIndex([step.time for step in steps])
    axis = pd.date_range(times[0], times[-1], freq=step_length(detector.frequency))
    scores = pd.Series([step.score for step in steps], times).reindex(axis).to_numpy()
    thresholds = pd.Series([step.threshold for step in steps], times).reindex(axis).to_numpy()
    contributions = pd.DataFrame([step.contributions for step in steps], times)
    contributions = contributions.reindex(index=axis, columns=list(detector.sensors)).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = scores / thresholds  # each by the threshold of its time, which versions and running thresholds change
    found = events.find_events(
        ratios,
        1.0,
        contributions.to_numpy(),
        detector.sensors,
        min_steps=detector.least,
        merge_gap=detector.gap,
    )
    return [
        {
            "id": f"{model.name}/{axis[event.start].isoformat()}",
            "first": axis[event.start].isoformat(),
            "last": axis[event.end - 1].isoformat(),
            "steps": event.end - event.start,
            "peak": float(np.nanmax(scores[event.start : event.end])),
            "severity": event.severity if math.isfinite(event.severity) else None,
            "blame": [[name, round(share, 4)] for name, share in event.blame if share > 0],
        }
        for event in found
    ]
