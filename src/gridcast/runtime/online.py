"""Scores as a follower of a live stream has them: how long it waits, and the thresholds of such scores. Pure.

A step is scored by the mean over all windows that contain it. In hindsight these extend beyond the step; a follower
has the windows that are complete when it scores the step, `wait` steps later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .running_threshold import ScoreHistory


@dataclass(frozen=True)
class OnlineThreshold:
    """The `threshold` of scores that are given `wait` steps later; a running one starts from the history `seen`."""

    wait: int
    threshold: float
    seen: ScoreHistory | None = None


def default_wait(kind: str, lookback: int) -> int:
    """Return the steps that a follower waits for later windows unless it is asked for another wait: half a window.

    The error of a `prediction` is final at once.
    """
    return 0 if kind == "prediction" else lookback // 2


def calibrated_waits(wait: int, settling: int) -> tuple[int, ...]:
    """Return the waits for which thresholds are fitted: 0 and `wait`, where the score is not final after them.

    A score is final after `settling` steps; from then on it is the one in hindsight.
    """
    return tuple(steps for steps in sorted({0, wait}) if steps < settling)


def threshold_after(thresholds: Iterable[OnlineThreshold], wait: int) -> OnlineThreshold | None:
    """Return the one of `thresholds` for scores after `wait` steps, None where there is none.

    That is the one of the longest wait that is not longer: scores of fewer windows vary more, so that it is rather too
    high than too low.
    """
    return max((one for one in thresholds if one.wait <= wait), key=lambda one: one.wait, default=None)


def known_steps(steps: int, ends: np.ndarray, offsets: range, ahead: int, wait: int) -> np.ndarray:
    """Return the step (steps,) at which a follower that waits has the score of each of `steps` steps.

    The network has outputs at `offsets` from the ends (n,) of the windows, each of which is complete `ahead` steps
    after its end. A step before the first of these windows is scored once that is complete.
    """
    at = np.arange(steps)
    known = at + wait
    if not len(ends):
        return known
    position = np.searchsorted(ends, at - offsets[-1])
    first = ends[position.clip(max=len(ends) - 1)]
    is_scored = (position < len(ends)) & (first <= at - offsets[0])
    return np.where(is_scored, np.maximum(known, first + ahead - 1), known)


def mean_over_windows(
    shares: np.ndarray, ends: np.ndarray, offsets: range, ahead: int, known_at: np.ndarray
) -> np.ndarray:
    """Return for each step the mean of the `shares` (n, sensors) of the windows with an output for it (steps, sensors).

    The windows, with outputs at `offsets` from their `ends` (n,), are those that are complete at the step `known_at`
    (steps,). NaN where there is none. The windows of a step are added in an order that does not depend on where the
    table begins, so that its score has the same last digit in every table.
    """
    total, count = np.zeros((len(known_at), shares.shape[1])), np.zeros((len(known_at), 1))
    for offset in offsets:  # ends are distinct, so that no step is added to twice at once
        is_known = ends + ahead - 1 <= known_at[ends + offset]
        steps = (ends + offset)[is_known]
        total[steps] += shares[is_known]
        count[steps] += 1
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def to_json(thresholds: Sequence[OnlineThreshold]) -> list[dict[str, Any]]:
    """Return `thresholds` as plain values."""
    return [
        {"wait": one.wait, "threshold": one.threshold, **({} if one.seen is None else {"seen": asdict(one.seen)})}
        for one in thresholds
    ]


def from_json(content: Iterable[Mapping[str, Any]]) -> tuple[OnlineThreshold, ...]:
    """Return the thresholds that `to_json` gave."""
    return tuple(
        OnlineThreshold(one["wait"], one["threshold"], ScoreHistory(**one["seen"]) if "seen" in one else None)
        for one in content
    )
