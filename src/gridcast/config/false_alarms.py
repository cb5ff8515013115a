"""The promise of few false alarms: `1 per week` of `anomaly.false_alarms`, as a rate."""

from __future__ import annotations

import math
import re
from typing import Any

DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 365.25 / 12, "year": 365.25}
"""Length of each unit of a promise, in days."""
_PROMISE = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*(?:per|a|an|/)\s*({'|'.join(DAYS)})s?\s*", re.IGNORECASE)


def alarms_per_day(promise: str) -> float:
    """Return the false alarms per day that a text such as `1 per week` allows. Raises ValueError for any other text."""
    match = _PROMISE.fullmatch(promise)
    rate = float(match[1]) / DAYS[match[2].lower()] if match else math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(
            f"false_alarms: {promise!r} is not a number of false alarms above 0 per {', '.join(DAYS)}; write it as "
            "1 per week"
        )
    return rate


def with_merged_windows(content: dict[str, Any]) -> dict[str, Any]:
    """Return the `content` of an experiment file; with a promise, alarms whose windows overlap are one event."""
    # Nothing is gained by fitting `min_steps` and `merge_gap` to the validation span: on ten plants, 2 to
    # 8 steps make no fewer false alarms at the threshold that keeps the promise, and find faults up to 4 % later, by
    # benchmarks/false_alarms.py.
    anomaly, window = content.get("anomaly"), content.get("window")
    if not (isinstance(anomaly, dict) and isinstance(window, dict)) or anomaly.get("false_alarms") is None:
        return content
    if {"merge_gap", "gap"} & anomaly.keys() or "lookback" not in window:
        return content
    return content | {"anomaly": anomaly | {"merge_gap": window["lookback"]}}
