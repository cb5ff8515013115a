"""Simple detectors that any network has to beat. Pure but for their seed.

Each is fitted on the training steps only. Rows are steps; NaN is a value that was not observed. Where a detector reads
such a step, the last observed value replaces it, at most `lookback` steps back, else the mean over the training steps;
the value itself gets no contribution (NaN). Windows to learn from are complete ones, if there are enough of them.
Contributions are squares (except for the forest), so that one sensor far off is not lost in the mean over many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from gridcast.data.series_statistics import MAD_TO_STD

EXPLAINED_VARIANCE = 0.99
"""Share of the variance that the components of `pca` keep."""
MAX_TRAINING_WINDOWS = 4000
"""Training windows that components are fitted on; more take longer and improve little."""
WINDOWS_PER_BLOCK = 4096
"""Windows that are in memory at once."""
CONSTANT_SPREAD = 1e-9
"""Spread, in scaled units, up to which a sensor counts as constant: its deviations are not divided by it."""


class DetectorBaseline(Protocol):
    """A simple detector."""

    def __call__(
        self, training: np.ndarray, values: np.ndarray, *, lookback: int, seed: int, wait: int | None = None
    ) -> np.ndarray:
        """Return the contribution (steps, sensors) of each sensor to the anomaly score of each step of `values`.

        `training` and `values` (steps, sensors) are in scaled units. Contributions are never negative, and NaN where
        there is none, such as for a sensor without a value in training. The score of a step is their mean. It rests on
        the windows that are complete `wait` steps later, if there is one by then; None stands for hindsight.
        """
        ...


def pca(training: np.ndarray, values: np.ndarray, *, lookback: int, wait: int | None = None, **_: int) -> np.ndarray:
    """Return the squared error of windows of all sensors, reconstructed from their principal components.

    A step has the mean over the windows that contain it, which extend up to lookback - 1 steps beyond it.
    """
    from sklearn.decomposition import PCA

    steps = _filled(training, values, lookback)
    if len(training) <= lookback or len(steps) < lookback:
        return np.full(values.shape, np.nan)
    with np.errstate(invalid="ignore"):  # if all training steps are equal, there is no variance to explain
        model = PCA(n_components=EXPLAINED_VARIANCE).fit(_training_windows(training, lookback))

    def errors(windows: np.ndarray) -> np.ndarray:
        reconstructed = model.inverse_transform(model.transform(windows))
        return np.asarray((windows - reconstructed) ** 2).reshape(len(windows), lookback, -1)

    return _where_observed(training, values, _mean_over_windows(steps, lookback, errors, wait))


def sub_window_pca(
    training: np.ndarray, values: np.ndarray, *, lookback: int, wait: int | None = None, **_: int
) -> np.ndarray:
    """Return the mean squared principal component, in units of its deviation, of the windows of each sensor.

    Small components, in which normal windows hardly differ, then count as much as large ones (Shyu, Chen, Sarinnapakorn
    and Chang 2003, "A Novel Anomaly Detection Scheme Based on Principal Component Classifier"). A step has the mean
    over the windows that contain it, which extend up to lookback - 1 steps beyond it.
    """
    from sklearn.decomposition import PCA

    steps, contributions = _filled(training, values, lookback), np.full(values.shape, np.nan)
    if len(training) <= lookback or len(steps) < lookback:
        return contributions
    for k in range(values.shape[1]):
        with np.errstate(invalid="ignore"):
            model = PCA().fit(_training_windows(training[:, k : k + 1], lookback))
        spread = np.sqrt(model.explained_variance_)
        unit = np.where(spread > max(CONSTANT_SPREAD, 1e-6 * spread[0]), spread, 1.0)

        def deviations(windows: np.ndarray, model: PCA = model, unit: np.ndarray = unit) -> np.ndarray:
            squares = np.mean((model.transform(windows) / unit) ** 2, axis=1)
            return np.broadcast_to(squares[:, None, None], (len(windows), lookback, 1))

        contributions[:, k : k + 1] = _mean_over_windows(steps[:, k : k + 1], lookback, deviations, wait)
    return _where_observed(training, values, contributions)


def z_score(training: np.ndarray, values: np.ndarray, **_: int | None) -> np.ndarray:
    """Return the squared deviation of each step from the mean over the training steps, in their standard deviations."""
    mean, spread = _moments(training)
    return np.asarray(((values - mean) / spread) ** 2)


def rolling_median(training: np.ndarray, values: np.ndarray, *, lookback: int, **_: int | None) -> np.ndarray:
    """Return the squared deviation of each step from the median of the `lookback` steps before it.

    In units of 1.4826 times the median absolute deviation of training steps from theirs. NaN where fewer than half of
    the steps before were observed.
    """

    def deviations(rows: np.ndarray) -> np.ndarray:
        before = pd.DataFrame(rows).rolling(lookback, min_periods=max(1, lookback // 2)).median().shift(1)
        return np.asarray(rows - before.to_numpy())

    usual = pd.DataFrame(np.abs(deviations(training))).median().to_numpy() * MAD_TO_STD
    return np.asarray((deviations(values) / _unless_constant(usual)) ** 2)


def last_value(training: np.ndarray, values: np.ndarray, *, lookback: int, **_: int | None) -> np.ndarray:
    """Return the squared change of each step from the last value observed in the `lookback` + 1 steps before.

    In units of the root mean square of such changes over the training steps.
    """

    def changes(rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows - pd.DataFrame(rows).shift(1).ffill(limit=lookback).to_numpy())

    usual = pd.DataFrame(changes(training) ** 2).mean().to_numpy()
    return np.asarray((changes(values) / _unless_constant(np.sqrt(usual))) ** 2)


def isolation_forest(
    training: np.ndarray, values: np.ndarray, *, lookback: int, seed: int, **_: int | None
) -> np.ndarray:
    """Return the anomaly score, 0 to 1, of a forest on the values of a step and their changes from the step before.

    A forest attributes its score to no sensor: it is divided among those observed at the step by their squared
    deviations (`z_score`), equally if none deviates. Source: Liu, Ting and Zhou (2008), "Isolation Forest".
    """
    from sklearn.ensemble import IsolationForest

    if len(training) < 2:
        return np.full(values.shape, np.nan)

    def features(before: np.ndarray, now: np.ndarray) -> np.ndarray:
        return np.hstack([now, now - before])

    forest = IsolationForest(random_state=seed).fit(features(*np.split(_training_windows(training, 2), 2, axis=1)))
    steps = _filled(training, values, lookback)
    scores = -forest.score_samples(features(np.vstack([steps[:1], steps[:-1]]), steps))
    deviations = _where_observed(training, values, z_score(training, values))
    is_observed = np.isfinite(deviations)
    # The tiny addend divides the score equally where no sensor deviates.
    shares = np.where(is_observed, deviations, 0.0) + CONSTANT_SPREAD * is_observed
    count, total = is_observed.sum(axis=1, keepdims=True), shares.sum(axis=1, keepdims=True)
    split = np.divide(shares * count, total, out=np.full(values.shape, np.nan), where=is_observed)
    return np.asarray(scores[:, None] * split)


DETECTOR_BASELINES: dict[str, DetectorBaseline] = {
    "PCA": pca,
    "sub-window PCA": sub_window_pca,
    "z-score": z_score,
    "rolling median": rolling_median,
    "isolation forest": isolation_forest,
    "last value": last_value,
}
WINDOWED_BASELINES = ("PCA", "sub-window PCA")
"""Those whose score of a step rests on windows that extend beyond it; that of the others is final at once."""


def _moments(training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (sensors,) of observed values; NaN for a sensor without any, 1 for a constant one."""
    frame = pd.DataFrame(training)
    return frame.mean().to_numpy(), _unless_constant(frame.std(ddof=0).to_numpy())


def _unless_constant(spread: np.ndarray) -> np.ndarray:
    """`spread` with 1 where it is nothing but rounding errors."""
    return np.where(spread <= CONSTANT_SPREAD, 1.0, spread)


def _filled(training: np.ndarray, rows: np.ndarray, lookback: int) -> np.ndarray:
    """`rows` (steps, sensors) without NaN, see the head of this module; 0 for a sensor without a value in training."""
    mean = np.nan_to_num(_moments(training)[0])
    steps = pd.DataFrame(rows).ffill(limit=lookback).to_numpy()
    steps = np.where(np.isfinite(steps), steps, mean)
    return np.where(np.isfinite(training).any(axis=0), steps, 0.0)


def _where_observed(training: np.ndarray, values: np.ndarray, contributions: np.ndarray) -> np.ndarray:
    """`contributions` with NaN where `values` were not observed, or their sensor has no value in training."""
    return np.where(np.isfinite(values) & np.isfinite(training).any(axis=0), contributions, np.nan)


def _windows(rows: np.ndarray, lookback: int) -> np.ndarray:
    """All windows (n, lookback, sensors) of `rows` (steps, sensors), as a view."""
    return sliding_window_view(rows, lookback, axis=0).transpose(0, 2, 1)


def _training_windows(training: np.ndarray, lookback: int) -> np.ndarray:
    """At most MAX_TRAINING_WINDOWS windows (n, lookback * sensors) of `training`, evenly spread.

    Complete windows if there are more than `lookback` of them, else all windows with missing values filled.
    """
    windows = _windows(_filled(training, training, lookback), lookback)
    is_missing = ~np.isfinite(training) & np.isfinite(training).any(axis=0)
    complete = np.flatnonzero(~_windows(is_missing, lookback).any(axis=(1, 2)))
    chosen = complete if len(complete) > lookback else np.arange(len(windows))
    sample = windows[chosen[:: -(-len(chosen) // MAX_TRAINING_WINDOWS)]]
    return sample.reshape(len(sample), -1)


def _mean_over_windows(
    rows: np.ndarray, lookback: int, errors: Callable[[np.ndarray], np.ndarray], wait: int | None
) -> np.ndarray:
    """Mean (steps, sensors) of `errors` (n, lookback, sensors) over the windows that contain a step.

    Over all of them, or over those that are complete `wait` steps after it.
    """
    windows = _windows(rows, lookback)
    total, count = np.zeros(rows.shape), np.zeros((len(rows), 1))
    earliest = 0 if wait is None else max(0, lookback - 1 - wait)
    for start in range(0, len(windows), WINDOWS_PER_BLOCK):
        block = windows[start : start + WINDOWS_PER_BLOCK]
        block_errors = errors(block.reshape(len(block), -1))
        if start == 0:  # steps that are not scored before the first window is complete
            total[:earliest], count[:earliest] = block_errors[0, :earliest], 1
        for step in range(earliest, lookback):
            total[start + step : start + step + len(block)] += block_errors[:, step]
            count[start + step : start + step + len(block)] += 1
    return total / count
