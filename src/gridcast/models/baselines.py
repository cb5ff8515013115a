"""Honest baselines: forecasts (n, horizon) in data units for the windows `index` (n, 2), no network.

`target` is (series, steps) in data units, `observed` where it was not filled, and `train` the number
of training steps: nothing is fitted beyond them, and no forecast reads at or after its origin. What
is fitted takes observed values alone, since an interpolated one may tell of the span after.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gridcast.data import gaps, windows

PERIODS = {
    "D": (7, 6, 5),
    "B": (5,),
    "h": (24, 168),
    "min": (60, 1440),
    "W": (52,),
    "M": (12,),
    "MS": (12,),
    "ME": (12,),
    "Q": (4,),
}
ETS_SERIES = 500
"""Above so many series a state-space fit of each is left out: it would outlast the networks."""


@dataclass(frozen=True)
class Task:
    """What a baseline may know: the past of each window, and channels (series, steps, channels) for ridge."""

    target: np.ndarray
    observed: np.ndarray
    channels: np.ndarray
    train: int
    lookback: int
    horizon: int
    period: int | None
    training_index: np.ndarray
    index: np.ndarray
    inverse: Callable[[np.ndarray, np.ndarray], np.ndarray]

    @property
    def known(self) -> np.ndarray:
        """The target (series, steps), NaN where it was not observed."""
        return np.where(self.observed, self.target, np.nan)


def last_value(task: Task) -> np.ndarray:
    """The value before the origin, at every step of the horizon."""
    series, origin = task.index.T
    return np.repeat(task.target[series, origin - 1][:, None], task.horizon, axis=1)


def seasonal_naive(task: Task) -> np.ndarray:
    """The value one period before each step, of the last whole period known at the origin."""
    period = task.period or 1
    series, origin = task.index.T
    steps = origin[:, None] - period + np.arange(task.horizon) % period
    values = task.target[series[:, None], np.maximum(steps, 0)]
    return np.where(np.isfinite(values) & (steps >= 0), values, last_value(task))


def training_mean(task: Task) -> np.ndarray:
    """The mean of the series over the training span."""
    return np.repeat(np.nanmean(task.known[:, : task.train], axis=1)[task.index[:, 0], None], task.horizon, axis=1)


def training_median(task: Task) -> np.ndarray:
    """The median of the series over the training span."""
    return np.repeat(np.nanmedian(task.known[:, : task.train], axis=1)[task.index[:, 0], None], task.horizon, axis=1)


def ridge(task: Task) -> np.ndarray:
    """Ridge regression on the very windows that the networks read, scaled as theirs, penalty 1."""
    from sklearn.linear_model import Ridge

    targets = windows.ahead(task.channels[:, :, 0], task.training_index, task.horizon)
    with np.errstate(over="ignore", invalid="ignore"):  # an absurd scale shows in the test error
        model = Ridge(alpha=1.0).fit(_flat(task, task.training_index), targets)
        scaled = np.asarray(model.predict(_flat(task, task.index))).reshape(len(task.index), task.horizon)
        return task.inverse(scaled, task.index[:, 0])


def _flat(task: Task, index: np.ndarray) -> np.ndarray:
    return windows.inputs(task.channels, index, task.lookback).reshape(len(index), -1)


def ets(task: Task) -> np.ndarray:
    """Exponential smoothing of each series (additive; seasonal where a period is known; gaps repeat the last value).

    Fitted by maximum likelihood on the training span, then filtered through the rest with fixed
    parameters: each forecast starts from the state before its origin. Source: Hyndman, Koehler,
    Ord, Snyder (2008), "Forecasting with Exponential Smoothing"; statsmodels does the work.
    """
    from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

    forecasts, known = np.empty((len(task.index), task.horizon)), task.known
    for series in np.unique(task.index[:, 0]):
        rows = np.flatnonzero(task.index[:, 0] == series)
        values = gaps.forward(known[series])
        start = int(np.argmax(np.isfinite(values)))
        train = values[start : task.train]
        seasonal = task.period if task.period and len(train) >= 3 * task.period else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence is judged by the test error, in the open
            fitted = ExponentialSmoothing(train, seasonal=seasonal).fit(disp=False)
            whole = fitted.apply(values[start:])
        transition = np.asarray(whole.model.ssm["transition"])
        design = np.asarray(whole.model.ssm["design"])[0]
        states = np.asarray(whole.predicted_state)[:, task.index[rows, 1] - start]
        for step in range(task.horizon):
            forecasts[rows, step] = design @ states
            states = transition @ states
    return forecasts


BASELINES: dict[str, Callable[[Task], np.ndarray]] = {
    "last value": last_value,
    "seasonal naive": seasonal_naive,
    "training mean": training_mean,
    "training median": training_median,
    "ETS": ets,
    "ridge": ridge,
}
SEASONAL = ("seasonal naive", "ETS")
"""Baselines that use the period."""
NAIVE = ("last value", "seasonal naive", "training mean", "training median")
"""Baselines that know nothing: a model that loses to one of them is not worth its keep."""


def possible(series: int, period: int | None) -> list[str]:
    """Names of the baselines that make sense for so many series with this period."""
    without = set()
    if period is None:
        without.add("seasonal naive")
    if series > ETS_SERIES:
        without.add("ETS")
    return [name for name in BASELINES if name not in without]


def find_period(training: np.ndarray, frequency: str) -> int | None:
    """The usual period of `frequency` at which the series (series, steps) repeat most, if at any.

    Judged by the autocorrelation, averaged over the series, of one-step differences (a trend
    correlates at every lag); at least two standard errors, else None.
    """
    steps = training.shape[1]
    values = np.diff(training, axis=1)
    known = np.isfinite(values)
    means = np.sum(values, axis=1, where=known) / np.maximum(known.sum(axis=1), 1)
    centred = np.where(known, values - means[:, None], 0.0)
    power = np.sum(centred**2, axis=1)
    alive = power > 0
    best: tuple[float, int] | None = None
    for period in PERIODS.get(frequency, ()):
        if steps < 3 * period or not alive.any():
            continue
        products = np.sum(centred[alive, period:] * centred[alive, :-period], axis=1) / power[alive]
        correlation = float(products.mean())
        if correlation > 2 / np.sqrt(steps) and (best is None or correlation > best[0]):
            best = correlation, period
    return best[1] if best else None
