"""Baselines that read the same scaled windows as the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime import windows

MAX_ROWS = 50_000
"""Rows that trees are grown on, each a window and a step: more take longer and improve little."""
GROWING_SHARE = 0.75
"""Share of the training span on which trees for quantiles are grown; the rest calibrates them."""


def ridge(task: BaselineTask) -> BaselineForecast:
    """Forecast by ridge regression with penalty 1 on the windows that the networks read."""
    from sklearn.linear_model import Ridge

    targets = windows.future(task.channels[:, :, 0], task.training_index, task.horizon)
    with np.errstate(over="ignore", invalid="ignore"):  # an extreme scale shows in the test error
        model = Ridge(alpha=1.0).fit(_window_rows(task, task.training_index), targets)

        def forecast(index: np.ndarray) -> np.ndarray:
            scaled = np.asarray(model.predict(_window_rows(task, index))).reshape(len(index), task.horizon)
            return task.inverse(scaled, index[:, 0])

        return with_residual_quantiles(task, forecast)


def trees(task: BaselineTask) -> BaselineForecast:
    """Forecast by gradient-boosted trees on the windows that the networks read; the step is a further column.

    The point forecast minimises squared error. Each quantile minimises its pinball loss over the first windows of the
    training span, and is then shifted so that its share of the last ones lies below it: trees overfit the windows that
    they were grown on (Romano, Patterson and Candes 2019, "Conformalized quantile regression"). Quantiles that cross
    are sorted (Chernozhukov et al. 2010). Trees as of Friedman (2001), in scikit-learn's histogram variant.
    """
    sample = task.training_index[:: max(1, -(-len(task.training_index) * task.horizon // MAX_ROWS))]
    point = task.inverse(_fitted_trees(task, sample)(task.index), task.index[:, 0])
    if not task.levels:
        return BaselineForecast(point)
    # Targets of early windows end before the late ones begin.
    border = np.quantile(sample[:, 1], GROWING_SHARE, method="higher")
    early, late = sample[sample[:, 1] + task.horizon <= border], sample[sample[:, 1] >= border]
    actual = windows.future(task.channels[:, :, 0], late, task.horizon)
    quantiles = []
    for level in task.levels:
        predict = _fitted_trees(task, early if len(early) else sample, loss="quantile", quantile=level)
        shift = np.quantile(actual - predict(late), level, axis=0, method="weibull")
        quantiles.append(task.inverse(predict(task.index) + shift, task.index[:, 0]))
    return BaselineForecast(point, np.sort(np.stack(quantiles, axis=-1), axis=-1))


def _fitted_trees(task: BaselineTask, index: np.ndarray, **loss: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The function from windows (n, 2) to forecasts (n, horizon), in network units, of trees grown on `index`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    targets = windows.future(task.channels[:, :, 0], index, task.horizon).ravel()
    model = HistGradientBoostingRegressor(
        **loss, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    model.fit(_step_rows(task, index), targets)
    return lambda others: np.asarray(model.predict(_step_rows(task, others))).reshape(len(others), task.horizon)


def _window_rows(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    """Each window as one row (n, lookback * channels)."""
    return windows.past(task.channels, index, task.lookback).reshape(len(index), -1)


def _step_rows(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    """Each window once for each step of the horizon (n * horizon, lookback * channels + 1)."""
    steps = np.tile(np.arange(task.horizon), len(index))
    return np.column_stack([np.repeat(_window_rows(task, index), task.horizon, axis=0), steps])
