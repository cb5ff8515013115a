"""A threshold that is recomputed at each step from all scores before it: mean plus deviations of their logarithms.

Pure.
"""

from __future__ import annotations

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
        return float(np.exp(self.mean + level * np.sqrt(max(self.variance, MIN_LOG_VARIANCE))))

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
    is_finite = np.isfinite(scores)
    # Sums of differences from the mean so far rather than of the logarithms themselves: these would cancel.
    deviation = np.where(is_finite, _logarithms(np.where(is_finite, scores, 1.0)) - history.mean, 0.0)
    count = history.count + np.append(0, np.cumsum(is_finite))
    shift = np.append(0.0, np.cumsum(deviation)) / count
    squares = history.count * history.variance + np.append(0.0, np.cumsum(deviation**2))
    variance = squares / count - shift**2
    thresholds = np.exp(history.mean + shift + level * np.sqrt(np.maximum(variance, MIN_LOG_VARIANCE)))
    after = ScoreHistory(int(count[-1]), float(history.mean + shift[-1]), float(max(variance[-1], 0.0)))
    return thresholds[:-1], after


def thresholds(scores: np.ndarray, fixed: float, level: float, history: ScoreHistory | None) -> np.ndarray:
    """Return the threshold of each step (steps,) of `scores` (steps,): the `fixed` one if there is no history."""
    return np.full(len(scores), fixed) if history is None else thresholds_and_history(scores, level, history)[0]


def _logarithms(scores: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(scores, MIN_SCORE))
