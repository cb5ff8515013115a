"""Scores of steps become events: stretches above the threshold, and the sensors to blame. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """An anomalous stretch, steps [start, end).

    `peak` is its highest score, `severity` the highest in units of the threshold of its step, `blame` the sensors with
    their share (0 to 1) of the score over the event, the largest first.
    """

    start: int
    end: int
    peak: float
    severity: float
    blame: tuple[tuple[str, float], ...]


def spans(flags: np.ndarray, least: int = 1, gap: int = 0) -> np.ndarray:
    """Stretches [start, end) (n, 2) of the True steps in `flags` (steps,).

    Those with at most `gap` steps between them are one; what is then shorter than `least` steps is left out.
    """
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    apart = starts[1:] - ends[:-1] > gap
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    return np.stack([starts, ends], axis=1)[ends - starts >= least]


def anomaly_score(contributions: np.ndarray) -> np.ndarray:
    """The anomaly score (steps,) of `contributions` (steps, sensors): their mean over the sensors that have one.

    NaN where none has.
    """
    known = np.isfinite(contributions)
    count = known.sum(axis=1)
    total = np.sum(contributions, axis=1, where=known)
    return np.divide(total, count, out=np.full(len(contributions), np.nan), where=count > 0)


def find_events(
    score: np.ndarray,
    threshold: float | np.ndarray,
    contributions: np.ndarray,
    sensors: Sequence[str],
    least: int = 1,
    gap: int = 0,
) -> tuple[Event, ...]:
    """The events of `score` (steps,), in the order of time: where it lies above `threshold`, grouped as by `spans`.

    The threshold is one for all steps, or (steps,). `contributions` (steps, sensors) are non-negative. A step without a
    score (NaN) is not above, and one without a contribution adds no blame.
    """
    found, limits = [], np.broadcast_to(threshold, score.shape)
    ratio = np.divide(score, limits, out=np.full(score.shape, math.inf), where=limits > 0)
    for start, end in spans(score > limits, least, gap).tolist():
        peak, severity = (float(np.nanmax(part[start:end])) for part in (score, ratio))
        shares = np.nansum(contributions[start:end], axis=0)
        shares = shares / (shares.sum() or 1.0)
        blame = tuple((sensors[k], float(shares[k])) for k in np.argsort(-shares, kind="stable"))
        found.append(Event(start, end, peak, severity, blame))
    return tuple(found)
