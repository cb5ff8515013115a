"""Detectors that any network has to beat. Pure but for their seed.

Each is fitted on the training steps alone. Rows are steps; NaN is what was not seen. For what is read of a step, a
missing value is replaced by the last one seen, `lookback` steps back at most, else by the mean over the
training steps; it gets no contribution of its own (NaN). Learnt is what was seen whole, where there is enough of it.
Contributions are squares (but for the forest), so that one sensor far off is not lost in the mean over many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from gridcast.data.series_statistics import MAD_TO_STD

EXPLAINED_VARIANCE = 0.99
"""Share of the variance that the components of `pca` keep."""
MAX_WINDOWS = 4000
"""Training windows that components are found from; more bring little but time."""
WINDOWS_PER_BLOCK = 4096
"""Windows that are in memory at once."""
CONSTANT_SPREAD = 1e-9
"""Spread, in scaled units, below which a sensor is constant: its deviations are left as they are."""


def pca(training: np.ndarray, values: np.ndarray, lookback: int, *_: int) -> np.ndarray:
    """Squared error of windows of all sensors, put together again from their main components.

    A step has the mean over the windows that cover it, which reach up to lookback - 1 steps past it.
    """
    from sklearn.decomposition import PCA

    asked = _filled(training, values, lookback)
    if len(training) <= lookback or len(asked) < lookback:
        return np.full(values.shape, np.nan)
    with np.errstate(invalid="ignore"):  # training steps that are all the same have no variance to share out
        model = PCA(n_components=EXPLAINED_VARIANCE).fit(_known(training, lookback))

    def errors(windows: np.ndarray) -> np.ndarray:
        again = model.inverse_transform(model.transform(windows))
        return np.asarray((windows - again) ** 2).reshape(len(windows), lookback, -1)

    return _seen(training, values, _averaged(asked, lookback, errors))


def sub_window_pca(training: np.ndarray, values: np.ndarray, lookback: int, *_: int) -> np.ndarray:
    """Mean squared component, in units of its deviation, of the windows of each sensor by itself.

    So small components, in which normal windows hardly differ, count as much as large ones (Shyu, Chen,
    Sarinnapakorn and Chang 2003, "A Novel Anomaly Detection Scheme Based on Principal Component Classifier").
    A step has the mean over the windows that cover it, which reach up to lookback - 1 steps past it.
    """
    from sklearn.decomposition import PCA

    asked, found = _filled(training, values, lookback), np.full(values.shape, np.nan)
    if len(training) <= lookback or len(asked) < lookback:
        return found
    for k in range(values.shape[1]):
        with np.errstate(invalid="ignore"):
            model = PCA().fit(_known(training[:, k : k + 1], lookback))
        spread = np.sqrt(model.explained_variance_)
        kept = spread > max(CONSTANT_SPREAD, 1e-6 * spread[0])
        unit = np.where(kept, spread, 1.0)

        def away(windows: np.ndarray, model: PCA = model, unit: np.ndarray = unit) -> np.ndarray:
            squares = np.mean((model.transform(windows) / unit) ** 2, axis=1)
            return np.broadcast_to(squares[:, None, None], (len(windows), lookback, 1))

        found[:, k : k + 1] = _averaged(asked[:, k : k + 1], lookback, away)
    return _seen(training, values, found)


def z_score(training: np.ndarray, values: np.ndarray, *_: int) -> np.ndarray:
    """Squared deviation of each step from the mean over the training steps, in standard deviations of them."""
    mean, spread = _moments(training)
    return np.asarray(((values - mean) / spread) ** 2)


def rolling_median(training: np.ndarray, values: np.ndarray, lookback: int, *_: int) -> np.ndarray:
    """Squared deviation of each step from the median of the `lookback` steps before it.

    In units of 1.4826 times the median absolute deviation that training steps have, about theirs. NaN where
    fewer than half of the steps before were seen.
    """

    def away(rows: np.ndarray) -> np.ndarray:
        before = pd.DataFrame(rows).rolling(lookback, min_periods=max(1, lookback // 2)).median().shift(1)
        return np.asarray(rows - before.to_numpy())

    usual = pd.DataFrame(np.abs(away(training))).median().to_numpy() * MAD_TO_STD
    return np.asarray((away(values) / _positive(usual)) ** 2)


def last_value(training: np.ndarray, values: np.ndarray, lookback: int, *_: int) -> np.ndarray:
    """Squared change of each step from the one before, or from the last one seen in the `lookback` steps before that.

    In units of the root mean square of such changes over the training steps.
    """

    def changes(rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows - pd.DataFrame(rows).shift(1).ffill(limit=lookback).to_numpy())

    usual = pd.DataFrame(changes(training) ** 2).mean().to_numpy()
    return np.asarray((changes(values) / _positive(np.sqrt(usual))) ** 2)


def isolation_forest(training: np.ndarray, values: np.ndarray, lookback: int, seed: int) -> np.ndarray:
    """Anomaly score, 0 to 1, of a forest on the values of a step and their changes from the step before.

    Liu, Ting and Zhou (2008), "Isolation Forest". A forest blames no sensor: its score is split over those seen
    at the step by their squared deviation (`z_score`), equally where none deviates.
    """
    from sklearn.ensemble import IsolationForest

    if len(training) < 2:
        return np.full(values.shape, np.nan)

    def read(before: np.ndarray, now: np.ndarray) -> np.ndarray:
        return np.hstack([now, now - before])

    forest = IsolationForest(random_state=seed).fit(read(*np.split(_known(training, 2), 2, axis=1)))
    steps = _filled(training, values, lookback)
    unusual = -forest.score_samples(read(np.vstack([steps[:1], steps[:-1]]), steps))
    away = _seen(training, values, z_score(training, values))
    seen = np.isfinite(away)
    shares = np.where(seen, away, 0.0) + CONSTANT_SPREAD * seen
    count, total = seen.sum(axis=1, keepdims=True), shares.sum(axis=1, keepdims=True)
    split = np.divide(shares * count, total, out=np.full(values.shape, np.nan), where=seen)
    return np.asarray(unusual[:, None] * split)


DETECTOR_BASELINES: dict[str, Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]] = {
    "PCA": pca,
    "sub-window PCA": sub_window_pca,
    "z-score": z_score,
    "rolling median": rolling_median,
    "isolation forest": isolation_forest,
    "last value": last_value,
}
"""Name -> function(training (steps, sensors), values (steps, sensors), lookback, seed).

Both arrays are in scaled units. The result (steps, sensors) is what each sensor contributes to the anomaly score of
each step of `values`: never negative, and NaN where nothing can be said, as of a sensor that training never saw.
The score is the mean over the sensors that have one.
"""


def _moments(training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (sensors,) of what was seen; NaN for a sensor never seen, 1 for a constant one."""
    frame = pd.DataFrame(training)
    return frame.mean().to_numpy(), _positive(frame.std(ddof=0).to_numpy())


def _positive(spread: np.ndarray) -> np.ndarray:
    """`spread` with 1 where it is nothing but rounding."""
    return np.where(spread <= CONSTANT_SPREAD, 1.0, spread)


def _filled(training: np.ndarray, rows: np.ndarray, lookback: int) -> np.ndarray:
    """`rows` (steps, sensors) without NaN: see the head of this module. 0 for a sensor never seen in training."""
    mean = np.nan_to_num(_moments(training)[0])
    steps = pd.DataFrame(rows).ffill(limit=lookback).to_numpy()
    steps = np.where(np.isfinite(steps), steps, mean)
    return np.where(np.isfinite(training).any(axis=0), steps, 0.0)


def _seen(training: np.ndarray, values: np.ndarray, contributions: np.ndarray) -> np.ndarray:
    """`contributions` with NaN where `values` were not seen, or their sensor was not in training."""
    return np.where(np.isfinite(values) & np.isfinite(training).any(axis=0), contributions, np.nan)


def _windows(rows: np.ndarray, lookback: int) -> np.ndarray:
    """All windows (n, lookback, sensors) of `rows` (steps, sensors), as a view."""
    return sliding_window_view(rows, lookback, axis=0).transpose(0, 2, 1)


def _known(training: np.ndarray, lookback: int) -> np.ndarray:
    """At most ROWS windows (n, lookback * sensors) of `training`, evenly spread.

    Those in which all was seen, where they are more than `lookback`, else all, with what is missing filled.
    """
    windows = _windows(_filled(training, training, lookback), lookback)
    missing = ~np.isfinite(training) & np.isfinite(training).any(axis=0)
    whole = np.flatnonzero(~_windows(missing, lookback).any(axis=(1, 2)))
    chosen = whole if len(whole) > lookback else np.arange(len(windows))
    few = windows[chosen[:: -(-len(chosen) // MAX_WINDOWS)]]
    return few.reshape(len(few), -1)


def _averaged(rows: np.ndarray, lookback: int, errors: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Mean (steps, sensors) over all windows that cover a step of their `errors` (n, lookback, sensors)."""
    windows = _windows(rows, lookback)
    total, count = np.zeros(rows.shape), np.zeros((len(rows), 1))
    for start in range(0, len(windows), WINDOWS_PER_BLOCK):
        block = windows[start : start + WINDOWS_PER_BLOCK]
        found = errors(block.reshape(len(block), -1))
        for step in range(lookback):
            total[start + step : start + step + len(block)] += found[:, step]
            count[start + step : start + step + len(block)] += 1
    return total / count
