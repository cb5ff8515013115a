"""Tests of whether new values differ from those that a model was trained on: pure functions on (series, steps) arrays.

Neighbouring steps depend on each other and seasons come and go, so a week of new values never looks like independent
draws from years of old ones: p values computed for independent draws would raise an alarm in every season. Here a new
stretch is compared with the reference data, and so is each stretch of the same length inside the reference data with
the rest of it; only a difference that is rare among those is drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

BINS = 10
"""Bins of the population stability index: deciles of the training span."""
MIN_SHARE = 1e-4
"""Share of an empty bin, whose logarithm would not be finite."""
MIN_BLOCKS, MAX_STRETCHES = 8, 40
"""Stretches without overlap that the reference data must contain, and stretches, with overlap, that are compared."""
MIN_STUCK_STEPS = 10
"""A run of one value that is not longer is never called stuck."""


@dataclass(frozen=True)
class Shift:
    """How far a new stretch differs from the reference data.

    `psi` and `ks` are its population stability index and Kolmogorov-Smirnov statistic. 95 % of the stretches of this
    length in the reference data stay below `usual_psi` and `usual_ks`, and the p values are those of the hypothesis
    that the new stretch is like them; `blocks` of them fit into the reference data without overlap.
    """

    psi: float
    usual_psi: float
    psi_p_value: float
    ks: float
    usual_ks: float
    ks_p_value: float
    blocks: int


def ranks(training: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the rank (series, n), 0 to 1, of each of `values` among those of its series in `training`.

    The rank is the share of training values below plus half the share of equal ones, so that series of any scale can be
    pooled. It is NaN where the value is, and for a series never observed in training.
    """
    result = np.full(values.shape, np.nan)
    for row, (train_values, new_values) in enumerate(zip(training, values, strict=True)):
        ordered, is_finite = np.sort(train_values[np.isfinite(train_values)]), np.isfinite(new_values)
        if len(ordered):
            below, upto = (np.searchsorted(ordered, new_values[is_finite], side) for side in ("left", "right"))
            result[row, is_finite] = (below + upto) / (2 * len(ordered))
    return result


def step_changes(values: np.ndarray) -> np.ndarray:
    """Return the absolute change from each step of `values` (series, steps) to the next, (series, steps - 1)."""
    return np.asarray(np.abs(np.diff(values, axis=1)))


def bin_shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of the finite `values` in each bin (len(edges) + 1,); a value on an edge is in the bin above."""
    finite = values[np.isfinite(values)]
    counts = np.bincount(np.searchsorted(edges, finite, "right"), minlength=len(edges) + 1)
    return np.asarray(counts / max(len(finite), 1))


def psi(expected: np.ndarray, observed: np.ndarray) -> float:
    """Return the population stability index of two arrays of shares of the same bins; empty bins count as MIN_SHARE.

    The sum of (observed - expected) ln(observed / expected): Jeffreys' divergence (Siddiqi 2006, "Credit Risk
    Scorecards": below 0.1 no notable shift, up to 0.25 a moderate one, above it a large one).
    """
    a, b = np.maximum(expected, MIN_SHARE), np.maximum(observed, MIN_SHARE)
    return float(np.sum((b - a) * np.log(b / a)))


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest distance between the distribution functions of the finite values of two samples."""
    # SciPy's own also computes a p value, in twenty times the time.
    one, other = (np.sort(values[np.isfinite(values)]) for values in (first, second))
    both = np.concatenate([one, other])
    shares = (np.searchsorted(sample, both, "right") / len(sample) for sample in (one, other))
    return float(np.abs(np.subtract(*shares)).max())


def longest_stretch(steps: int) -> int:
    """Return the length of the longest stretch that can be compared with `steps` others, of which MIN_BLOCKS fit in."""
    return steps // MIN_BLOCKS


def measure_shift(reference: np.ndarray, train: int, new: np.ndarray) -> Shift:
    """Return how far `new` (series, n) differs from `reference` (series, steps).

    Both are taken as `ranks` in the first `train` steps of the reference, all series pooled. Each stretch of n steps in
    the reference is compared with the rest of it as the new one is with all of it. The logarithm of a statistic is
    taken as normal over stretches: its p value is that of Student's t for one more draw, with as many draws as
    stretches fit without overlap; overlapping ones only make the mean and the deviation more precise.

    Raises ValueError when `n` is longer than `longest_stretch` allows.
    """
    n, steps = new.shape[1], reference.shape[1]
    if not 0 < n <= longest_stretch(steps):
        raise ValueError(
            f"new: {n} steps cannot be compared with {steps} reference steps, at most {longest_stretch(steps)} can"
        )
    reference_ranks, new_ranks = ranks(reference[:, :train], reference), ranks(reference[:, :train], new)
    blocks = steps // n
    starts = np.unique(np.linspace(0, steps - n, min(4 * blocks, MAX_STRETCHES)).astype(int))
    pairs = [
        (np.delete(reference_ranks, np.s_[start : start + n], axis=1), reference_ranks[:, start : start + n])
        for start in starts
    ]
    usual = np.array([_distances(rest, stretch) for rest, stretch in pairs])
    psi_value, ks_value = _distances(reference_ranks, new_ranks)
    usual_psi, psi_p_value = _upper_limit_and_p_value(psi_value, usual[:, 0], blocks)
    usual_ks, ks_p_value = _upper_limit_and_p_value(ks_value, usual[:, 1], blocks)
    return Shift(
        psi=psi_value,
        usual_psi=usual_psi,
        psi_p_value=psi_p_value,
        ks=ks_value,
        usual_ks=usual_ks,
        ks_p_value=ks_p_value,
        blocks=blocks,
    )


def _distances(rest: np.ndarray, stretch: np.ndarray) -> tuple[float, float]:
    """Return PSI and Kolmogorov-Smirnov statistic; NaN where one of the two has no value."""
    if not (np.isfinite(rest).any() and np.isfinite(stretch).any()):
        return math.nan, math.nan
    edges = np.arange(1, BINS) / BINS
    return psi(bin_shares(rest, edges), bin_shares(stretch, edges)), kolmogorov_smirnov(rest, stretch)


def _upper_limit_and_p_value(value: float, usual: np.ndarray, blocks: int) -> tuple[float, float]:
    """Return the 95 % quantile of the `usual` values, and the p value of `value` among them."""
    finite = usual[np.isfinite(usual)]
    if len(finite) < 2 or not math.isfinite(value):
        return math.nan, math.nan
    logs, log = np.log(np.maximum(finite, MIN_SHARE)), math.log(max(value, MIN_SHARE))
    error = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / blocks)
    distance = log - float(logs.mean())
    p_value = float(stdtr(blocks - 1, -distance / error)) if error > 0 else float(distance <= 0)
    return float(np.quantile(finite, 0.95)), p_value


def final_runs(reference: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the length (series,) of the run of one value that ends each series of `new`, and the longest normal run.

    Normal is twice the longest run in `reference` (series, steps), and at least MIN_STUCK_STEPS.
    """
    return _run_lengths(new)[:, -1], np.maximum(2 * _run_lengths(reference).max(axis=1), MIN_STUCK_STEPS)


def _run_lengths(values: np.ndarray) -> np.ndarray:
    """Return the length (series, steps) of the run of equal values that ends at each step; 0 where there is none."""
    steps = np.arange(values.shape[1])
    is_start = np.ones(values.shape, bool)
    is_start[:, 1:] = values[:, 1:] != values[:, :-1]
    lengths = steps - np.maximum.accumulate(np.where(is_start, steps, 0), axis=1) + 1
    return np.where(np.isfinite(values), lengths, 0)


def increase_p_value(now: np.ndarray, before: np.ndarray, overlap: int = 1, *, freedom: float | None = None) -> float:
    """Return the one-sided p value of "the mean of `now` (n,) is not above that of `before` (m,)", both in time order.

    Neighbours depend on each other: the variance of each mean is that of Newey and West (1987) over the lags that they
    propose, 4 (n / 100) ** (2 / 9), and at least over the `overlap` of forecasts. The degrees of `freedom` of that
    variance are n + m - 2 by default. NaN with fewer than three values on a side.
    """
    if min(len(now), len(before)) < 3:
        return math.nan
    error = math.sqrt(sum(_variance_of_mean(values, overlap) for values in (now, before)))
    difference = float(np.mean(now) - np.mean(before))
    freedom = len(now) + len(before) - 2 if freedom is None else freedom
    return float(stdtr(freedom, -difference / error)) if error > 0 else float(difference <= 0)


def independent_blocks(steps: int, overlap: int) -> float:
    """Return how many blocks of steps, as long as neighbours depend on each other, fit into `steps`."""
    return steps / (_dependent_lags(steps, overlap) + 1)


def _dependent_lags(steps: int, overlap: int) -> int:
    return max(int(4 * (steps / 100) ** (2 / 9)), overlap - 1)


def _variance_of_mean(values: np.ndarray, overlap: int) -> float:
    n, centred = len(values), values - np.mean(values)
    lags = min(_dependent_lags(n, overlap), n - 2)
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in range(lags + 1)]) / n
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    return float(covariance[0] + 2 * weights @ covariance[1:]) / (n - 1)
