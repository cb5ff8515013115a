"""Fits of the simple detectors, which any network has to beat. Pure but for their seed.

Each is fitted to training steps in scaled units, NaN where nothing was observed, and scored by
`runtime.simple_detectors`. Windows to learn from are complete ones, if there are enough of them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from gridcast.data.series_statistics import MAD_TO_STD
from gridcast.runtime.simple_detectors import (
    CONSTANT_SPREAD,
    State,
    changes,
    deviations_from_median,
    filled,
    step_and_change,
    windows_of,
)

EXPLAINED_VARIANCE = 0.99
"""Share of the variance that the components of `pca` keep."""
MAX_TRAINING_WINDOWS = 4000
"""Training windows that components are fitted on; more take longer and improve little."""


class DetectorFit(Protocol):
    """The fit of a simple detector."""

    def __call__(self, training: np.ndarray, *, lookback: int, seed: int) -> State:
        """Return the arrays that it is scored from, fitted to `training` (steps, sensors) in scaled units."""
        ...


def fit_pca(training: np.ndarray, *, lookback: int, **_: int) -> dict[str, np.ndarray]:
    """Return mean and principal components of windows of all sensors."""
    from sklearn.decomposition import PCA

    state = _fill_values(training)
    if len(training) <= lookback:
        return state
    with np.errstate(invalid="ignore"):  # if all training steps are equal, there is no variance to explain
        model = PCA(n_components=EXPLAINED_VARIANCE).fit(_training_windows(training, lookback))
    return state | {"mean": model.mean_, "components": model.components_}


def fit_sub_window_pca(training: np.ndarray, *, lookback: int, **_: int) -> dict[str, np.ndarray]:
    """Return mean, principal components, their number and deviations, of the windows of each sensor."""
    from sklearn.decomposition import PCA

    state = _fill_values(training)
    if len(training) <= lookback:
        return state
    count = np.empty(training.shape[1], int)
    shape, kind = (training.shape[1], lookback), training.dtype
    # Where a sensor has fewer windows than steps in them, there are fewer components; the others are 0.
    mean, axes, unit = np.empty(shape, kind), np.zeros((*shape, lookback), kind), np.ones(shape, kind)
    for k in range(training.shape[1]):
        with np.errstate(invalid="ignore"):
            model = PCA().fit(_training_windows(training[:, k : k + 1], lookback))
        spread, count[k] = np.sqrt(model.explained_variance_), model.n_components_
        mean[k], axes[k, :, : count[k]] = model.mean_, model.components_.T
        unit[k, : count[k]] = np.where(spread > max(CONSTANT_SPREAD, 1e-6 * spread[0]), spread, 1.0)
    return state | {"mean": mean, "axes": axes, "unit": unit, "count": count}


def fit_z_score(training: np.ndarray, **_: int) -> dict[str, np.ndarray]:
    """Return mean and standard deviation of each sensor: NaN for one without a value, 1 for a constant one."""
    frame = pd.DataFrame(training)
    return {"mean": frame.mean().to_numpy(), "spread": _unless_constant(frame.std(ddof=0).to_numpy())}


def fit_rolling_median(training: np.ndarray, *, lookback: int, **_: int) -> dict[str, np.ndarray]:
    """Return the usual deviation of each sensor from the median of the steps before."""
    usual = pd.DataFrame(np.abs(deviations_from_median(training, lookback))).median().to_numpy() * MAD_TO_STD
    return {"unit": _unless_constant(usual)}


def fit_last_value(training: np.ndarray, *, lookback: int, **_: int) -> dict[str, np.ndarray]:
    """Return the root mean square of the changes of each sensor."""
    usual = pd.DataFrame(changes(training, lookback) ** 2).mean().to_numpy()
    return {"unit": _unless_constant(np.sqrt(usual))}


def fit_isolation_forest(training: np.ndarray, *, seed: int, **_: int) -> dict[str, np.ndarray]:
    """Return the trees of a forest on the values of a step and their changes, as flat arrays over all their nodes.

    `path_length` is the number of steps from the root to the end, of a leaf with several training steps as if they were
    isolated further.
    """
    from sklearn.ensemble import IsolationForest

    state = _fill_values(training) | fit_z_score(training)
    if len(training) < 2:
        return state
    before, now = np.split(_training_windows(training, 2), 2, axis=1)
    forest = IsolationForest(random_state=seed).fit(step_and_change(before, now))
    trees = [tree.tree_ for tree in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    depths = [tree.compute_node_depths() for tree in trees]  # counted from 1
    sizes = [tree.n_node_samples for tree in trees]
    return state | {
        "roots": roots,
        "left": np.concatenate([_children(tree.children_left, root) for tree, root in zip(trees, roots, strict=True)]),
        "right": np.concatenate(
            [_children(tree.children_right, root) for tree, root in zip(trees, roots, strict=True)]
        ),
        "feature": np.concatenate([np.maximum(tree.feature, 0) for tree in trees]),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "path_length": np.concatenate(depths) + _usual_path_length(np.concatenate(sizes)) - 1.0,
        "usual_length": _usual_path_length(np.array([forest.max_samples_]))[0],
        "levels": np.array(max(depth.max() for depth in depths) - 1, int),
    }


DETECTOR_BASELINES: dict[str, DetectorFit] = {
    "PCA": fit_pca,
    "sub-window PCA": fit_sub_window_pca,
    "z-score": fit_z_score,
    "rolling median": fit_rolling_median,
    "isolation forest": fit_isolation_forest,
    "last value": fit_last_value,
}


def _children(children: np.ndarray, root: int) -> np.ndarray:
    """Positions among all nodes of the `children` (nodes,) of a tree whose root has the position `root`."""
    return root + np.where(children < 0, np.arange(len(children)), children)


def _usual_path_length(samples: np.ndarray) -> np.ndarray:
    """Mean length (n,) of the path to a leaf in trees grown on `samples` (n,) values each, equation 1 of Liu et al."""
    many = np.maximum(samples, 3)
    usual = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, usual))


def _fill_values(training: np.ndarray) -> dict[str, np.ndarray]:
    """The value that replaces a missing one of each sensor, and whether the sensor has a value in training."""
    mean = pd.DataFrame(training).mean().to_numpy()
    return {"fill": np.nan_to_num(mean), "has_values": np.isfinite(training).any(axis=0)}


def _unless_constant(spread: np.ndarray) -> np.ndarray:
    """`spread` with 1 where it is nothing but rounding errors."""
    return np.where(spread <= CONSTANT_SPREAD, 1.0, spread)


def _training_windows(training: np.ndarray, lookback: int) -> np.ndarray:
    """At most MAX_TRAINING_WINDOWS windows (n, lookback * sensors) of `training`, evenly spread.

    Complete windows if there are more than `lookback` of them, else all windows with missing values filled.
    """
    windows = windows_of(filled(_fill_values(training), training, lookback), lookback)
    is_missing = ~np.isfinite(training) & np.isfinite(training).any(axis=0)
    complete = np.flatnonzero(~windows_of(is_missing, lookback).any(axis=(1, 2)))
    chosen = complete if len(complete) > lookback else np.arange(len(windows))
    sample = windows[chosen[:: -(-len(chosen) // MAX_TRAINING_WINDOWS)]]
    return sample.reshape(len(sample), -1)
