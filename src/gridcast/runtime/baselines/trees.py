"""Gradient-boosted trees on the windows that the networks read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import windows
from ..interpolated_levels import at_levels
from ..quantiles import trained_levels
from .task import BaselineForecast, BaselineTask
from .tree_arrays import TreeArrays
from .tree_features import step_rows
from .window_features import blocks, left_out_notes

MAX_ROWS = 50_000
"""Rows that trees are grown on, each a window and a step: more take longer and improve little."""
MAX_VALUES = 50_000_000
"""Numbers in these rows, which bound their memory to 400 MB."""
GROWING_SHARE = 0.75
"""Share of the training span on which the trees are grown that show on the rest how wide quantiles must be."""
MAX_WIDENING = 2.0
"""Bound of the factor that widens quantiles: a level that changed near the end of training is no spread."""
MIN_WIDTH = 1e-9
"""Least distance of a quantile from the median that is divided by."""


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
    """Trees for the quantile at each of the `levels`, among them the median; without levels, for the mean alone.

    Quantiles are `widening` times as far from the median as the trees forecast. `is_relative`: see `step_rows`.
    """

    grown: Sequence[GrownTrees]
    levels: tuple[float, ...]
    widening: float
    is_relative: bool


def trees(task: BaselineTask) -> BaselineForecast:
    """Forecast by gradient-boosted trees on the windows that the networks read, see `step_rows`.

    Each quantile minimises its pinball loss. Trees overfit the windows that they were grown on, so that quantiles are
    too narrow. They are widened by one factor, with which those of trees that were grown on the first windows of the
    training span cover the last ones (after Romano, Patterson and Candes 2019, "Conformalized quantile regression").
    Quantiles that cross are sorted (Chernozhukov et al. 2010). Trees as of Friedman (2001), in scikit-learn's histogram
    variant.
    """
    return _forecast(task, grow_trees(task))


def relative_trees(task: BaselineTask) -> BaselineForecast:
    """Forecast by trees in units of each window: they follow levels that training has not seen."""
    return _forecast(task, grow_trees(task, is_relative=True))


def fit_trees(task: BaselineTask, *, is_relative: bool = False) -> dict[str, np.ndarray]:
    """Return the state that `forecast_trees` reads: the trees as arrays."""
    fitted = grow_trees(task, is_relative=is_relative)
    state = {
        "levels": np.array(fitted.levels),
        "widening": np.array(fitted.widening),
        "is_relative": np.array(fitted.is_relative),
    }
    for number, (columns, regressor) in enumerate(fitted.grown):
        arrays = {"columns": columns, **TreeArrays.of(regressor).to_dict()}
        state |= {f"{number}.{name}": array for name, array in arrays.items()}
    return state


fit_relative_trees = partial(fit_trees, is_relative=True)


def forecast_trees(task: BaselineTask, state: Mapping[str, np.ndarray]) -> BaselineForecast:
    """Return the forecasts by the `state` of `fit_trees`. Raises DataError for a level outside of those fitted."""
    levels = tuple(state["levels"].tolist())
    grown = [
        GrownTrees(state[f"{number}.columns"], TreeArrays.from_dict(state, f"{number}."))
        for number in range(max(1, len(levels)))
    ]
    return _forecast(task, TreesFit(grown, levels, float(state["widening"]), bool(state["is_relative"])))


def grow_trees(task: BaselineTask, *, is_relative: bool = False) -> TreesFit:
    """Return trees grown on the training windows of `task`."""
    columns = step_rows(task, task.training_index[:1], is_relative=is_relative).rows.shape[1]
    max_rows = min(MAX_ROWS, MAX_VALUES // columns)
    sample = task.training_index[:: max(1, -(-len(task.training_index) * task.horizon // max_rows))]
    rows = _training_rows(task, sample, is_relative)
    if not task.levels:
        return TreesFit([_grown(rows)], (), 1.0, is_relative)
    levels = trained_levels(task.levels)
    widening = _widening(task, sample, levels, is_relative)
    return TreesFit([_grown(rows, level) for level in levels], levels, widening, is_relative)


class TrainingRows(NamedTuple):
    """Rows (n, columns) and what trees forecast of them (n,), in units of the rows."""

    rows: np.ndarray
    targets: np.ndarray


def _training_rows(task: BaselineTask, index: np.ndarray, is_relative: bool) -> TrainingRows:
    rows, centre, scale = step_rows(task, index, is_relative=is_relative)
    targets = windows.future(task.channels[:, :, 0], index, task.horizon)
    return TrainingRows(rows, ((targets - centre[:, None]) / scale[:, None]).ravel())


def _widening(task: BaselineTask, sample: np.ndarray, levels: tuple[float, ...], is_relative: bool) -> float:
    """The factor by which the quantiles of trees that are grown on early windows are too narrow for late ones."""
    # Targets of early windows end before the late ones begin.
    border = np.quantile(sample[:, 1], GROWING_SHARE, method="higher")
    early, late = sample[sample[:, 1] + task.horizon <= border], sample[sample[:, 1] >= border]
    if not len(early):
        return 1.0
    grown_on, shown_on = (_training_rows(task, part, is_relative) for part in (early, late))
    outer = [_grown(grown_on, level) for level in (levels[0], 0.5, levels[-1])]
    predicted = np.stack([one.regressor.predict(shown_on.rows[:, one.columns]) for one in outer])
    low, median, high = np.sort(predicted, axis=0)
    error = shown_on.targets - median
    width = np.where(error < 0, median - low, high - median)
    needed = np.quantile(np.abs(error) / np.maximum(width, MIN_WIDTH), levels[-1] - levels[0])
    return float(np.clip(needed, 1.0, MAX_WIDENING))


def _grown(training: TrainingRows, level: float | None = None) -> GrownTrees:
    """Trees for the quantile at a `level`, or else the mean."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    has_values = ~np.isnan(training.rows).all(axis=0)  # scikit-learn cannot bin a column without a value
    loss: dict[str, Any] = {} if level is None else {"loss": "quantile", "quantile": level}
    model = HistGradientBoostingRegressor(
        **loss, learning_rate=0.05, max_leaf_nodes=8, max_features=0.5, early_stopping=False, random_state=0
    )
    model.fit(training.rows[:, has_values], training.targets)
    return GrownTrees(has_values, model)


def _predicted(task: BaselineTask, fitted: TreesFit) -> np.ndarray:
    """Forecasts (trees, n, horizon), in network units."""
    parts = [np.zeros((len(fitted.grown), 0, task.horizon))]
    for part in blocks(task.index, len(fitted.grown[0].columns) * task.horizon):
        rows, centre, scale = step_rows(task, part, is_relative=fitted.is_relative)
        predicted = np.stack([one.regressor.predict(rows[:, one.columns]) for one in fitted.grown])
        parts.append(predicted.reshape(-1, len(part), task.horizon) * scale[:, None] + centre[:, None])
    return np.concatenate(parts, axis=1)


def _forecast(task: BaselineTask, fitted: TreesFit) -> BaselineForecast:
    series, notes, predicted = task.index[:, 0], left_out_notes(task), _predicted(task, fitted)
    if not fitted.levels:
        return BaselineForecast(task.inverse(predicted[0], series), notes=notes)
    middle = fitted.levels.index(0.5)
    spread = predicted[middle] + fitted.widening * (predicted - predicted[middle])
    ascending = np.sort(np.stack([task.inverse(one, series) for one in spread], axis=-1), axis=-1)
    quantiles = at_levels(ascending, fitted.levels, task.levels) if task.levels else None
    return BaselineForecast(ascending[..., middle], quantiles, notes)
