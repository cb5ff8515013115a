"""Baselines that read the very windows of the networks, scaled as theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.runtime import windows

MAX_ROWS = 50_000
"""Rows that trees are grown on, each a window and a step: more bring little but time."""
GROWING_SHARE = 0.75
"""Share of the training span on which quantiles are grown; on the rest they are put right."""


def ridge(task: BaselineTask) -> BaselineForecast:
    """Ridge regression on the very windows that the networks read, scaled as theirs, penalty 1."""
    from sklearn.linear_model import Ridge

    targets = windows.future(task.channels[:, :, 0], task.training_index, task.horizon)
    with np.errstate(over="ignore", invalid="ignore"):  # an absurd scale shows in the test error
        model = Ridge(alpha=1.0).fit(_flat(task, task.training_index), targets)

        def forecast(index: np.ndarray) -> np.ndarray:
            scaled = np.asarray(model.predict(_flat(task, index))).reshape(len(index), task.horizon)
            return task.inverse(scaled, index[:, 0])

        return with_residual_quantiles(task, forecast)


def trees(task: BaselineTask) -> BaselineForecast:
    """Gradient-boosted trees on the windows that the networks read, scaled as theirs; the step is one more column.

    The point is grown on squared error, each quantile on its pinball loss over the first windows of the
    training span, and then moved so that its share of the last ones lies below it: trees know their own
    past too well (Romano, Patterson and Candes 2019, "Conformalized quantile regression"). Quantiles that
    cross are put in order (Chernozhukov et al. 2010). Trees as of Friedman (2001), in scikit-learn's
    histogram variant.
    """
    few = task.training_index[:: max(1, -(-len(task.training_index) * task.horizon // MAX_ROWS))]
    point = task.inverse(_grown(task, few)(task.index), task.index[:, 0])
    if not task.levels:
        return BaselineForecast(point)
    from_here = np.quantile(few[:, 1], GROWING_SHARE, method="higher")
    early, late = few[few[:, 1] + task.horizon <= from_here], few[few[:, 1] >= from_here]
    actual = windows.future(task.channels[:, :, 0], late, task.horizon)
    quantiles = []
    for level in task.levels:
        predict = _grown(task, early if len(early) else few, loss="quantile", quantile=level)
        moved = np.quantile(actual - predict(late), level, axis=0, method="weibull")
        quantiles.append(task.inverse(predict(task.index) + moved, task.index[:, 0]))
    return BaselineForecast(point, np.sort(np.stack(quantiles, axis=-1), axis=-1))


def _grown(task: BaselineTask, index: np.ndarray, **loss: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Trees grown on the windows `index`: the forecast (n, horizon) of others, in network units."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    ahead = windows.future(task.channels[:, :, 0], index, task.horizon).ravel()
    model = HistGradientBoostingRegressor(
        **loss, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    model.fit(_steps(task, index), ahead)
    return lambda asked: np.asarray(model.predict(_steps(task, asked))).reshape(len(asked), task.horizon)


def _flat(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    return windows.past(task.channels, index, task.lookback).reshape(len(index), -1)


def _steps(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    """Each window once for each step of the horizon (n * horizon, lookback * channels + 1)."""
    steps = np.tile(np.arange(task.horizon), len(index))
    return np.column_stack([np.repeat(_flat(task, index), task.horizon, axis=0), steps])
