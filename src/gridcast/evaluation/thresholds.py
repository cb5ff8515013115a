"""Thresholds of anomaly scores, fitted to scores of normal operation: pure functions.

The scores are those of training or calibration steps, never of steps that are judged; a running threshold also uses
the scores before the step that is judged. A step is anomalous where its score lies strictly above the threshold, so
scores that are all the same raise no alarm.
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
"""Share of the scores below the tail that `peaks_over_threshold` fits, as Siffer et al. take it."""
MIN_EXCESSES = 20
"""Fewest excesses that a tail is fitted to; with fewer, `peaks_over_threshold` returns the quantile."""


def mean_std(scores: np.ndarray, level: float) -> float:
    """Return the mean plus `level` standard deviations of `scores` (n,)."""
    return float(np.mean(scores) + level * np.std(scores))


def lognormal(scores: np.ndarray, level: float) -> float:
    """Return exp of the mean plus `level` standard deviations of the logarithms of `scores` (n,).

    Scores are squares, among which one that is a thousand times as large is no surprise. The `running` rule starts
    from this threshold and recomputes it at each step from all scores before, see `runtime.running_threshold`.
    """
    return running_threshold.score_history(scores).threshold(level)


def median_mad(scores: np.ndarray, level: float) -> float:
    """Return the median plus `level` robust standard deviations: 1.4826 median absolute deviations from the median.

    Where more than half of the scores are the same, so that the median deviation is 0, it is 1.2533 mean
    absolute deviations (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
    """
    deviations = np.abs(scores - np.median(scores))
    spread = MAD_TO_STD * np.median(deviations) or math.sqrt(math.pi / 2) * np.mean(deviations)
    return float(np.median(scores) + level * spread)


def quantile(scores: np.ndarray, level: float) -> float:
    """Return the smallest of `scores` (n,) with at most the share `level` of them above it."""
    return float(np.quantile(scores, 1 - level, method="inverted_cdf"))


def peaks_over_threshold(scores: np.ndarray, level: float) -> float:
    """Return the value that a share `level` of scores is expected to exceed, from a generalised Pareto tail.

    The tail is fitted by maximum likelihood to the scores above the quantile `TAIL_START`. Method of the
    initialisation of SPOT (Siffer, Fouque, Termier and Largouet 2017, "Anomaly Detection in Streams with Extreme
    Value Theory", equation 1). Returns the quantile where the tail cannot be used: with fewer than `MIN_EXCESSES`
    different excesses, for a `level` inside the body of the scores, or where the fit does not end in a finite value.
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
    threshold = start + unit * scale * float(-boxcox(level * len(scores) / len(excesses), -shape))
    return threshold if math.isfinite(threshold) else quantile(scores, level)


def conformal(scores: np.ndarray, level: float) -> float:
    """Return the value that a further score exceeds with probability `level` at most: its false-alarm rate.

    The score of rank ceil((n + 1)(1 - level)): split conformal prediction (Papadopoulos et al. 2002, "Inductive
    Confidence Machines for Regression"; for anomalies, Laxhammar and Falkman 2015). It holds where the
    scores are those of calibration steps that nothing was fitted to, and the further one is exchangeable with
    them. With fewer than 1 / level - 1 scores none of them can guarantee so small a rate: the largest is
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
"""Function of each threshold rule; the same keys as `config.threshold_rules.DEFAULT_LEVELS`."""


def fit_threshold_with_history(
    scores: np.ndarray, name: str, level: float | None = None
) -> tuple[float, running_threshold.ScoreHistory | None]:
    """Return `fit_threshold`, and the score history that a running threshold continues from, None for other rules.

    Raises as `fit_threshold` does.
    """
    threshold = fit_threshold(scores, name, level)
    return threshold, running_threshold.score_history(np.asarray(scores, float)) if name == RUNNING else None


def fit_threshold(scores: np.ndarray, name: str, level: float | None = None) -> float:
    """Return the threshold of the rule `name` at `level`, in the unit of `scores` (n,); NaN scores are ignored.

    Scores that are all the same, or a single one, are their own threshold. Raises ConfigError where name or level
    is not allowed, DataError where no score is finite.
    """
    level = checked_level(name, level)
    finite = np.asarray(scores, float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        raise DataError("no step of normal operation has an anomaly score: there is nothing to take a threshold from")
    if finite.min() == finite.max():  # whose mean may differ from them in the last digit
        return float(finite[0])
    return THRESHOLDS[name](finite, level)
