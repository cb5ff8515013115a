"""Confidence intervals and significance tests of losses: pure functions on arrays, two-sided, with Student's t."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

ROUNDING_TOLERANCE = 1e-12
"""Relative difference up to which two losses count as equal: the same number computed in another order."""


@dataclass(frozen=True)
class MeanInterval:
    """The mean of `count` values with its confidence interval, in their unit."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a - b over `count` pairs with its confidence interval, and the p value of "no difference"."""

    mean: float
    low: float
    high: float
    p_value: float
    count: int


@dataclass(frozen=True)
class DieboldMariano:
    """Diebold-Mariano statistic and p value; `mean_difference` of loss a - loss b is below 0 where a is better."""

    statistic: float
    p_value: float
    mean_difference: float


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> MeanInterval:
    """Return the mean of independent `values` (n,) with its interval by Student's t with n - 1 degrees of freedom.

    With one value low and high are NaN, with none the mean is too. Raises ValueError when a value is
    not finite.
    """
    finite = _finite("values", values)
    n = len(finite)
    mean = float(finite.mean()) if n else float("nan")
    half_width = _half_width(finite, confidence)
    return MeanInterval(mean, mean - half_width, mean + half_width, n)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Return the mean of a - b over matched samples (n,), its interval and the p value of Student's paired t test.

    The pairs must be independent of each other: seeds, or configurations alike in all but one setting.
    With one pair low, high and p are NaN, with none the mean is too. Where all differences are the same, the
    interval has no width and p is 1 when they are 0, else 0. Raises ValueError when the lengths differ
    or a value is not finite.
    """
    difference = _difference(a, b)
    n = len(difference)
    interval = mean_interval(difference, confidence)
    p_value = float("nan")
    if n >= 2:
        p_value = _p_value(_ratio(interval.mean, _standard_deviation(difference) / math.sqrt(n)), n - 1)
    return PairedDifference(interval.mean, interval.low, interval.high, p_value, n)


def diebold_mariano(loss_a: ArrayLike, loss_b: ArrayLike, horizon: int = 1) -> DieboldMariano:
    """Return the test of equal accuracy of two forecasters, from their losses (n,) at the same origins in time order.

    Statistic of Diebold and Mariano (1995), the variance of the mean difference from its
    autocovariances up to lag horizon - 1 with equal weights, with the small-sample correction and
    the t distribution with n - 1 degrees of freedom of Harvey, Leybourne and Newbold (1997).
    `horizon` counts origins: with a stride pass ceil(horizon / stride), the number of forecasts that overlap.

    Where the variance so estimated is not above 0, which equal weights allow, lag k gets the weight
    1 - k / horizon (Newey and West 1987), which does not. Where all differences are 0 the statistic
    is 0 and p is 1; where they are all the same and not 0, infinite and 0. With fewer than two origins, or not more
    than `horizon`, nothing can be tested: both are NaN unless all differences are 0. Raises ValueError when the
    lengths differ, a loss is not finite or `horizon` is below 1.
    """
    if horizon < 1:
        raise ValueError(f"horizon: must be at least 1, got {horizon}")
    difference = _difference(loss_a, loss_b)
    n = len(difference)
    mean = float(difference.mean()) if n else float("nan")
    if n and not difference.any():
        return DieboldMariano(0.0, 1.0, 0.0)
    if n < 2 or n <= horizon:
        return DieboldMariano(float("nan"), float("nan"), mean)
    centred = difference - mean if np.ptp(difference) > 0 else np.zeros(n)
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in range(horizon)]) / n
    variance = covariance[0] + 2 * covariance[1:].sum()
    if variance <= ROUNDING_TOLERANCE * covariance[0]:
        variance = covariance[0] + 2 * (1 - np.arange(1, horizon) / horizon) @ covariance[1:]
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = correction * _ratio(mean, math.sqrt(max(variance, 0.0) / n))
    return DieboldMariano(statistic, _p_value(statistic, n - 1), mean)


def indistinguishable_from_best(
    losses: pd.DataFrame,
    horizon: int = 1,
    alpha: float = 0.05,
    replicates: Literal["seeds", "origins"] = "seeds",
) -> list[str]:
    """Return the columns of `losses` whose mean is not significantly above the smallest mean, best first.

    Rows are replicates, columns configurations. Each column is compared with the best one over the rows both
    have: over seeds by the paired t test, over origins (rows in the order of time) by `diebold_mariano` with
    `horizon`. The p values are two-sided and corrected by Holm's step-down method (1979), so that the chance to
    exclude any column that is as good as a best one named beforehand is at most `alpha`; that the best is chosen
    by the same losses is not corrected for. With few replicates little is significant, and the set is large;
    with one it is the best column alone.

    A column with fewer finite values than the fullest one is left out, since a mean over few replicates is
    luck, and so is one that cannot be tested against the best (fewer than two rows in common, or not more than
    `horizon`). Raises ValueError when `replicates` is neither word or two columns have one name.
    """
    if replicates not in ("seeds", "origins"):
        raise ValueError(f"replicates: must be 'seeds' or 'origins', got {replicates!r}")
    if not losses.columns.is_unique:
        raise ValueError(f"losses: column {losses.columns[losses.columns.duplicated()][0]!r} stands twice")
    finite = losses.where(np.isfinite(losses))
    counts = finite.count()
    if not counts.any():
        return []
    finite = finite.loc[:, counts == counts.max()]
    means = finite.mean().sort_values(kind="stable")
    best = finite[means.index[0]]
    p_values = {}
    for name in means.index[1:]:
        shared = pd.concat([finite[name], best], axis=1).dropna().to_numpy()
        rival_losses, best_losses = shared.T
        if replicates == "seeds":
            p_value = paired_difference(rival_losses, best_losses).p_value
        else:
            p_value = diebold_mariano(rival_losses, best_losses, horizon).p_value
        if len(shared) > 1 and not math.isnan(p_value):
            p_values[name] = p_value
    corrected = holm(list(p_values.values()))
    return [means.index[0], *(name for name, p_value in zip(p_values, corrected, strict=True) if p_value > alpha)]


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return the p values (n,) after Holm's step-down correction (1979): those up to alpha are rejected together.

    NaN, where nothing could be tested, stays NaN and does not count.
    """
    values = np.asarray(p_values, float)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1.0)
    return corrected


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: must be finite, got {array[~np.isfinite(array)][0]}; leave such values out before")
    return array


def _difference(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """The differences a - b, with rounding errors set to 0."""
    first, second = _finite("first sample", a), _finite("second sample", b)
    if first.shape != second.shape:
        raise ValueError(f"samples must be matched, got {len(first)} and {len(second)} values")
    return np.where(np.isclose(first, second, rtol=ROUNDING_TOLERANCE, atol=0), 0.0, first - second)


def _half_width(values: np.ndarray, confidence: float) -> float:
    n = len(values)
    if n < 2:
        return float("nan")
    return float(stdtrit(n - 1, (1 + confidence) / 2)) * _standard_deviation(values) / math.sqrt(n)


def _standard_deviation(values: np.ndarray) -> float:
    """Standard deviation (n - 1), exactly 0 where all values are the same."""
    return float(values.std(ddof=1)) if np.ptp(values) > 0 else 0.0


def _ratio(mean: float, standard_error: float) -> float:
    """Mean over its standard error, 0 for 0 / 0 and infinite for other / 0."""
    if standard_error > 0:
        return mean / standard_error
    return math.copysign(math.inf, mean) if mean else 0.0


def _p_value(statistic: float, degrees_of_freedom: int) -> float:
    return float(2 * stdtr(degrees_of_freedom, -abs(statistic)))
