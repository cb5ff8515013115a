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


def all_metrics(
    score: np.ndarray,
    threshold: float | np.ndarray,
    labels: np.ndarray,
    *,
    steps_per_day: float,
    min_steps: int = 1,
    merge_gap: int = 0,
) -> dict[str, float]:
    """Return every metric of `score` (steps,) against `labels` (steps,), True where a step is anomalous.

    Alarms are the steps of the events that `spans` makes of the scores above `threshold`, one or (steps,). precision,
    recall and f1 count steps. event_precision is the share of raised events that touch a labelled one, event_recall
    the share of labelled events that a raised one touches. auc_pr (average precision) and vus_pr need no threshold.
    delay_steps is the mean, over the detected events, of the steps from their beginning to the first alarm in them.
    false_alarms_per_day counts raised events that touch no labelled one, per day of steps that are scored and
    not labelled. A step without a score (NaN) raises no alarm and ranks below all others.

    NaN where a metric is undefined: recall without labels, precision without alarms.
    """
    labels = np.asarray(labels, bool)
    raised, actual = spans(score > threshold, min_steps, merge_gap), spans(labels)
    alarms = _is_inside(raised, len(score))
    hits = int(np.sum(alarms & labels))
    touches_label = [bool(labels[start:end].any()) for start, end in raised]
    delays = [int(np.argmax(alarms[start:end])) for start, end in actual if alarms[start:end].any()]
    event_precision, event_recall = _ratio(sum(touches_label), len(raised)), _ratio(len(delays), len(actual))
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
        "false_alarms_per_day": _ratio(len(raised) - sum(touches_label), normal_days),
    }


def auc_pr(score: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the precision-recall curve, as average precision; NaN where no step is labelled."""
    from sklearn.metrics import average_precision_score

    ranks = np.unique(score, return_inverse=True)[1]  # scores may be -inf, which scikit-learn refuses
    return float(average_precision_score(labels, ranks)) if labels.any() else float("nan")


def vus_pr(score: np.ndarray, labels: np.ndarray, longest: int = MAX_BUFFER) -> float:
    """Return the volume under the surface of precision, recall and buffer length, 0 to 1; NaN without a labelled step.

    Metric of Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin (2022), "Volume Under the Surface: A New
    Accuracy Evaluation Measure for Time-Series Anomaly Detection". The labels decay as
    sqrt(1 - d / length) at distance d, half a buffer to each side of an event, so that an alarm near it is worth
    something; where two buffers meet, the nearer event counts. Recall is multiplied by the share of the widened
    events with an alarm. The mean is taken over the buffers 0, 1, .. `longest`, and each area over all
    thresholds, where the authors' program takes 250 of them. Even perfect scores stay below 1, since a buffer asks
    for alarms around the events too.
    """
    if not labels.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(score), int)  # of each step in that order
    rank[order] = np.arange(len(score))
    ranked = score[order]
    cuts = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last rank above each possible threshold
    areas = []
    for length in range(longest + 1):
        worth = _widened(labels, length)
        detected = np.cumsum(worth[order])[cuts]
        first_ranks = np.sort([rank[start:end].min() for start, end in spans(worth > 0)])
        share_touched = np.searchsorted(first_ranks, cuts, "right") / len(first_ranks)
        recall = np.minimum(2 * detected / (labels.sum() + worth.sum()), 1) * share_touched
        precision = np.append(1.0, detected / (cuts + 1))
        areas.append(np.sum(np.diff(recall, prepend=0) * (precision[1:] + precision[:-1]) / 2))
    return float(np.mean(areas))


def _widened(labels: np.ndarray, length: int) -> np.ndarray:
    """Worth (steps,) of an alarm at each step, 0 to 1, with a buffer of `length` steps."""
    steps, labelled = np.arange(len(labels)), np.flatnonzero(labels)
    next_label = np.searchsorted(labelled, steps).clip(max=len(labelled) - 1)
    distance = np.minimum(np.abs(labelled[next_label] - steps), np.abs(labelled[(next_label - 1).clip(0)] - steps))
    decayed = np.sqrt(np.maximum(1 - distance / max(length, 1), 0))
    return np.where(labels, 1.0, np.where(distance <= length // 2, decayed, 0.0))


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
