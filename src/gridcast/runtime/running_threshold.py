"""A threshold that is taken anew at each step, from all scores before it. Pure; it travels in every logged model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_SCORE = 1e-6
"""Scores below count as this much: their logarithms would outweigh all others."""
MIN_LOG_VARIANCE = 1e-14
"""Variance of logarithms that all have at least: equal scores lie not above a threshold that rounding made of them."""


@dataclass(frozen=True)
class ScoreHistory:
    """How many scores there were so far, and the mean and the variance of their logarithms."""

    count: int
    mean: float
    variance: float

    def limit(self, level: float) -> float:
        """The threshold after them: the mean plus `level` standard deviations of the logarithms, as a score."""
        return float(np.exp(self.mean + level * np.sqrt(max(self.variance, MIN_LOG_VARIANCE))))


def score_history(scores: np.ndarray) -> ScoreHistory:
    """Of `scores` (n,), of which one at least is finite; the others are passed over."""
    logs = _logs(scores[np.isfinite(scores)])
    return ScoreHistory(len(logs), float(np.mean(logs)), float(np.var(logs)))


def thresholds_and_history(scores: np.ndarray, level: float, before: ScoreHistory) -> tuple[np.ndarray, ScoreHistory]:
    """The threshold of each step (steps,) of `scores` (steps,), and what was seen after the last of them.

    It is the mean plus `level` standard deviations of the logarithms of all scores before the step, those that went
    `before` these too: what goes on for long is normal in the end. A score that is not finite is passed over.
    """
    known = np.isfinite(scores)
    away = np.where(known, _logs(np.where(known, scores, 1.0)) - before.mean, 0.0)
    count = before.count + np.append(0, np.cumsum(known))
    shift = np.append(0.0, np.cumsum(away)) / count
    variance = (before.count * before.variance + np.append(0.0, np.cumsum(away**2))) / count - shift**2
    limits = np.exp(before.mean + shift + level * np.sqrt(np.maximum(variance, MIN_LOG_VARIANCE)))
    return limits[:-1], ScoreHistory(int(count[-1]), float(before.mean + shift[-1]), float(max(variance[-1], 0.0)))


def thresholds(scores: np.ndarray, first: float, level: float, before: ScoreHistory | None) -> np.ndarray:
    """The threshold of each step (steps,) of `scores` (steps,): `first` at all of them where there is nothing to go on
    from.
    """
    return np.full(len(scores), first) if before is None else thresholds_and_history(scores, level, before)[0]


def _logs(scores: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(scores, MIN_SCORE))
