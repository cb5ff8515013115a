"""The sentences of a followed stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.monitoring.stream.followed_model import FollowedModel, iso_stamp, step_length
from gridcast.monitoring.stream.ledger import Alert

MAX_NAMES_LISTED = 3
"""Sensors that an alert names."""


def event_alert(event: Mapping[str, Any], model: FollowedModel) -> Alert:
    times = "" if event["severity"] is None else f", {event['severity']:.3g} times the threshold"
    blamed = ", ".join(f"{name} ({share:.0%})" for name, share in event["blame"][:MAX_NAMES_LISTED])
    text = f"Score {event['peak']:.4g}{times}; most to blame: {blamed or 'none'}. Alert {event['id']}"
    return Alert(
        event["id"], f"{model.name}: anomaly since {event['first']}", text, {**event, "version": model.version}
    )


def batch_remarks(
    new: pd.DataFrame, late: pd.DataFrame, mark: pd.Timestamp | None, counts: Counter[str], model: FollowedModel
) -> list[str]:
    """What did not come, came late or came twice, in words; `counts` gains the missing steps."""
    notes, length = [], step_length(model.detector.frequency)
    if len(new):
        before = new.index.insert(0, mark if mark is not None else new.index[0] - length)
        holes = (np.diff(before) / length).astype(int) - 1
        counts["missing"] = int(holes.sum())
        if counts["missing"]:
            first = int(np.argmax(holes > 0))
            notes.append(f"{counts['missing']} steps are missing, the first {iso_stamp(before[first] + length)}")
    if len(late):
        span = f"{iso_stamp(late.index[0])} to {iso_stamp(late.index[-1])}"
        notes.append(f"{len(late)} rows came late ({span}): kept, and scored if newer ones reach back to them")
    if counts["repeated"]:
        notes.append(f"{counts['repeated']} rows tell of steps that were taken before: passed over")
    blind = counts["unscored"] - min(model.wait, len(new))
    if blind > 0:
        notes.append(f"{blind} steps have no score yet, as too little was read of them or around them")
    return notes


def scores_summary(scores: pd.DataFrame) -> str:
    if not len(scores):
        return "no step scored"
    return (
        f"{len(scores)} steps scored, the highest {(scores['score'] / scores['threshold']).max():.2f} of the threshold"
    )


def quoted_names(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:MAX_NAMES_LISTED])
    return shown if len(names) <= MAX_NAMES_LISTED else f"{shown} and {len(names) - MAX_NAMES_LISTED} more"
