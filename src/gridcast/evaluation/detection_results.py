"""Anomaly scores and thresholds of the test span, by a detector or a baseline.

Each is scored as a follower of the live stream would score it: once, at a step's own time or after a wait, from what is
known by then. Scores in hindsight, which know the whole span, are kept beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gridcast.config import Anomaly, threshold_rules
from gridcast.data.dataset import Dataset
from gridcast.data.splits import Spans
from gridcast.evaluation import thresholds
from gridcast.evaluation.promised_threshold import promised_threshold
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import events, online, running_threshold
from gridcast.runtime.detector import Detector, scaled_values
from gridcast.runtime.online import OnlineThreshold
from gridcast.runtime.preprocessing import Preprocessing

ContributionsAfter = Callable[[np.ndarray, Sequence[int | None]], list[np.ndarray]]
"""From values in scaled units to the contributions of the sensors to the scores, both (steps, sensors).

There is one result for each number of steps that a follower waits; None stands for hindsight.
"""


@dataclass(frozen=True)
class ScoredSteps:
    """Contributions (steps, sensors) to the scores of a span, NaN without a score, and thresholds (steps,).

    Both are in squared scaled units, or in the baseline's own units. `known_at` (steps,) is the step of the span at
    which each score is known.
    """

    contributions: np.ndarray
    thresholds: np.ndarray
    known_at: np.ndarray


@dataclass(frozen=True)
class AnomalyScores:
    """The scores of the test span: of a follower who waits `wait` steps, of one who does not wait, and in hindsight.

    `notes` are for readers of the scores. `started` is when the work began, in seconds since 1970; 0 where that is
    unknown. `validation` are measures of the validation span, by the names that runs have for them.
    """

    online: ScoredSteps
    at_once: ScoredSteps
    hindsight: ScoredSteps
    wait: int
    notes: tuple[str, ...] = ()
    started: float = 0.0
    validation: Mapping[str, float] = field(default_factory=dict)


def span_contributions_after(
    contribute: ContributionsAfter,
    values: np.ndarray,
    span: tuple[int, int],
    *,
    lookback: int,
    waits: Sequence[int | None],
) -> list[np.ndarray]:
    """Return the contributions (steps, sensors) at the steps of `span`, known after each of `waits`.

    Windows may begin `lookback` steps before the span. None among `waits` stands for hindsight.
    """
    start, end = span
    first = max(0, start - lookback)
    return [contributions[start - first :] for contributions in contribute(values[first:end], waits)]


def thresholds_before_test(
    contribute: ContributionsAfter,
    values: np.ndarray,
    spans: Spans,
    *,
    lookback: int,
    anomaly: Anomaly,
    waits: Sequence[int],
    promise: float | None = None,
) -> tuple[OnlineThreshold, tuple[OnlineThreshold, ...]]:
    """Return the thresholds by the rule of `anomaly`: of scores in hindsight, and of those after each of `waits`.

    They are fitted to the scores of all steps before the test span. Scores of training steps alone would be too small,
    since the network was fitted to them. A conformal threshold is taken from the validation span alone, which nothing
    was fitted to. For a running threshold the score history comes along that it continues from, else None. With a
    `promise`, the false alarms per step, they are those that keep it.
    """
    start = spans.train if anomaly.threshold == "conformal" else spans.start
    hindsight, *after = (
        fit_rule(events.anomaly_score(one), anomaly, promise)
        for one in span_contributions_after(
            contribute, values, (start, spans.validation), lookback=lookback, waits=(None, *waits)
        )
    )
    return OnlineThreshold(lookback, *hindsight), tuple(
        OnlineThreshold(wait, threshold, seen) for wait, (threshold, seen) in zip(waits, after, strict=True)
    )


def fit_rule(
    scores: np.ndarray, anomaly: Anomaly, promise: float | None
) -> tuple[float, running_threshold.ScoreHistory | None]:
    """Return the threshold of `scores` (n,) by the rule of `anomaly`, and the history that a running one starts from.

    A `promise` of false alarms per step takes the place of the rule's level. Raises DataError without a score.
    """
    if promise is None:
        return thresholds.fit_threshold_with_history(scores, anomaly.threshold, anomaly.level)
    history = running_threshold.score_history(scores) if anomaly.threshold == threshold_rules.RUNNING else None
    kept = promised_threshold(scores, promise, min_steps=anomaly.min_steps, merge_gap=anomaly.merge_gap)
    return kept, history


def detector_scores(detector: Detector, dataset: Dataset) -> AnomalyScores:
    """Return the scores of the test span by `detector`, which was trained on any data of the same sensors."""
    values, (start, end) = scaled_values(detector.preprocessing, dataset.target.T), dataset.spans["test"]
    first, wait = max(0, start - detector.lookback), detector.wait
    views = span_contributions_after(
        detector.contributions_after, values, (start, end), lookback=detector.lookback, waits=(wait, 0, None)
    )

    def scored(contributions: np.ndarray, steps: int | None) -> ScoredSteps:
        limits = detector.limits(events.anomaly_score(contributions), steps)
        if steps is None:
            return ScoredSteps(contributions, limits, _known_in_hindsight(end - start))
        known_at = detector.known_at(values[first:end], steps)[start - first :] - (start - first)
        return ScoredSteps(contributions, limits, known_at)

    after_wait, at_once, hindsight = map(scored, views, (wait, 0, None))
    return AnomalyScores(after_wait, at_once, hindsight, wait)


def simple_detector(name: str, dataset: Dataset, *, end: int | None = None, seed: int = 0) -> Detector:
    """Return the simple detector `name` without thresholds, fitted to the steps before `end`: the training span."""
    training, lookback = dataset.channels[0, : end or dataset.spans.train], dataset.preprocessing.lookback
    state = DETECTOR_BASELINES[name](training, lookback=lookback, seed=seed)
    return untuned_detector(dataset, dataset.preprocessing, state, name)


def untuned_detector(dataset: Dataset, preprocessing: Preprocessing, network: Any, kind: str) -> Detector:
    """Return the detector of `kind` as the experiment wants it, without thresholds and statistics."""
    anomaly = dataset.anomaly
    assert anomaly is not None
    level = threshold_rules.checked_level(anomaly.threshold, anomaly.level)
    return Detector(
        preprocessing,
        network,
        kind,
        threshold=math.inf,
        rule=anomaly.threshold,
        level=level,
        usual=(),
        least=anomaly.min_steps,
        gap=anomaly.merge_gap,
        promise=dataset.promise,
    )


def fit_thresholds(detector: Detector, dataset: Dataset) -> Detector:
    """Return `detector` with the thresholds of its scores, see `thresholds_before_test`."""
    assert dataset.anomaly is not None
    final, after = thresholds_before_test(
        detector.contributions_after,
        dataset.channels[0],
        dataset.spans,
        lookback=detector.lookback,
        anomaly=dataset.anomaly,
        waits=online.calibrated_waits(detector.wait, detector.settling),
        promise=dataset.promise,
    )
    fitted = replace(detector, threshold=final.threshold, seen=final.seen, online=after)
    followed = fitted.threshold_after(fitted.wait)
    if dataset.promise is None or followed.seen is None:
        return fitted
    # A running threshold keeps the promise by its level: that of the scores which a follower has.
    return replace(fitted, level=followed.seen.level_of(followed.threshold))


def _known_in_hindsight(steps: int) -> np.ndarray:
    """Delays in hindsight are those of an observer who knows each score at its step, from windows that lie ahead."""
    return np.arange(steps)
