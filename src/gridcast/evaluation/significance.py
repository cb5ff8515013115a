"""Confidence intervals and significance tests of losses: pure functions on arrays, two-sided, with Student's t."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.fft import dct
from scipy.special import stdtr, stdtrit

ROUNDING_TOLERANCE = 1e-12
"""Relative difference up to which two losses count as equal: the same number computed in another order."""
MIN_SEEDS = 3
"""Seeds below which a difference between settings is described and not tested: two have a t interval of 13 errors."""
MAX_PERSISTENCE = 0.7
"""Autocorrelation from which on no test holds its size with the origins that a test span has."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and the degrees of freedom of that error; NaN and 0 where it has none."""

    mean: float
    standard_error: float
    degrees: int

    @property
    def p_value(self) -> float:
        """Two-sided p value of "the mean is 0"; NaN where nothing can be tested."""
        if self.degrees < 1 or math.isnan(self.standard_error):
            return float("nan")
        return _p_value(_ratio(self.mean, self.standard_error), self.degrees)

    def half_width(self, confidence: float = 0.95) -> float:
        """Return half the width of the confidence interval, by Student's t; NaN where there is none."""
        if self.degrees < 1:
            return float("nan")
        return float(stdtrit(self.degrees, (1 + confidence) / 2)) * self.standard_error

    def p_within(self, margin: float) -> float:
        """Return the p value of "the mean is `margin` or more away from 0", by two one-sided tests (Schuirmann 1987).

        Where it is small, the mean is shown to be 0 within `margin`. NaN where nothing can be tested.
        """
        return replace(self, mean=abs(self.mean)).p_below(margin)

    def p_below(self, margin: float) -> float:
        """Return the one-sided p value of "the mean is `margin` or more"; NaN where nothing can be tested."""
        if self.degrees < 1 or math.isnan(self.standard_error):
            return float("nan")
        return float(stdtr(self.degrees, _ratio(self.mean - margin, self.standard_error)))


@dataclass(frozen=True)
class DieboldMariano:
    """Diebold-Mariano statistic and p value; `mean_difference` of loss a - loss b is below 0 where a is better.

    `standard_error` is that of the mean difference, with `degrees` of freedom; NaN and 0 where nothing can be tested.
    """

    statistic: float
    p_value: float
    mean_difference: float
    standard_error: float = float("nan")
    degrees: int = 0

    @property
    def estimate(self) -> Estimate:
        """The mean difference with its error."""
        return Estimate(self.mean_difference, self.standard_error, self.degrees)


def crossed_mean(values: pd.Series) -> Estimate:
    """Return the mean of `values`, indexed by seed and fold, with the error of a mean over seeds drawn at random.

    A seed has the same initial weights on each fold, and a fold the same data for each seed: neither the cells nor the
    pairs behind them are independent. So seeds are the replicates, each averaged over its folds, with seeds - 1 degrees
    of freedom. From three folds on their variance is added (the two-way clustered error of Cameron, Gelbach and Miller
    2011, without subtracting the part that both share: on the safe side), with the fewer degrees of the two. Below
    `MIN_SEEDS` seeds there is no error. Values of one seed and fold are averaged; those that are NaN do not count.
    """
    numbers = values.to_numpy(float)
    known = ~np.isnan(numbers)
    seed, fold = (pd.factorize(values.index.get_level_values(level)[known])[0] for level in ("seed", "fold"))
    cell = seed * (fold.max(initial=0) + 1) + fold
    # The mean of each cell first, so that a cell counts once however many pairs are behind it.
    cells, first = np.unique(cell, return_index=True)
    means = (np.bincount(cell, numbers[known]) / np.maximum(np.bincount(cell), 1))[cells]
    seeds, folds = (np.bincount(code[first], means) / np.bincount(code[first]) for code in (seed, fold))
    mean = float(seeds.mean()) if len(seeds) else float("nan")
    if len(seeds) < MIN_SEEDS:
        return Estimate(mean, float("nan"), 0)
    variance, degrees = _standard_deviation(seeds) ** 2 / len(seeds), len(seeds) - 1
    if len(folds) >= MIN_SEEDS:
        variance += _standard_deviation(folds) ** 2 / len(folds)
        degrees = min(degrees, len(folds) - 1)
    return Estimate(mean, math.sqrt(variance), degrees)


def diebold_mariano(loss_a: ArrayLike, loss_b: ArrayLike, horizon: int = 1) -> DieboldMariano:
    """Return the test of equal accuracy of two forecasters, from their losses (n,) at the same origins in time order.

    The statistic of Diebold and Mariano (1995) with a long-run variance that holds its size with few origins and long
    horizons, where autocovariances up to lag horizon - 1 reject up to five times too often: see `long_run_mean`, and
    `benchmarks/noise.py` for the sizes measured. `horizon` counts origins: with a stride pass ceil(horizon / stride),
    the number of forecasts that overlap.

    Where all differences are 0 the statistic is 0 and p is 1; where they are all the same and not 0, infinite and 0.
    Where nothing can be tested, statistic and p are NaN. Raises ValueError when the lengths differ, a loss is not
    finite or `horizon` is below 1.
    """
    difference = _difference(loss_a, loss_b)
    if len(difference) and not difference.any():
        return DieboldMariano(0.0, 1.0, 0.0, 0.0, max(len(difference) - 1, 1))
    estimate = long_run_mean(difference, horizon)
    if not estimate.degrees:
        return DieboldMariano(float("nan"), float("nan"), estimate.mean)
    statistic = _ratio(estimate.mean, estimate.standard_error)
    return DieboldMariano(statistic, estimate.p_value, estimate.mean, estimate.standard_error, estimate.degrees)


def long_run_mean(values: ArrayLike, overlap: int = 1) -> Estimate:
    """Return the mean of `values` (n,) in time order with an error that allows for their dependence in time.

    The variance is the mean square of the projections on the first cosines, and the ratio has as many degrees of
    freedom as there are cosines: equally weighted cosines (Lazarus, Lewis, Stock and Watson 2018), a fixed-smoothing
    test such as Coroneo and Iacone (2020) recommend for comparing forecasts. The number of cosines is n / 2 over the
    steps that depend on each other, at most 0.4 n^(2/3). These steps are the `overlap` of neighbouring values, times
    (1 + r) / (1 - r), where r is the autocorrelation at the lag of the overlap, corrected for its bias in short
    samples. Fewer than two such spans tell nothing about the variance, nor does an r of `MAX_PERSISTENCE` or more: no
    error then, and 0 degrees. Raises ValueError for values that are not finite and an overlap below 1.
    """
    if overlap < 1:
        raise ValueError(f"horizon: must be at least 1, got {overlap}")
    series = _finite("values", values)
    n = len(series)
    mean = float(series.mean()) if n else float("nan")
    span = dependent_steps(series, overlap)
    if n < 2 * span:
        return Estimate(mean, float("nan"), 0)
    count = max(1, int(min(n / (2 * span), 0.4 * n ** (2 / 3))))
    if np.ptp(series) == 0:
        return Estimate(mean, 0.0, count)
    # SciPy's cosine transform of type 2 is twice the sum over the values times cos(pi k (t + 1/2) / n).
    projections = math.sqrt(2 / n) * dct(series - mean, type=2)[1 : count + 1] / 2
    return Estimate(mean, math.sqrt(float(np.mean(projections**2)) / n), count)


def dependent_steps(values: np.ndarray, overlap: int) -> float:
    """Return how many neighbouring `values` (n,) depend on each other; at least `overlap`.

    Infinite from an autocorrelation of `MAX_PERSISTENCE` on. See `long_run_mean`.
    """
    n = len(values)
    if n <= overlap or np.ptp(values) == 0:
        return float(overlap)
    centred = values - values.mean()
    correlation = float(centred[overlap:] @ centred[:-overlap]) / float(centred @ centred)
    bias = (1 + 3 * max(correlation, 0.0)) * overlap / n
    persistence = max(correlation + bias, 0.0)
    return overlap * (1 + persistence) / (1 - persistence) if persistence < MAX_PERSISTENCE else math.inf


def compare_with_best(
    losses: pd.DataFrame, compare: Callable[[pd.Series], Estimate], *, margin: float, alpha: float = 0.05
) -> pd.Series:
    """Return for each column of `losses` how it stands to the one with the smallest mean, which is called `best`.

    `worse` where its mean is shown to be higher, `tied` where the difference is shown to be below `margin` (a share of
    the best mean), else `unclear`. `compare` returns the mean difference with its error, in units of the losses. The
    best is chosen by the same losses: so p values are corrected for all pairs of columns (Bonferroni), which holds
    whichever turns out best.
    """
    means = losses.mean().sort_values(kind="stable")
    best, pairs = means.index[0], len(means) * (len(means) - 1) / 2
    relations = {best: "best"}
    for name in means.index[1:]:
        estimate = compare(losses[name] - losses[best])
        relations[name] = "unclear"
        if estimate.p_within(margin * abs(means.iloc[0])) * pairs <= alpha:
            relations[name] = "tied"
        elif estimate.mean > 0 and estimate.p_value * pairs <= alpha:
            relations[name] = "worse"
    return pd.Series(relations, dtype=object)


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
