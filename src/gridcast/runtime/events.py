"""From scores of steps to events: spans above the threshold, and the sensors that contribute most. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """An anomalous span of steps [start, end).

    `peak` is its highest score, `severity` the highest score in units of the threshold of its step, `blame` the sensors
    with their share (0 to 1) of the score over the event, the largest first.
    """

    start: int
    end: int
    peak: float
    severity: float
    blame: tuple[tuple[str, float], ...]


def spans(flags: np.ndarray, min_steps: int = 1, merge_gap: int = 0) -> np.ndarray:
    """Return the spans [start, end) (n, 2) of True steps in `flags` (steps,).

    Spans with at most `merge_gap` steps between them are merged; those then shorter than `min_steps` are left out.
    """
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    is_separate = starts[1:] - ends[:-1] > merge_gap
    starts, ends = starts[np.append(True, is_separate)[: len(starts)]], ends[np.append(is_separate, True)[: len(ends)]]
    return np.stack([starts, ends], axis=1)[ends - starts >= min_steps]


def anomaly_score(contributions: np.ndarray) -> np.ndarray:
    """Return the score (steps,) of `contributions` (steps, sensors): their mean over the sensors that have one.

    NaN where none has.
    """
    is_finite = np.isfinite(contributions)
    count = is_finite.sum(axis=1)
    total = np.sum(contributions, axis=1, where=is_finite)
    return np.divide(total, count, out=np.full(len(contributions), np.nan), where=count > 0)


def find_events(
    score: np.ndarray,
    threshold: float | np.ndarray,
    contributions: np.ndarray,
    sensors: Sequence[str],
    *,
    min_steps: int = 1,
    merge_gap: int = 0,
) -> tuple[Event, ...]:
    """Return the events of `score` (steps,), in order of time: where it exceeds `threshold`, see `spans`.

    The threshold is one number for all steps, or (steps,). `contributions` (steps, sensors) are not negative. A step
    without a score (NaN) does not exceed it; one without contributions adds no blame.
    """
    events, thresholds = [], np.broadcast_to(threshold, score.shape)
    severities = np.divide(score, thresholds, out=np.full(score.shape, math.inf), where=thresholds > 0)
    for start, end in spans(score > thresholds, min_steps, merge_gap).tolist():
        peak, severity = (float(np.nanmax(values[start:end])) for values in (score, severities))
        shares = np.nansum(contributions[start:end], axis=0)
        shares = shares / (shares.sum() or 1.0)
        blame = tuple((sensors[k], float(shares[k])) for k in np.argsort(-shares, kind="stable"))
        events.append(Event(start, end, peak, severity, blame))
    return tuple(events)
