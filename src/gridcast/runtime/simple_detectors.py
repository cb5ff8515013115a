"""Simple detectors without a network: their scores, from the arrays that were fitted to normal operation. Pure.

They are fitted by `models.baselines.detectors`; a model carries the arrays. Rows are steps; NaN is a value that was not
observed. Where a detector reads such a step, the last observed value replaces it, at most `lookback` steps back, else
the mean over the training steps; the value itself gets no contribution (NaN). Contributions are squares (except for
the forest), so that one sensor far off is not lost in the mean over many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

State = Mapping[str, np.ndarray]
"""The fitted arrays of a detector by name; without those of its model where training was too short to fit one."""
ScoringFunction = Callable[[State, np.ndarray, int, int | None], np.ndarray]
"""From state, values (steps, sensors), lookback and wait to contributions (steps, sensors)."""
WINDOWS_PER_BLOCK = 4096
"""Windows that are in memory at once."""
CONSTANT_SPREAD = 1e-9
"""Spread, in scaled units, up to which a sensor counts as constant: its deviations are not divided by it."""
MAX_CONTRIBUTION = 1e30
"""Contributions are clipped to this: a larger one would overflow single precision, and be no number to compare."""


def contributions_after(
    name: str, state: State, values: np.ndarray, lookback: int, waits: Sequence[int | None]
) -> list[np.ndarray]:
    """Return the contribution (steps, sensors) of each sensor to the anomaly score of each step, for each of `waits`.

    `values` (steps, sensors) are in scaled units. Contributions are never negative, and NaN where there is none, such
    as for a sensor without a value in training. The score of a step is their mean. For a wait
    of w it rests on the windows that are complete w steps after it, if there is one; None stands for hindsight.
    """
    with np.errstate(over="ignore"):
        if name in WINDOWED:
            found = [SIMPLE_DETECTORS[name](state, values, lookback, wait) for wait in waits]
        else:  # the score is final at once
            found = [SIMPLE_DETECTORS[name](state, values, lookback, None)] * len(waits)
    return [np.minimum(one, MAX_CONTRIBUTION) for one in found]


def settling_steps(name: str, lookback: int) -> int:
    """Return the steps after which the score of a step is final: no later window contains it."""
    return lookback - 1 if name in WINDOWED else 0


def min_steps(name: str, lookback: int) -> int:
    """Return the steps of the shortest table of which a step can be scored."""
    if name in WINDOWED:
        return lookback
    return {"last value": 2, "rolling median": 1 + max(1, lookback // 2)}.get(name, 1)


def known_steps(name: str, values: np.ndarray, lookback: int, wait: int) -> np.ndarray:
    """Return the step (steps,) at which a follower who waits has the score of each step of `values` (steps, sensors).

    Steps before the end of the first window are scored once that is complete. Where a sensor alone has no value, the
    follower waits for its next one, `lookback` steps at most.
    """
    at = np.arange(len(values))
    is_reported = np.isfinite(values) | ~np.isfinite(values).any(axis=1, keepdims=True)
    reported = pd.DataFrame(np.where(is_reported, at[:, None], np.nan)).bfill().max(axis=1, skipna=False)
    due = np.maximum(at + wait, settling_steps(name, lookback))
    return np.clip(reported.reindex(due).fillna(np.inf).to_numpy(), due, due + lookback).astype(int)


def pca(state: State, values: np.ndarray, lookback: int, wait: int | None) -> np.ndarray:
    """Return the squared error of windows of all sensors, reconstructed from their principal components.

    A step has the mean over the windows that contain it, which extend up to lookback - 1 steps beyond it.
    """
    if "components" not in state or len(values) < lookback:
        return np.full(values.shape, np.nan)
    mean, components = state["mean"], state["components"]
    shift = mean[None] @ components.T

    def errors(windows: np.ndarray) -> np.ndarray:
        reconstructed = (windows @ components.T - shift) @ components + mean
        return np.asarray((windows - reconstructed) ** 2).reshape(len(windows), lookback, -1)

    return where_observed(state, values, _mean_over_windows(filled(state, values, lookback), lookback, errors, wait))


def sub_window_pca(state: State, values: np.ndarray, lookback: int, wait: int | None) -> np.ndarray:
    """Return the mean squared principal component, in units of its deviation, of the windows of each sensor.

    Small components, in which normal windows hardly differ, then count as much as large ones (Shyu, Chen, Sarinnapakorn
    and Chang 2003, "A Novel Anomaly Detection Scheme Based on Principal Component Classifier"). A step has the mean
    over the windows that contain it, which extend up to lookback - 1 steps beyond it.
    """
    found = np.full(values.shape, np.nan)
    if "axes" not in state or len(values) < lookback:
        return found
    steps = filled(state, values, lookback)
    fitted = zip(*(state[name] for name in ("mean", "axes", "unit")), strict=True)
    for k, (mean, axes, unit) in enumerate(fitted):
        shift, count = mean[None] @ axes, int(state["count"][k])

        def deviations(
            windows: np.ndarray,
            axes: np.ndarray = axes,
            shift: np.ndarray = shift,
            unit: np.ndarray = unit,
            count: int = count,
        ) -> np.ndarray:
            squares = np.sum(((windows @ axes - shift) / unit) ** 2, axis=1) / count
            return np.broadcast_to(squares[:, None, None], (len(windows), lookback, 1))

        found[:, k : k + 1] = _mean_over_windows(steps[:, k : k + 1], lookback, deviations, wait)
    return where_observed(state, values, found)


def z_score(state: State, values: np.ndarray, *_: int | None) -> np.ndarray:
    """Return the squared deviation of each step from the mean over the training steps, in their standard deviations."""
    return np.asarray(((values - state["mean"]) / state["spread"]) ** 2)


def rolling_median(state: State, values: np.ndarray, lookback: int, *_: int | None) -> np.ndarray:
    """Return the squared deviation of each step from the median of the `lookback` steps before it.

    In units of 1.4826 times the median absolute deviation of training steps from theirs. NaN where fewer than half of
    the steps before were observed.
    """
    return np.asarray((deviations_from_median(values, lookback) / state["unit"]) ** 2)


def last_value(state: State, values: np.ndarray, lookback: int, *_: int | None) -> np.ndarray:
    """Return the squared change of each step from the last value observed in the `lookback` + 1 steps before.

    In units of the root mean square of such changes over the training steps.
    """
    return np.asarray((changes(values, lookback) / state["unit"]) ** 2)


def isolation_forest(state: State, values: np.ndarray, lookback: int, *_: int | None) -> np.ndarray:
    """Return the anomaly score, 0 to 1, of a forest on the values of a step and their changes from the step before.

    A forest attributes its score to no sensor: it is divided among those observed at the step by their squared
    deviations (`z_score`), equally if none deviates. Source: Liu, Ting and Zhou (2008), "Isolation Forest".
    """
    if "left" not in state:
        return np.full(values.shape, np.nan)
    steps = filled(state, values, lookback)
    scores = _forest_scores(state, step_and_change(np.vstack([steps[:1], steps[:-1]]), steps))
    deviations = np.minimum(where_observed(state, values, z_score(state, values)), MAX_CONTRIBUTION)
    is_observed = np.isfinite(deviations)
    # The tiny addend divides the score equally where no sensor deviates.
    shares = np.where(is_observed, deviations, 0.0) + CONSTANT_SPREAD * is_observed
    count, total = is_observed.sum(axis=1, keepdims=True), shares.sum(axis=1, keepdims=True)
    split = np.divide(shares * count, total, out=np.full(values.shape, np.nan), where=is_observed)
    return np.asarray(scores[:, None] * split)


SIMPLE_DETECTORS: dict[str, ScoringFunction] = {
    "PCA": pca,
    "sub-window PCA": sub_window_pca,
    "z-score": z_score,
    "rolling median": rolling_median,
    "isolation forest": isolation_forest,
    "last value": last_value,
}
WINDOWED = ("PCA", "sub-window PCA")
"""Those whose score of a step rests on windows that extend beyond it; that of the others is final at once."""


def filled(state: State, values: np.ndarray, lookback: int) -> np.ndarray:
    """Return `values` (steps, sensors) without NaN, see the head of this module.

    It is 0 for a sensor without a value in training.
    """
    steps = pd.DataFrame(values).ffill(limit=lookback).to_numpy()
    steps = np.where(np.isfinite(steps), steps, state["fill"])
    return np.where(state["has_values"], steps, 0.0)


def where_observed(state: State, values: np.ndarray, contributions: np.ndarray) -> np.ndarray:
    """Return `contributions` with NaN where `values` were not observed, or their sensor has no value in training."""
    return np.where(np.isfinite(values) & state["has_values"], contributions, np.nan)


def windows_of(rows: np.ndarray, lookback: int) -> np.ndarray:
    """Return all windows (n, lookback, sensors) of `rows` (steps, sensors), as a view."""
    return sliding_window_view(rows, lookback, axis=0).transpose(0, 2, 1)


def deviations_from_median(rows: np.ndarray, lookback: int) -> np.ndarray:
    """Return the deviations (steps, sensors) of `rows` from the median of the `lookback` steps before each."""
    before = pd.DataFrame(rows).rolling(lookback, min_periods=max(1, lookback // 2)).median().shift(1)
    return np.asarray(rows - before.to_numpy())


def changes(rows: np.ndarray, lookback: int) -> np.ndarray:
    """Return the changes (steps, sensors) of `rows` from the last value in the `lookback` + 1 steps before each."""
    return np.asarray(rows - pd.DataFrame(rows).shift(1).ffill(limit=lookback).to_numpy())


def step_and_change(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return what a forest reads (n, 2 * sensors) of steps `now` and those `before` them, both (n, sensors)."""
    return np.hstack([now, now - before])


def _forest_scores(state: State, features: np.ndarray) -> np.ndarray:
    """The anomaly score (n,) of `features` (n, features) by the trees of `state`, as scikit-learn computes it.

    A node sends a row to the left where the feature is at most the threshold; a leaf sends it to itself.
    """
    rows, levels = features.astype(np.float32), int(state["levels"])  # trees compare in single precision
    depths = np.empty(len(rows))
    for start in range(0, len(rows), WINDOWS_PER_BLOCK):
        block = rows[start : start + WINDOWS_PER_BLOCK]
        node = np.repeat(state["roots"][:, None], len(block), axis=1)
        for _ in range(levels):
            goes_left = block[np.arange(len(block)), state["feature"][node]] <= state["threshold"][node]
            node = np.where(goes_left, state["left"][node], state["right"][node])
        depths[start : start + len(block)] = state["path_length"][node].sum(axis=0)
    usual = len(state["roots"]) * float(state["usual_length"])
    return np.asarray(2 ** -np.divide(depths, usual, out=np.ones_like(depths), where=usual != 0))


def _mean_over_windows(
    rows: np.ndarray, lookback: int, errors: Callable[[np.ndarray], np.ndarray], wait: int | None
) -> np.ndarray:
    """Mean (steps, sensors) of `errors` (n, lookback, sensors) over the windows that contain a step.

    Over all of them, or over those that are complete `wait` steps after it.
    """
    windows = windows_of(rows, lookback)
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
