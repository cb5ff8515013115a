"""Messages about a followed stream: alerts, notes on a batch, summaries of scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.monitoring.stream.followed_model import FollowedModel, iso_stamp, step_length
from gridcast.monitoring.stream.ledger_rows import Alert

MAX_NAMES_LISTED = 3
"""Sensors, or columns, that a message names."""


def event_alert(event: Mapping[str, Any], model: FollowedModel) -> Alert:
    """Return the alert of an event, which names the sensors with the largest contributions."""
    severity = "" if event["severity"] is None else f", {event['severity']:.3g} times the threshold"
    sensors = ", ".join(f"{name} ({share:.0%})" for name, share in event["blame"][:MAX_NAMES_LISTED])
    return Alert(
        id=event["id"],
        title=f"{model.name}: anomaly since {event['first']}",
        text=f"Score {event['peak']:.4g}{severity}; most to blame: {sensors or 'none'}. Alert {event['id']}",
        event={**event, "version": model.version},
    )


def batch_remarks(
    new: pd.DataFrame,
    late: pd.DataFrame,
    *,
    mark: pd.Timestamp | None,
    counts: Counter[str],
    model: FollowedModel,
    completed: int,
) -> list[str]:
    """Return notes on missing, late and repeated rows, and on steps without a score.

    `new` and `late` are readings by time, `mark` is the newest step before the batch; `completed` stored steps gained
    a sensor. `counts` gains the number of missing steps.
    """
    notes, length = [], step_length(model.detector.frequency)
    if len(new):
        times = new.index.insert(0, mark if mark is not None else new.index[0] - length)
        holes = (np.diff(times) / length).astype(int) - 1
        counts["missing"] = int(holes.sum())
        if counts["missing"]:
            first = times[int(np.argmax(holes > 0))] + length
            notes.append(f"{counts['missing']} steps are missing, the first {iso_stamp(first)}")
    if len(late):
        span = f"{iso_stamp(late.index[0])} to {iso_stamp(late.index[-1])}"
        notes.append(f"{len(late)} rows came late ({span}): stored, and scored where no reading is missing around them")
    if completed:
        notes.append(f"{completed} steps that are stored already gain a sensor that they lacked")
    if counts["repeated"] > completed:
        notes.append(f"{counts['repeated'] - completed} rows repeat steps that are stored already: ignored")
    # Steps that only wait for later ones are no reason for a note.
    unscored = counts["unscored"] - min(model.wait, len(new))
    if unscored > 0:
        notes.append(f"{unscored} steps have no score yet: {unscored_reason(new, model)}")
    return notes


def unscored_reason(readings: pd.DataFrame, model: FollowedModel) -> str:
    """Return why steps with these `readings` have no score: the sensor that most of them lack, if one is missing."""
    needed = f"a score needs every sensor at each of {model.detector.lookback} steps in a row"
    if getattr(model.detector, "fills_gaps", False):
        needed = f"a step that lacks a sensor waits up to {model.detector.lookback} steps for it"
    present = readings.notna().sum()
    sparsest = str(present.idxmin())
    if present[sparsest] == len(readings):
        return needed
    return f"{needed}, and '{sparsest}' has a reading at {present[sparsest]} of {len(readings)}"


def scores_summary(scores: pd.DataFrame) -> str:
    """Return how many steps were scored, and the highest score in units of the threshold."""
    if not len(scores):
        return "no step scored"
    highest = (scores["score"] / scores["threshold"]).max()
    return f"{len(scores)} steps scored, the highest {highest:.2f} times the threshold"


def quoted_names(names: Sequence[str]) -> str:
    """Return the first names in quotes, and the number of the others."""
    quoted = ", ".join(f"'{name}'" for name in names[:MAX_NAMES_LISTED])
    return quoted if len(names) <= MAX_NAMES_LISTED else f"{quoted} and {len(names) - MAX_NAMES_LISTED} more"
