"""Gradient-boosted trees on the windows that the networks read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import windows
from ..interpolated_levels import at_levels
from .task import BaselineForecast, BaselineTask
from .tree_arrays import TreeArrays
from .window_features import blocks, left_out_notes, step_rows

MAX_ROWS = 50_000
"""Rows that trees are grown on, each a window and a step: more take longer and improve little."""
MAX_VALUES = 50_000_000
"""Numbers in these rows, which bound their memory to 400 MB."""
GROWING_SHARE = 0.75
"""Share of the training span on which trees for quantiles are grown; the rest calibrates them."""


class Regressor(Protocol):
    """Fitted trees."""

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return a number for each of `rows` (n, columns)."""
        ...


class GrownTrees(NamedTuple):
    """Trees, and the `columns` of `step_rows` (columns,) that they read: early windows have none of the longer lags."""

    columns: np.ndarray
    regressor: Regressor


@dataclass(frozen=True)
class TreesFit:
    """Trees for the point forecast and for the quantile at each of `levels`, to which its row of `shifts` is added.

    `shifts` is (levels, horizon), in network units.
    """

    point: GrownTrees
    quantiles: Sequence[GrownTrees]
    levels: tuple[float, ...]
    shifts: np.ndarray


def trees(task: BaselineTask) -> BaselineForecast:
    """Forecast by gradient-boosted trees on the windows that the networks read, see `step_rows`.

    The point forecast minimises squared error. Each quantile minimises its pinball loss over the first windows of the
    training span, and is then shifted so that its share of the last ones lies below it: trees overfit the windows that
    they were grown on (Romano, Patterson and Candes 2019, "Conformalized quantile regression"). Quantiles that cross
    are sorted (Chernozhukov et al. 2010). Trees as of Friedman (2001), in scikit-learn's histogram variant.
    """
    return _forecast(task, grow_trees(task))


def fit_trees(task: BaselineTask) -> dict[str, np.ndarray]:
    """Return the state that `forecast_trees` reads: the trees as arrays."""
    fitted = grow_trees(task)
    state = {"levels": np.array(fitted.levels), "shifts": fitted.shifts}
    for number, (columns, regressor) in enumerate([fitted.point, *fitted.quantiles]):
        arrays = {"columns": columns, **TreeArrays.of(regressor).to_dict()}
        state |= {f"{number}.{name}": array for name, array in arrays.items()}
    return state


def forecast_trees(task: BaselineTask, state: Mapping[str, np.ndarray]) -> BaselineForecast:
    """Return the forecasts by the `state` of `fit_trees`. Raises DataError for a level outside of those fitted."""
    levels = tuple(state["levels"].tolist())
    point, *quantiles = [
        GrownTrees(state[f"{number}.columns"], TreeArrays.from_dict(state, f"{number}."))
        for number in range(1 + len(levels))
    ]
    return _forecast(task, TreesFit(point, quantiles, levels, state["shifts"]))


def grow_trees(task: BaselineTask) -> TreesFit:
    """Return trees grown on the training windows of `task`."""
    max_rows = min(MAX_ROWS, MAX_VALUES // step_rows(task, task.training_index[:1]).shape[1])
    sample = task.training_index[:: max(1, -(-len(task.training_index) * task.horizon // max_rows))]
    # Targets of early windows end before the late ones begin.
    border = np.quantile(sample[:, 1], GROWING_SHARE, method="higher")
    early, late = sample[sample[:, 1] + task.horizon <= border], sample[sample[:, 1] >= border]
    actual = windows.future(task.channels[:, :, 0], late, task.horizon)
    quantiles, shifts = [], np.zeros((len(task.levels), task.horizon))
    for number, level in enumerate(task.levels):
        grown = _grown(task, early if len(early) else sample, loss="quantile", quantile=level)
        shifts[number] = np.quantile(actual - _predicted(task, grown, late), level, axis=0, method="weibull")
        quantiles.append(grown)
    return TreesFit(_grown(task, sample), quantiles, task.levels, shifts)


def _grown(task: BaselineTask, index: np.ndarray, **loss: Any) -> GrownTrees:
    """Trees grown on the windows `index` (n, 2)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = step_rows(task, index)
    has_values = ~np.isnan(rows).all(axis=0)  # scikit-learn cannot bin a column without a value
    model = HistGradientBoostingRegressor(
        **loss, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    model.fit(rows[:, has_values], windows.future(task.channels[:, :, 0], index, task.horizon).ravel())
    return GrownTrees(has_values, model)


def _predicted(task: BaselineTask, grown: GrownTrees, index: np.ndarray) -> np.ndarray:
    """Forecasts (n, horizon) of the windows `index` (n, 2), in network units."""
    parts = blocks(index, len(grown.columns) * task.horizon)
    predicted = [grown.regressor.predict(step_rows(task, part)[:, grown.columns]) for part in parts]
    return np.concatenate([np.zeros(0), *predicted]).reshape(len(index), task.horizon)


def _forecast(task: BaselineTask, fitted: TreesFit) -> BaselineForecast:
    series, notes = task.index[:, 0], left_out_notes(task)
    point = task.inverse(_predicted(task, fitted.point, task.index), series)
    if not task.levels:
        return BaselineForecast(point, notes=notes)
    quantiles = [
        task.inverse(_predicted(task, grown, task.index) + shift, series)
        for grown, shift in zip(fitted.quantiles, fitted.shifts, strict=True)
    ]
    ascending = np.sort(np.stack(quantiles, axis=-1), axis=-1)
    return BaselineForecast(point, at_levels(ascending, fitted.levels, task.levels), notes)
