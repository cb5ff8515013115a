"""Gradient-boosted trees on the windows that the networks read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.models.baselines.window_features import blocks, left_out_notes, step_rows
from gridcast.runtime import windows

MAX_ROWS = 50_000
"""Rows that trees are grown on, each a window and a step: more take longer and improve little."""
MAX_VALUES = 50_000_000
"""Numbers in these rows, which bound their memory to 400 MB."""
GROWING_SHARE = 0.75
"""Share of the training span on which trees for quantiles are grown; the rest calibrates them."""


def trees(task: BaselineTask) -> BaselineForecast:
    """Forecast by gradient-boosted trees on the windows that the networks read, see `step_rows`.

    The point forecast minimises squared error. Each quantile minimises its pinball loss over the first windows of the
    training span, and is then shifted so that its share of the last ones lies below it: trees overfit the windows that
    they were grown on (Romano, Patterson and Candes 2019, "Conformalized quantile regression"). Quantiles that cross
    are sorted (Chernozhukov et al. 2010). Trees as of Friedman (2001), in scikit-learn's histogram variant.
    """
    max_rows = min(MAX_ROWS, MAX_VALUES // step_rows(task, task.training_index[:1]).shape[1])
    sample = task.training_index[:: max(1, -(-len(task.training_index) * task.horizon // max_rows))]
    point = task.inverse(_fitted_trees(task, sample)(task.index), task.index[:, 0])
    notes = left_out_notes(task)
    if not task.levels:
        return BaselineForecast(point, notes=notes)
    # Targets of early windows end before the late ones begin.
    border = np.quantile(sample[:, 1], GROWING_SHARE, method="higher")
    early, late = sample[sample[:, 1] + task.horizon <= border], sample[sample[:, 1] >= border]
    actual = windows.future(task.channels[:, :, 0], late, task.horizon)
    quantiles = []
    for level in task.levels:
        predict = _fitted_trees(task, early if len(early) else sample, loss="quantile", quantile=level)
        shift = np.quantile(actual - predict(late), level, axis=0, method="weibull")
        quantiles.append(task.inverse(predict(task.index) + shift, task.index[:, 0]))
    return BaselineForecast(point, np.sort(np.stack(quantiles, axis=-1), axis=-1), notes)


def _fitted_trees(task: BaselineTask, index: np.ndarray, **loss: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The function from windows (n, 2) to forecasts (n, horizon), in network units, of trees grown on `index`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    targets = windows.future(task.channels[:, :, 0], index, task.horizon).ravel()
    model = HistGradientBoostingRegressor(
        **loss, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    rows = step_rows(task, index)
    # Early windows may have none of the longer lags, and scikit-learn cannot bin a column without a value.
    has_values = ~np.isnan(rows).all(axis=0)
    model.fit(rows[:, has_values], targets)

    def predict(others: np.ndarray) -> np.ndarray:
        parts = [
            model.predict(step_rows(task, part)[:, has_values]) for part in blocks(others, rows.shape[1] * task.horizon)
        ]
        return np.concatenate([np.zeros(0), *parts]).reshape(len(others), task.horizon)

    return predict
