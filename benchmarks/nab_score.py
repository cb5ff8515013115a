"""The score of the Numenta Anomaly Benchmark (NAB), by its standard profile. Pure.

Rules of Lavin and Ahmad (2015), "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark", as
its program has them since version 1.1. In a window only its first alarm counts, the more the earlier it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Window = tuple[int, int]
"""Steps [start, end) around a labelled anomaly in which an alarm detects it."""
MISS_WEIGHT = 1.0
"""Weight of a missed window; a detected one weighs 1."""
FALSE_ALARM_WEIGHT = 0.11
"""Weight of a false alarm."""
PROBATION_SHARE = 0.15
"""Share of a file, at its beginning, that detectors may learn from and that is not scored."""
MAX_PROBATION = 750
"""Most steps of that beginning."""


def nab_score(files: Iterable[tuple[np.ndarray, Sequence[Window]]]) -> float:
    """Return the NAB score over `files`: 100 for a perfect detector, 0 for one that never raises an alarm.

    A file is its alarms (steps,), one for every row, and its windows. Raises ValueError where no file has a window.
    """
    total, count = 0.0, 0
    for alarms, windows in files:
        total += file_score(alarms, windows)
        count += len(windows)
    if not count:
        raise ValueError("files: none has a window, so there is nothing to find")
    return 100 * (total + MISS_WEIGHT * count) / (count + MISS_WEIGHT * count)


def file_score(alarms: np.ndarray, windows: Sequence[Window]) -> float:
    """Return the score of one file before normalisation: at most 1 per window, -1 for a missed one, less false alarms.

    Alarms of the first 15 % of the steps, 750 at most, do not count.
    """
    worth, window = _worth_of_alarms(len(alarms), windows)
    counted = np.asarray(alarms, bool) & (np.arange(len(alarms)) >= probation_steps(len(alarms)))
    by_window = [np.max(worth[counted & (window == k)], initial=-MISS_WEIGHT) for k in range(len(windows))]
    return float(np.sum(worth[counted & (window < 0)]) + np.sum(by_window))


def best_score(files: Sequence[tuple[np.ndarray, Sequence[Window]]]) -> tuple[float, float]:
    """Return the highest NAB score over all thresholds, and the threshold; alarms are the scores at or above it.

    A file is its scores (steps,) and its windows. This is how NAB itself takes the thresholds of its scoreboard,
    with the labels in view: good for a comparison with it, and for nothing else. An infinite threshold, so no alarm
    at all, is among them.
    """
    # Each score at which lowering the threshold past it changes the total, and by how much it does.
    scores, gains = [], []
    for score, windows in files:
        worth, window = _worth_of_alarms(len(score), windows)
        counted = np.isfinite(score) & (np.arange(len(score)) >= probation_steps(len(score)))
        outside = counted & (window < 0)
        scores.append(score[outside])
        gains.append(worth[outside])
        for k in range(len(windows)):
            steps = np.flatnonzero(counted & (window == k))
            steps = steps[np.argsort(-score[steps], kind="stable")]
            best_so_far = np.maximum.accumulate(np.append(-MISS_WEIGHT, worth[steps]))
            scores.append(score[steps])
            gains.append(np.diff(best_so_far))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    ranked, total = np.concatenate(scores)[order], np.cumsum(np.concatenate(gains)[order])
    cuts = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
    if not len(cuts) or total[cuts].max() <= 0:
        return 0.0, float("inf")
    best_cut = cuts[np.argmax(total[cuts])]
    count = sum(len(windows) for _, windows in files)
    # The gains count from a total with every window missed, the score of no alarm at all.
    return float(100 * total[best_cut] / (count + MISS_WEIGHT * count)), float(ranked[best_cut])


def probation_steps(steps: int) -> int:
    """Return the number of steps at the beginning of a file of `steps` that are not scored."""
    return min(int(PROBATION_SHARE * steps), MAX_PROBATION)


def _worth_of_alarms(steps: int, windows: Sequence[Window]) -> tuple[np.ndarray, np.ndarray]:
    """Worth (steps,) of an alarm at each step, and the number of the window that the step lies in, -1 outside."""
    worth, window = np.full(steps, -FALSE_ALARM_WEIGHT), np.full(steps, -1)
    at = np.arange(steps)
    for k, (start, end) in enumerate(sorted(windows)):
        inside, after, width = slice(start, end), slice(end, steps), end - start
        worth[inside] = _scaled_sigmoid((at[inside] - end) / width) / _scaled_sigmoid(np.array(-1.0))
        window[inside] = k
        position = (at[after] - end + 1) / max(width - 1, 1)
        worth[after] = FALSE_ALARM_WEIGHT * np.where(position >= 3, -1.0, _scaled_sigmoid(position))
    return worth, window


def _scaled_sigmoid(position: np.ndarray) -> np.ndarray:
    """1 long before `position` 0, the end of a window in units of its width, and -1 long after it."""
    return np.asarray(np.tanh(-2.5 * position))  # 2 / (1 + exp(5 position)) - 1
