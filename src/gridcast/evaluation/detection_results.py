"""Anomaly scores and thresholds of the test span, by a detector or a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gridcast.config import Anomaly, threshold_rules
from gridcast.data.dataset import Dataset
from gridcast.data.splits import Spans
from gridcast.evaluation import thresholds
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import events, running_threshold
from gridcast.runtime.detector import Detector, scaled_values

ContributionFunction = Callable[[np.ndarray], np.ndarray]
"""From values in scaled units to the contributions of the sensors to the scores, both (steps, sensors)."""


@dataclass(frozen=True)
class AnomalyScores:
    """Contributions (steps, sensors) to the scores of the test span, NaN without a score, and thresholds (steps,).

    Both are in squared scaled units, or in the baseline's own units. `notes` are for readers of the scores.
    `started` is when the work began, in seconds since 1970; 0 where that is unknown.
    """

    contributions: np.ndarray
    thresholds: np.ndarray
    notes: tuple[str, ...] = ()
    started: float = 0.0


def span_contributions(
    contribute: ContributionFunction, values: np.ndarray, span: tuple[int, int], lookback: int
) -> np.ndarray:
    """Return the contributions (steps, sensors) at the steps of `span`, whose windows may begin `lookback` before."""
    start, end = span
    first = max(0, start - lookback)
    return contribute(values[first:end])[start - first :]


def threshold_before_test(
    contribute: ContributionFunction, values: np.ndarray, spans: Spans, *, lookback: int, anomaly: Anomaly
) -> tuple[float, running_threshold.ScoreHistory | None]:
    """Return the threshold by the rule of `anomaly`, from the scores of all steps before the test span.

    Scores of training steps alone would be too small, since the network was fitted to them. A conformal threshold is
    taken from the validation span alone, which nothing was fitted to. For a running threshold the score history comes
    along that it continues from, else None.
    """
    start = spans.train if anomaly.threshold == "conformal" else spans.start
    scores = events.anomaly_score(span_contributions(contribute, values, (start, spans.validation), lookback))
    return thresholds.fit_threshold_with_history(scores, anomaly.threshold, anomaly.level)


def detector_scores(detector: Detector, dataset: Dataset) -> AnomalyScores:
    """Return the scores of the test span by `detector`, which was trained on any data of the same sensors."""
    values = scaled_values(detector.preprocessing, dataset.target.T)
    contributions = span_contributions(detector.contributions, values, dataset.spans["test"], detector.lookback)
    return AnomalyScores(contributions, detector.limits(events.anomaly_score(contributions)))


def baseline_scores(name: str, dataset: Dataset) -> AnomalyScores:
    """Return the scores of the test span by the baseline `name`.

    Its thresholds follow the same rule as those of detectors, from its own scores.
    """
    assert dataset.anomaly is not None
    values, lookback = dataset.channels[0], dataset.preprocessing.lookback
    training = values[: dataset.spans.train]

    def contribute(steps: np.ndarray) -> np.ndarray:
        return DETECTOR_BASELINES[name](training, steps, lookback=lookback, seed=0)

    first, history = threshold_before_test(
        contribute, values, dataset.spans, lookback=lookback, anomaly=dataset.anomaly
    )
    contributions = span_contributions(contribute, values, dataset.spans["test"], lookback)
    level = threshold_rules.checked_level(dataset.anomaly.threshold, dataset.anomaly.level)
    limits = running_threshold.thresholds(events.anomaly_score(contributions), first, level, history)
    return AnomalyScores(contributions, limits)
