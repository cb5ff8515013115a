"""The test span, touched once by each detector: what it says of every step, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridcast.config import Anomaly, threshold_rules
from gridcast.data.splits import Spans
from gridcast.evaluation import thresholds
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import events, running_threshold
from gridcast.runtime.detector import Detector, scaled_values

if TYPE_CHECKING:
    from gridcast.data.dataset import Dataset


ContributionFunction = Callable[[np.ndarray], np.ndarray]
"""From values to contributions, both (steps, sensors) in scaled units."""


@dataclass(frozen=True)
class AnomalyScores:
    """Contributions (steps, sensors) to the scores of the test span, NaN where nothing can be told, and thresholds.

    Both are in squared scaled units, or in those of the baseline that says it. `thresholds` are (steps,).
    """

    contributions: np.ndarray
    thresholds: np.ndarray
    notes: tuple[str, ...] = ()


def span_contributions(
    contribute: ContributionFunction, values: np.ndarray, span: tuple[int, int], lookback: int
) -> np.ndarray:
    """Contributions of the steps of `span`, which may look `lookback` steps back over its start."""
    start, end = span
    first = max(0, start - lookback)
    return contribute(values[first:end])[start - first :]


def threshold_before_test(
    contribute: ContributionFunction, values: np.ndarray, spans: Spans, lookback: int, chosen: Anomaly
) -> tuple[float, running_threshold.ScoreHistory | None]:
    """The threshold that was `chosen`, and what a running one goes on from, of the scores of all before the test span.

    Those of training alone are smaller than others will be. A conformal one is of the validation span, not fitted to.
    """
    start = spans.train if chosen.threshold == "conformal" else spans.start
    scores = events.anomaly_score(span_contributions(contribute, values, (start, spans.validation), lookback))
    return thresholds.fit_threshold_with_state(scores, chosen.threshold, chosen.level)


def detector_scores(detector: Detector, dataset: Dataset) -> AnomalyScores:
    """What `detector`, trained on whatever data of the same sensors, says of the test span."""
    values = scaled_values(detector.preprocessing, dataset.target.T)
    found = span_contributions(detector.contributions, values, dataset.spans["test"], detector.lookback)
    return AnomalyScores(found, detector.limits(events.anomaly_score(found)))


def baseline_scores(name: str, dataset: Dataset) -> AnomalyScores:
    """What the baseline `name` says of the test span; its thresholds follow the same rule, from its own scores."""
    values, spans, lookback = dataset.channels[0], dataset.spans, dataset.preprocessing.lookback
    training = values[: spans.train]

    def contribute(part: np.ndarray) -> np.ndarray:
        return DETECTOR_BASELINES[name](training, part, lookback, 0)

    assert dataset.anomaly is not None
    first, seen = threshold_before_test(contribute, values, spans, lookback, dataset.anomaly)
    found = span_contributions(contribute, values, spans["test"], lookback)
    level = threshold_rules.checked_level(dataset.anomaly.threshold, dataset.anomaly.level)
    return AnomalyScores(found, running_threshold.thresholds(events.anomaly_score(found), first, level, seen))
