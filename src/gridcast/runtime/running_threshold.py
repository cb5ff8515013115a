"""A threshold that is recomputed at each step from all scores before it: mean plus deviations of their logarithms.

Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_SCORE = 1e-6
"""Lower scores count as this one: their logarithms would outweigh all others."""
MIN_LOG_VARIANCE = 1e-14
"""Lower bound of the variance of logarithms: keeps equal scores from exceeding the threshold through rounding."""


@dataclass(frozen=True)
class ScoreHistory:
    """Number of scores so far, and mean and variance of their logarithms."""

    count: int
    mean: float
    variance: float

    def threshold(self, level: float) -> float:
        """Return the threshold after these scores: exp(mean + `level` standard deviations)."""
        return math.exp(self.mean + level * math.sqrt(max(self.variance, MIN_LOG_VARIANCE)))

    def after(self, score: float) -> ScoreHistory:
        """Return the history with one more score, by the recurrence of Welford (1962)."""
        count, log = self.count + 1, math.log(max(score, MIN_SCORE))
        mean = self.mean + (log - self.mean) / count
        variance = self.variance + ((log - self.mean) * (log - mean) - self.variance) / count
        return ScoreHistory(count, mean, variance)

    def level_of(self, threshold: float) -> float:
        """Return the level at which `threshold` is the one after these scores, 0 for one below their mean."""
        deviation = np.sqrt(max(self.variance, MIN_LOG_VARIANCE))
        return float(max(0.0, (np.log(max(threshold, MIN_SCORE)) - self.mean) / deviation))


def score_history(scores: np.ndarray) -> ScoreHistory:
    """Return the history of the finite ones among `scores` (n,), of which there must be at least one."""
    logs = _logarithms(scores[np.isfinite(scores)])
    return ScoreHistory(len(logs), float(np.mean(logs)), float(np.var(logs)))


def thresholds_and_history(scores: np.ndarray, level: float, history: ScoreHistory) -> tuple[np.ndarray, ScoreHistory]:
    """Return the threshold of each step (steps,) of `scores` (steps,), and the history after the last of them.

    A threshold is exp(mean + `level` standard deviations) of the logarithms of all scores before the step, those of
    `history` included; so what lasts long becomes normal in the end. Scores that are not finite are ignored.
    """
    limits = np.empty(len(scores))
    # Step by step, so that the last digit does not depend on how the scores were cut into batches.
    for step, score in enumerate(scores.tolist()):
        limits[step] = history.threshold(level)
        if math.isfinite(score):
            history = history.after(score)
    return limits, history


def thresholds(scores: np.ndarray, fixed: float, level: float, history: ScoreHistory | None) -> np.ndarray:
    """Return the threshold of each step (steps,) of `scores` (steps,): the `fixed` one if there is no history."""
    return np.full(len(scores), fixed) if history is None else thresholds_and_history(scores, level, history)[0]


def _logarithms(scores: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(scores, MIN_SCORE))
