"""Metrics of anomaly scores and alarms against labels. Pure, and without point adjustment.

With point adjustment one alarm anywhere in a labelled event makes all its steps count as detected, so that random
scores look good (Kim et al. 2022, "Towards a Rigorous Evaluation of Time-Series Anomaly Detection"). Here a step is
detected only by an alarm at that step; events are counted separately.
"""

from __future__ import annotations

import numpy as np

from gridcast.runtime.events import spans

MAX_BUFFER = 100
"""The longest buffer of `vus_pr`, in steps."""
VUS_THRESHOLDS = 250
"""Thresholds of `vus_pr`, as in its authors' program."""


def all_metrics(
    score: np.ndarray,
    threshold: float | np.ndarray,
    labels: np.ndarray,
    *,
    steps_per_day: float,
    min_steps: int = 1,
    merge_gap: int = 0,
    known_at: np.ndarray | None = None,
) -> dict[str, float]:
    """Return every metric of `score` (steps,) against `labels` (steps,), True where a step is anomalous.

    Alarms are the steps of the events that `spans` makes of the scores above `threshold`, one or (steps,). precision,
    recall and f1 count steps. event_recall is the share of labelled events that a raised one touches. event_precision
    is the share of these detected events among them and the false alarms, which are raised events that touch no
    labelled one: however many fragments detect an event, it counts once. auc_pr (average precision) and vus_pr need no
    threshold. delay_steps is the mean of `detection_delays`. false_alarms_per_day counts false alarms per day of steps
    that are scored and not labelled. A step without a score (NaN) raises no alarm and ranks below all others.

    NaN where a metric is undefined: recall without labels, precision without alarms.
    """
    labels = np.asarray(labels, bool)
    raised, actual = spans(score > threshold, min_steps, merge_gap), spans(labels)
    alarms = _is_inside(raised, len(score))
    hits = int(np.sum(alarms & labels))
    delays = detection_delays(score > threshold, labels, min_steps=min_steps, merge_gap=merge_gap, known_at=known_at)
    false_alarms = sum(not labels[start:end].any() for start, end in raised)
    event_precision, event_recall = _ratio(len(delays), len(delays) + false_alarms), _ratio(len(delays), len(actual))
    normal_days = np.sum(np.isfinite(score) & ~labels) / steps_per_day
    ranked = np.where(np.isfinite(score), score, -np.inf)
    return {
        "precision": _ratio(hits, alarms.sum()),
        "recall": _ratio(hits, labels.sum()),
        "f1": _ratio(2 * hits, alarms.sum() + labels.sum()),
        "event_precision": event_precision,
        "event_recall": event_recall,
        "event_f1": _f1(event_precision, event_recall),
        "auc_pr": auc_pr(ranked, labels),
        "vus_pr": vus_pr(ranked, labels),
        "delay_steps": float(np.mean(delays)) if delays else float("nan"),
        "false_alarms_per_day": _ratio(false_alarms, normal_days),
    }


def detection_delays(
    flags: np.ndarray,
    labels: np.ndarray,
    *,
    min_steps: int = 1,
    merge_gap: int = 0,
    known_at: np.ndarray | None = None,
) -> list[int]:
    """Return, for each labelled event that an alarm touches, the steps from its beginning until that is known.

    `flags` and `labels` (steps,) are True where the score exceeds the threshold, and where a step is anomalous.
    `known_at` (steps,) is the step at which each score is known: the step itself if it is not given. An alarm is
    raised once so many of its steps are known that they make an event of `min_steps`; one that was raised before the
    labelled event began detects it when the score of a step in it is known.
    """
    at = np.arange(len(flags)) if known_at is None else known_at
    raised, delays = spans(flags, min_steps, merge_gap).tolist(), []
    for start, end in spans(labels).tolist():
        for first, last in raised:
            if first >= end or last <= start:
                continue
            # The last step of an alarm is flagged, so there is a flagged step from either position on.
            decisive = max(start, first, first + min_steps - 1)
            flagged = decisive + int(np.argmax(flags[decisive:last]))
            delays.append(int(at[flagged]) - start)
            break
    return delays


def auc_pr(score: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the precision-recall curve, as average precision; NaN where no step is labelled.

    A step without a score (NaN) ranks below all others, steps of equal scores are raised together.
    """
    # As `average_precision_score` of scikit-learn, whose checks of its input take ten times as long as the sum.
    labels = np.asarray(labels, bool)
    if not labels.any():
        return float("nan")
    ranked = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-ranked)
    raised, found = np.arange(1, len(order) + 1), np.cumsum(labels[order])
    ends_tie = np.append(ranked[order][1:] != ranked[order][:-1], True)
    precision, recall = found[ends_tie] / raised[ends_tie], found[ends_tie] / found[-1]
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def vus_pr(score: np.ndarray, labels: np.ndarray, longest: int = MAX_BUFFER) -> float:
    """Return the volume under the surface of precision, recall and buffer length, 0 to 1; NaN without a labelled step.

    Metric of Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin (2022), "Volume Under the Surface: A New
    Accuracy Evaluation Measure for Time-Series Anomaly Detection". In a buffer of half a length to each side of an
    event, an alarm at distance d is worth sqrt(1 - d / length); where two buffers meet, the worths add up to 1 at
    most. Recall is the worth of the alarms over its largest value, which is the number of labelled steps plus half of
    what the alarms in buffers are worth, so that perfect scores reach 1. It is multiplied by the share of widened
    events with an alarm. The areas are sums of precision times the growth of recall, and the volume is their mean over
    the lengths 0, 1, .. `longest`.

    As in the authors' program the thresholds are 250 scores, evenly spaced by rank, which few steps notice. To these
    is added the one with as many alarms as labelled steps: without it perfect scores would stay below 1.
    """
    labels = np.asarray(labels, bool)
    if not labels.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(score), int)  # of each step in that order
    rank[order] = np.arange(len(score))
    alarms = _alarm_counts(score[order], int(labels.sum()))
    hits, events = np.cumsum(labels[order])[alarms - 1], spans(labels)
    areas = []
    for length in range(longest + 1):
        worth, widened = _widened(labels, events, length)
        detected = np.cumsum(worth[order])[alarms - 1]
        first_ranks = np.sort([rank[start:end].min() for start, end in widened])
        share_touched = np.searchsorted(first_ranks, alarms) / len(widened)
        recall = np.minimum(detected / (labels.sum() + (detected - hits) / 2), 1) * share_touched
        areas.append(np.sum(np.diff(recall, prepend=0) * detected / alarms))
    return float(np.mean(areas))


def _alarm_counts(ranked: np.ndarray, labelled: int) -> np.ndarray:
    """Numbers of alarms, ascending, at the thresholds of `vus_pr`; `ranked` are the scores, the highest first."""
    positions = np.append(np.linspace(0, len(ranked) - 1, VUS_THRESHOLDS).astype(int), labelled - 1)
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1  # equal scores raise alarms together
    return np.unique(ends[np.searchsorted(ends, positions, "right")])


def _widened(labels: np.ndarray, events: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Worth (steps,) of an alarm at each step with a buffer of `length`, and the widened `events` (n, 2).

    Events whose buffers overlap become one.
    """
    half, steps, worth = length // 2, len(labels), labels.astype(float)
    fading = np.sqrt(1 - np.arange(1, half + 1) / max(length, 1))
    for start, end in events:
        before, after = min(half, start), min(half, steps - end)
        worth[start - before : start] += fading[:before][::-1]
        worth[end : end + after] += fading[:after]
    starts, ends = np.maximum(events[:, 0] - half, 0), np.minimum(events[:, 1] + half, steps)
    is_apart = starts[1:] >= ends[:-1]
    return np.minimum(worth, 1), np.stack([starts[np.append(True, is_apart)], ends[np.append(is_apart, True)]], axis=1)


def _is_inside(stretches: np.ndarray, steps: int) -> np.ndarray:
    """True (steps,) inside the `stretches` (n, 2), [start, end) each."""
    edges = np.zeros(steps + 1, int)
    np.add.at(edges, stretches[:, 0], 1)
    np.add.at(edges, stretches[:, 1], -1)
    return np.cumsum(edges[:-1]) > 0


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 where nothing was right, even where nothing was raised. NaN where there is nothing to detect."""
    if np.isnan(recall):
        return recall
    return 2 * precision * recall / (precision + recall) if precision > 0 and recall > 0 else 0.0
