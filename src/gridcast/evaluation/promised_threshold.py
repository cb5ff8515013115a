"""The threshold that keeps a promise of few false alarms, and how far some days of normal operation show it. Pure."""

from __future__ import annotations

import numpy as np

from gridcast.runtime import events
from gridcast.runtime.errors import DataError
from gridcast.runtime.running_threshold import MIN_SCORE

TAIL_EVENTS = 40
"""Events above the threshold from which the tail of the scores is taken: fewer are too few to fit, more are no tail."""
EXTRAPOLATION = 10.0
"""How many times the span of the scores a threshold may look ahead: nothing shows the shape of the tail beyond."""
TRIED_QUANTILES = 80
CONFIDENCE = 0.95


def promised_threshold(scores: np.ndarray, rate: float, *, min_steps: int, merge_gap: int) -> float:
    """Return the threshold that `rate` events per step are expected to exceed, from `scores` (n,) in normal operation.

    Events are those of `events.spans`; scores are in the order of time, NaN where there is none. Scores that belong
    together are one alarm, so the tail is that of the events' peaks and not of the steps: peaks over a threshold after
    declustering (Coles 2001, "An Introduction to Statistical Modeling of Extreme Values", section 5.3). Its shape is
    that of Pareto, with the exponent of Hill's estimator: scores are squares, whose logarithms fall off exponentially.

    A rate that the scores cannot show is extrapolated to, by `EXTRAPOLATION` times their span at most. Raises DataError
    where no score is finite.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        raise DataError("no step of normal operation has an anomaly score: there is nothing to take a threshold from")
    start, spans = _tail(scores, finite, min_steps, merge_gap)
    if not len(spans):  # such as scores that are all the same
        return float(finite.max())
    peaks = np.array([_peak(scores[first:end], min_steps, merge_gap) for first, end in spans])
    expected = max(rate, 1 / (EXTRAPOLATION * len(finite))) * len(finite)
    if expected >= len(peaks):
        return start
    exponent = float(np.mean(np.log(peaks / start)))
    return float(start * (len(peaks) / expected) ** exponent)


def _tail(scores: np.ndarray, finite: np.ndarray, min_steps: int, merge_gap: int) -> tuple[float, np.ndarray]:
    """The highest score that `TAIL_EVENTS` events exceed, and these; else the one that most events exceed."""
    best: tuple[float, np.ndarray] = float(finite.max()), np.zeros((0, 2), int)
    for share in np.geomspace(min(2 / len(finite), 0.5), 0.5, TRIED_QUANTILES):
        start = max(float(np.quantile(finite, 1 - share)), MIN_SCORE)
        spans = events.spans(scores > start, min_steps, merge_gap)
        if len(spans) > len(best[1]):
            best = start, spans
        if len(spans) >= TAIL_EVENTS:
            break
    return best


def _peak(scores: np.ndarray, min_steps: int, merge_gap: int) -> float:
    """The lowest threshold at which the event of these `scores` is none any more."""
    levels = np.unique(scores[np.isfinite(scores)])
    if min_steps == 1:
        return float(levels[-1])
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if len(events.spans(scores > levels[middle], min_steps, merge_gap)):
            low = middle + 1
        else:
            high = middle
    return float(levels[low])


def rate_interval(alarms: int, days: float) -> tuple[float, float]:
    """Return the alarms per day that `alarms` in `days` days are compatible with, at 95 %.

    The interval is exact for alarms that come at random, independently of each other (Garwood 1936, "Fiducial limits
    for the Poisson distribution"). Without an alarm the whole error lies above.
    """
    from scipy.special import gammaincinv

    tail = (1 - CONFIDENCE) / (2 if alarms else 1)
    low = float(gammaincinv(alarms, tail)) if alarms else 0.0
    return low / days, float(gammaincinv(alarms + 1, 1 - tail)) / days


def is_broken(alarms: int, days: float, promised_per_day: float) -> bool:
    """Whether `alarms` in `days` days are more than a detector with the promise would raise by chance."""
    return days > 0 and rate_interval(alarms, days)[0] > promised_per_day


def promise_sentence(promise: str, promised_per_day: float, alarms: int, days: float) -> str:
    """Return how the `alarms` in `days` days of validation relate to the `promise`, such as `1 per week`."""
    low, high = rate_interval(alarms, days)
    count = f"{alarms} alarm{'s' * (alarms != 1)} in {_days_text(days)}"
    if low > promised_per_day:
        return (
            f"It breaks its promise of {promise} (anomaly.false_alarms): {count}, at least {_rate_text(low)} at 95 %. "
            "The validation span is unlike the training span, or its events are real: look at them."
        )
    if high > promised_per_day:
        return (
            f"It promises false alarms of at most {promise}. A validation of {_days_text(days)} cannot show that: "
            f"{count}, at most {_rate_text(high)} at 95 %."
        )
    return f"It keeps its promise of {promise} (anomaly.false_alarms): {count}, at most {_rate_text(high)} at 95 %."


def _days_text(days: float) -> str:
    if days >= 1:
        return f"{days:.1f} days"
    return f"{24 * days:.1f} hours" if days >= 1 / 24 else f"{1440 * days:.1f} minutes"


def _rate_text(per_day: float) -> str:
    if per_day >= 1:
        return f"{per_day:.0f} a day" if per_day >= 10 else f"{per_day:.1f} a day"
    return f"{7 * per_day:.1f} a week"
