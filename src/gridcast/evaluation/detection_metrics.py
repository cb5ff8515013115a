"""How good scores and alarms are, where labels are known. Pure, and with no point adjustment.

With point adjustment one alarm anywhere in a labelled event makes all its steps count as found, so that random
scores look good (Kim et al. 2022, "Towards a Rigorous Evaluation of Time-Series Anomaly Detection"). Here a step is
found where there was an alarm at that step; events are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gridcast.runtime.events import spans

MAX_BUFFER = 100
"""The longest buffer of `vus_pr`, in steps."""
MISS, FALSE_ALARM = 1.0, 0.11
"""Weights of the standard profile of NAB; what is found weighs 1."""
PROBATION, LONGEST = 0.15, 750
"""Share of a file, and steps at most, at its beginning that NAB leaves to learning."""


def all_metrics(
    score: np.ndarray,
    threshold: float | np.ndarray,
    labels: np.ndarray,
    *,
    steps_per_day: float,
    min_steps: int = 1,
    merge_gap: int = 0,
) -> dict[str, float]:
    """Every measure of `score` (steps,) against `labels` (steps,), True where a step is anomalous.

    Alarms are the steps of the events that `spans` makes of the scores above `threshold`, one or (steps,). precision,
    recall and f1 count steps. event_precision is the share of raised events that touch a labelled one, event_recall
    the share of labelled events that a raised one touches. auc_pr (average precision) and vus_pr know no threshold.
    delay_steps is the mean over the events found of the steps from their beginning to the first alarm in them.
    false_alarms_per_day counts raised events that touch no labelled one, per day of steps that are scored and
    not labelled. A step without a score (NaN) raises no alarm and ranks below all others.

    NaN is what cannot be said: recall without labels, precision without alarms.
    """
    labels = np.asarray(labels, bool)
    raised, actual = spans(score > threshold, min_steps, merge_gap), spans(labels)
    alarms = _steps(raised, len(score))
    hits = int(np.sum(alarms & labels))
    right = [bool(labels[start:end].any()) for start, end in raised]
    first = [int(np.argmax(alarms[start:end])) for start, end in actual if alarms[start:end].any()]
    event_precision, event_recall = _ratio(sum(right), len(raised)), _ratio(len(first), len(actual))
    normal = np.sum(np.isfinite(score) & ~labels) / steps_per_day
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
        "delay_steps": float(np.mean(first)) if first else float("nan"),
        "false_alarms_per_day": _ratio(len(raised) - sum(right), normal),
    }


def auc_pr(score: np.ndarray, labels: np.ndarray) -> float:
    """Area under the curve of precision over recall, as average precision; NaN where no step is labelled."""
    from sklearn.metrics import average_precision_score

    ranks = np.unique(score, return_inverse=True)[1]  # which may hold -inf, unlike scores that scikit-learn takes
    return float(average_precision_score(labels, ranks)) if labels.any() else float("nan")


def vus_pr(score: np.ndarray, labels: np.ndarray, longest: int = MAX_BUFFER) -> float:
    """Volume under the surface of precision over recall and buffer length, 0 to 1; NaN where no step is labelled.

    Measure of Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin (2022), "Volume Under the Surface: A New
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
    place = np.empty(len(score), int)  # of each step in that order
    place[order] = np.arange(len(score))
    ranked = score[order]
    cuts = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # where a threshold can lie
    areas = []
    for length in range(longest + 1):
        worth = _widened(labels, length)
        found = np.cumsum(worth[order])[cuts]
        begun = np.sort([place[start:end].min() for start, end in spans(worth > 0)])
        touched = np.searchsorted(begun, cuts, "right") / len(begun)
        recall = np.minimum(2 * found / (labels.sum() + worth.sum()), 1) * touched
        precision = np.append(1.0, found / (cuts + 1))
        areas.append(np.sum(np.diff(recall, prepend=0) * (precision[1:] + precision[:-1]) / 2))
    return float(np.mean(areas))


def _widened(labels: np.ndarray, length: int) -> np.ndarray:
    """Worth (steps,) of an alarm at each step, 0 to 1, with a buffer of `length` steps."""
    steps, at = np.arange(len(labels)), np.flatnonzero(labels)
    next_one = np.searchsorted(at, steps).clip(max=len(at) - 1)
    away = np.minimum(np.abs(at[next_one] - steps), np.abs(at[(next_one - 1).clip(0)] - steps))
    decayed = np.sqrt(np.maximum(1 - away / max(length, 1), 0))
    return np.where(labels, 1.0, np.where(away <= length // 2, decayed, 0.0))


def nab(files: Iterable[tuple[np.ndarray, Sequence[tuple[int, int]]]]) -> float:
    """NAB score of the standard profile over `files`: 100 for a perfect detector, 0 for one that never speaks.

    A file is its alarms (steps,), one for every row, and its windows [start, end) as steps. Rules of Lavin and
    Ahmad (2015), "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark", as its
    program has them since version 1.1. Raises ValueError where no file has a window.
    """
    total, windows = 0.0, 0
    for alarms, own in files:
        total, windows = total + nab_file(alarms, own), windows + len(own)
    if not windows:
        raise ValueError("files: none has a window, so there is nothing to find")
    return 100 * (total + MISS * windows) / (windows + MISS * windows)


def nab_file(alarms: np.ndarray, windows: Sequence[tuple[int, int]]) -> float:
    """What NAB gives one file before it is normalised: 1 per window at most, -1 for a missed one, less false alarms.

    In a window only its first alarm counts, the more the earlier it is. The first 15 % of the steps, 750 at
    most, do not count.
    """
    worth, window = _nab_worth(len(alarms), windows)
    heard = np.asarray(alarms, bool) & (np.arange(len(alarms)) >= _probation(len(alarms)))
    each = [np.max(worth[heard & (window == k)], initial=-MISS) for k in range(len(windows))]
    return float(np.sum(worth[heard & (window < 0)]) + np.sum(each))


def nab_best(files: Sequence[tuple[np.ndarray, Sequence[tuple[int, int]]]]) -> tuple[float, float]:
    """The highest NAB score over all thresholds, and the threshold; alarms are the scores at or above it.

    A file is its scores (steps,) and its windows. This is how NAB itself takes the thresholds of its scoreboard,
    with the labels in view: good for a comparison with it, and for nothing else. Never to speak is a threshold too.
    """
    scores, gains = [], []
    for score, windows in files:
        worth, window = _nab_worth(len(score), windows)
        counted = np.isfinite(score) & (np.arange(len(score)) >= _probation(len(score)))
        outside = counted & (window < 0)
        scores.append(score[outside])
        gains.append(worth[outside])
        for k in range(len(windows)):
            own = np.flatnonzero(counted & (window == k))
            own = own[np.argsort(-score[own], kind="stable")]
            best = np.maximum.accumulate(np.append(-MISS, worth[own]))
            scores.append(score[own])
            gains.append(np.diff(best))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    ranked, total = np.concatenate(scores)[order], np.cumsum(np.concatenate(gains)[order])
    cuts = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
    count = sum(len(windows) for _, windows in files)
    if not len(cuts) or total[cuts].max() <= 0:
        return 0.0, float("inf")
    best_cut = cuts[np.argmax(total[cuts])]
    return float(100 * total[best_cut] / (count + MISS * count)), float(ranked[best_cut])


def _nab_worth(steps: int, windows: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """What an alarm at each step (steps,) is worth, and the window that it lies in, -1 outside."""
    worth, window = np.full(steps, -FALSE_ALARM), np.full(steps, -1)
    at = np.arange(steps)
    for k, (start, end) in enumerate(sorted(windows)):
        inside, after, width = slice(start, end), slice(end, steps), end - start
        worth[inside] = _sigmoid((at[inside] - end) / width) / _sigmoid(np.array(-1.0))
        window[inside] = k
        past = (at[after] - end + 1) / max(width - 1, 1)
        worth[after] = FALSE_ALARM * np.where(past >= 3, -1.0, _sigmoid(past))
    return worth, window


def _sigmoid(place: np.ndarray) -> np.ndarray:
    """1 long before `place` 0, the end of a window in units of its width, and -1 long after it."""
    return np.asarray(np.tanh(-2.5 * place))  # 2 / (1 + exp(5 place)) - 1


def _probation(steps: int) -> int:
    return min(int(PROBATION * steps), LONGEST)


def _steps(stretches: np.ndarray, steps: int) -> np.ndarray:
    """True (steps,) inside the `stretches` (n, 2)."""
    edges = np.zeros(steps + 1, int)
    np.add.at(edges, stretches[:, 0], 1)
    np.add.at(edges, stretches[:, 1], -1)
    return np.cumsum(edges[:-1]) > 0


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 where nothing was right, even where nothing was raised. NaN where there is nothing to find."""
    if np.isnan(recall):
        return recall
    return 2 * precision * recall / (precision + recall) if precision > 0 and recall > 0 else 0.0
