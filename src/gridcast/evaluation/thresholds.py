"""Above which anomaly score a step is anomalous: pure functions of scores of normal operation.

The scores are those of training or calibration steps, never of steps that are judged; those before a step that is
judged count too where the threshold is a running one. A step is anomalous where its score lies strictly above the
threshold, so scores that are all the same raise no alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gridcast.config.threshold_rules import RUNNING, checked_level
from gridcast.data.series_statistics import MAD_TO_STD
from gridcast.runtime import running_threshold
from gridcast.runtime.errors import DataError

TAIL_START = 0.98
"""Share of the scores below the first threshold of `peaks_over_threshold`, as Siffer et al. take it."""
MIN_EXCESSES = 20
"""Excesses that a tail is fitted to; with fewer `peaks_over_threshold` is the quantile."""


def mean_std(scores: np.ndarray, level: float) -> float:
    """Mean plus `level` standard deviations of `scores` (n,)."""
    return float(np.mean(scores) + level * np.std(scores))


def lognormal(scores: np.ndarray, level: float) -> float:
    """The same of their logarithms: scores are squares, among which one that is a thousand times as large is no wonder.

    `running` starts from it, and takes it anew at each step from all scores before, see `running.along`.
    """
    return running_threshold.score_history(scores).threshold(level)


def median_mad(scores: np.ndarray, level: float) -> float:
    """Median plus `level` robust standard deviations: 1.4826 median absolute deviations from the median.

    Where more than half of the scores are the same, so that the median deviation is 0, it is 1.2533 mean
    absolute deviations (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
    """
    away = np.abs(scores - np.median(scores))
    spread = MAD_TO_STD * np.median(away) or math.sqrt(math.pi / 2) * np.mean(away)
    return float(np.median(scores) + level * spread)


def quantile(scores: np.ndarray, level: float) -> float:
    """The smallest of `scores` (n,) with at most the share `level` of them above it."""
    return float(np.quantile(scores, 1 - level, method="inverted_cdf"))


def peaks_over_threshold(scores: np.ndarray, level: float) -> float:
    """The value above which a share `level` of scores is expected, from a generalised Pareto tail.

    The tail is fitted by maximum likelihood to what lies above the quantile `PEAKS`. Method of the
    initialisation of SPOT (Siffer, Fouque, Termier and Largouet 2017, "Anomaly Detection in Streams with Extreme
    Value Theory", equation 1). It is the quantile where the tail says nothing: with fewer than `ENOUGH` excesses
    that differ, for a `level` inside the body of the scores, or where the fit finds no finite answer.
    """
    from scipy.special import boxcox
    from scipy.stats import genpareto

    start = float(np.quantile(scores, TAIL_START))
    excesses = scores[scores > start] - start
    if len(np.unique(excesses)) < MIN_EXCESSES or level * len(scores) >= len(excesses):
        return quantile(scores, level)
    unit = float(np.mean(excesses))  # the optimiser starts from a spread near 1
    shape, _, scale = genpareto.fit(excesses / unit, floc=0)
    # (r ** -shape - 1) / shape, and its limit -log(r) where the shape is 0.
    found = start + unit * scale * float(-boxcox(level * len(scores) / len(excesses), -shape))
    return found if math.isfinite(found) and found >= start else quantile(scores, level)


def conformal(scores: np.ndarray, level: float) -> float:
    """The value that a further score exceeds with probability `level` at most: its false-alarm rate.

    The score of rank ceil((n + 1)(1 - level)): split conformal prediction (Papadopoulos et al. 2002, "Inductive
    Confidence Machines for Regression"; for anomalies, Laxhammar and Falkman 2015). It holds where the
    scores are those of calibration steps that nothing was fitted to, and the further one is exchangeable with
    them. With fewer than 1 / level - 1 scores no value of theirs can promise so little: the largest is
    returned, whose rate is 1 / (n + 1).
    """
    rank = math.ceil((len(scores) + 1) * (1 - level) - 1e-9)  # 0.9 times 10 is 9, not what floats make of it
    return float(np.sort(scores)[min(max(rank, 1), len(scores)) - 1])


THRESHOLDS: dict[str, Callable[[np.ndarray, float], float]] = {
    "mean-std": mean_std,
    "lognormal": lognormal,
    RUNNING: lognormal,
    "quantile": quantile,
    "median-mad": median_mad,
    "peaks-over-threshold": peaks_over_threshold,
    "conformal": conformal,
}


def fit_threshold_with_state(
    scores: np.ndarray, name: str, level: float | None = None
) -> tuple[float, running_threshold.ScoreHistory | None]:
    """The `threshold`, and what a running one goes on from, None for all others. Raises as it does."""
    return fit_threshold(scores, name, level), running_threshold.score_history(
        np.asarray(scores, float)
    ) if name == RUNNING else None


def fit_threshold(scores: np.ndarray, name: str, level: float | None = None) -> float:
    """The threshold `name` of `scores` (n,) at `level`, in the unit of the scores; NaN scores are passed over.

    Scores that are all the same, one alone too, are their own threshold. Raises ConfigError where name or level
    is not allowed, DataError where no score is finite.
    """
    taken = checked_level(name, level)
    known = np.asarray(scores, float)
    known = known[np.isfinite(known)]
    if not len(known):
        raise DataError("no step of normal operation has an anomaly score: there is nothing to take a threshold from")
    if known.min() == known.max():  # whose mean may differ from them in the last digit
        return float(known[0])
    return THRESHOLDS[name](known, taken)
