"""Whether new values are of the kind that a model was trained on: pure functions on (series, steps) arrays.

Values of neighbouring steps depend on each other and seasons come and go, so a week of new values never looks
like independent draws from years of old ones, and p values made for such draws raise an alarm for every
season. Here a new stretch is compared with the known data, and the same is done with each stretch of the same
length inside them: only what is rare among those is drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr
from scipy.stats import ks_2samp

BINS = 10
"""Of the population stability index: deciles of the training span."""
MIN_SHARE = 1e-4
"""Taken for the share of an empty bin, whose logarithm is not finite."""
MIN_BLOCKS, MAX_STRETCHES = 8, 40
"""Stretches without overlap that the known data must hold, and stretches, with overlap, that are looked at."""
MIN_STUCK_STEPS = 10
"""Steps: a value that stays for less is never called stuck."""


@dataclass(frozen=True)
class Shift:
    """How far a new stretch lies from the known data.

    `psi` and `ks` are its population stability index and Kolmogorov-Smirnov statistic, `usual_psi` and
    `usual_ks` what 19 of 20 known stretches of this length stay below, the p values those of "a stretch like
    the known ones"; `blocks` of these fit beside each other.
    """

    psi: float
    usual_psi: float
    psi_p_value: float
    ks: float
    usual_ks: float
    ks_p_value: float
    blocks: int


def ranks(training: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where each of `values` (series, n) stands among those of its series in `training` (series, steps), 0 to 1.

    The share below it and half the share of its equals. So series of all sizes can be looked at together. NaN stays
    NaN, and so does a series never seen in training.
    """
    found = np.full(values.shape, np.nan)
    for row, (own, asked) in enumerate(zip(training, values, strict=True)):
        known, given = np.sort(own[np.isfinite(own)]), np.isfinite(asked)
        if len(known):
            below, upto = (np.searchsorted(known, asked[given], side) for side in ("left", "right"))
            found[row, given] = (below + upto) / (2 * len(known))
    return found


def step_changes(values: np.ndarray) -> np.ndarray:
    """Size of the change from each step of `values` (series, steps) to the next one (series, steps - 1)."""
    return np.asarray(np.abs(np.diff(values, axis=1)))


def bin_shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the finite `values` in each bin (len(edges) + 1,); a value on an edge belongs to the bin above."""
    known = values[np.isfinite(values)]
    counts = np.bincount(np.searchsorted(edges, known, "right"), minlength=len(edges) + 1)
    return np.asarray(counts / max(len(known), 1))


def psi(expected: np.ndarray, found: np.ndarray) -> float:
    """Population stability index of two lists of shares of the same bins; an empty bin counts as LEAST_SHARE.

    The sum of (found - expected) ln(found / expected): Jeffreys' divergence (Siddiqi 2006, "Credit Risk
    Scorecards": below 0.1 nothing to speak of, up to 0.25 a moderate shift, above it a large one).
    """
    a, b = np.maximum(expected, MIN_SHARE), np.maximum(found, MIN_SHARE)
    return float(np.sum((b - a) * np.log(b / a)))


def kolmogorov_smirnov(one: np.ndarray, other: np.ndarray) -> float:
    """Largest distance of the distribution functions of two samples, of their finite values."""
    samples = (values[np.isfinite(values)] for values in (one, other))
    return float(ks_2samp(*samples, method="asymp").statistic)


def longest_stretch(steps: int) -> int:
    """The longest stretch that can be judged by `steps` known ones: BLOCKS of them must fit in."""
    return steps // MIN_BLOCKS


def measure_shift(known: np.ndarray, train: int, new: np.ndarray) -> Shift:
    """How far `new` (series, n) lies from `known` (series, steps), whose first `train` steps fix the bins.

    Both are taken by their `ranks` in the training steps, all series together. Each known stretch of n steps
    is compared with the rest of the known steps as the new one is with all of them. The logarithm of a
    statistic is taken for normal over stretches: its p value is that of Student's t for one more draw, with
    as many stretches as fit beside each other; those that overlap only steady mean and deviation.

    Raises ValueError when `n` is longer than `longest` allows.
    """
    n, steps = new.shape[1], known.shape[1]
    if not 0 < n <= longest_stretch(steps):
        raise ValueError(f"new: {n} steps cannot be judged by {steps} known ones, {longest_stretch(steps)} can")
    own, theirs = ranks(known[:, :train], known), ranks(known[:, :train], new)
    blocks = steps // n
    starts = np.unique(np.linspace(0, steps - n, min(4 * blocks, MAX_STRETCHES)).astype(int))
    stretches = [own[:, start : start + n] for start in starts]
    rests = [np.delete(own, np.s_[start : start + n], axis=1) for start in starts]
    found = []
    for rest, stretch in [*zip(rests, stretches, strict=True), (own, theirs)]:
        enough = np.isfinite(rest).any() and np.isfinite(stretch).any()
        found.append(_distances(rest, stretch) if enough else (np.nan, np.nan))
    (psis, kss), (one, two) = np.array(found[:-1]).T, found[-1]
    return Shift(one, *_judged(one, psis, blocks), two, *_judged(two, kss, blocks), blocks)


def _distances(rest: np.ndarray, stretch: np.ndarray) -> tuple[float, float]:
    edges = np.arange(1, BINS) / BINS
    return psi(bin_shares(rest, edges), bin_shares(stretch, edges)), kolmogorov_smirnov(rest, stretch)


def _judged(value: float, usual: np.ndarray, blocks: int) -> tuple[float, float]:
    """What 19 of 20 of the `usual` values stay below, and the p value of `value` among them."""
    known = usual[np.isfinite(usual)]
    if len(known) < 2 or not math.isfinite(value):
        return float("nan"), float("nan")
    logs, own = np.log(np.maximum(known, MIN_SHARE)), math.log(max(value, MIN_SHARE))
    error = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / blocks)
    away = own - float(logs.mean())
    p_value = float(stdtr(blocks - 1, -away / error)) if error > 0 else float(away <= 0)
    return float(np.quantile(known, 0.95)), p_value


def holm(p_values: ArrayLike) -> np.ndarray:
    """The p values (n,) after Holm's step-down correction (1979): those up to alpha are rejected together.

    NaN, where nothing could be tested, stays NaN and does not count.
    """
    given = np.asarray(p_values, float)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    found = np.full(len(given), np.nan)
    found[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)), 1.0)
    return found


def final_runs(known: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length (series,) of the run of one value with which each series of `new` ends, and the longest that is normal.

    Normal is twice the longest run in `known` (series, steps), and LEAST_RUN in any case.
    """
    before, now = _runs(known), _runs(new)
    return now[:, -1], np.maximum(2 * before.max(axis=1), MIN_STUCK_STEPS)


def _runs(values: np.ndarray) -> np.ndarray:
    """Length (series, steps) of the run of equal values that ends at each step; 0 where there is none."""
    steps = np.arange(values.shape[1])
    begins = np.ones(values.shape, bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    lengths = steps - np.maximum.accumulate(np.where(begins, steps, 0), axis=1) + 1
    return np.where(np.isfinite(values), lengths, 0)


def increase_p_value(now: np.ndarray, before: np.ndarray, overlap: int = 1) -> float:
    """One-sided p value of "the mean of `now` (n,) is not above that of `before` (m,)", both in the order of time.

    Neighbours depend on each other: the variance of each mean is that of Newey and West (1987) over the
    lags that they propose, 4 (n / 100) ** (2 / 9), and at least over the `overlap` of forecasts. NaN with
    fewer than three values on a side.
    """
    if min(len(now), len(before)) < 3:
        return float("nan")
    error = math.sqrt(sum(_variance_of_mean(values, overlap) for values in (now, before)))
    away = float(np.mean(now) - np.mean(before))
    return float(stdtr(len(now) + len(before) - 2, -away / error)) if error > 0 else float(away <= 0)


def _variance_of_mean(values: np.ndarray, overlap: int) -> float:
    n, centred = len(values), values - np.mean(values)
    lags = min(max(int(4 * (n / 100) ** (2 / 9)), overlap - 1), n - 2)
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in range(lags + 1)]) / n
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    return float(covariance[0] + 2 * weights @ covariance[1:]) / (n - 1)
