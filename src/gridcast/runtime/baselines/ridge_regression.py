"""Ridge regression on the windows that the networks read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import windows
from ..interpolated_levels import at_levels
from .residuals import residual_quantiles
from .task import BaselineForecast, BaselineTask
from .window_features import blocks, left_out_notes, window_rows

PENALTY = 1.0
"""Penalty on the sum of the squared weights, in network units."""


@dataclass(frozen=True)
class RidgeFit:
    """Weights (columns, horizon) around the means of the columns (columns,) and of the targets (horizon,).

    `factor` (columns, columns) is the lower Cholesky factor of the normal equations of `count` training windows.
    """

    weights: np.ndarray
    mean: np.ndarray
    level: np.ndarray
    factor: np.ndarray
    count: int

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the forecasts (n, horizon) for `rows` (n, columns)."""
        return np.asarray(self.level + (rows - self.mean) @ self.weights)

    def predict_left_out(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the forecasts (n, horizon) for training `rows` by fits to all training windows but the row's own.

        By the leverage of each row (Allen 1974, "The relationship between variable selection and data augmentation").
        """
        from scipy.linalg import solve_triangular

        inner = solve_triangular(self.factor, (rows - self.mean).T, lower=True)
        leverage = (1 / self.count + np.sum(inner**2, axis=0))[:, None]
        return targets - (targets - self.predict(rows)) / np.maximum(1 - leverage, 1e-9)


def ridge(task: BaselineTask) -> BaselineForecast:
    """Forecast by ridge regression on the windows that the networks read, see `window_rows`.

    Quantiles are those of the errors on training windows, each forecast by a fit without it.
    """
    return replace(forecast_ridge(task, fit_ridge(task)), notes=left_out_notes(task))


def fit_ridge(task: BaselineTask) -> dict[str, np.ndarray]:
    """Return what `forecast_ridge` reads: weights, means, and the quantiles of the errors at the levels of `task`."""
    with np.errstate(over="ignore", invalid="ignore"):  # an extreme scale shows in the test error
        fitted = solve_ridge(task)
        state = {"weights": fitted.weights, "mean": fitted.mean, "level": fitted.level}
        if not task.levels:
            return state

        def forecast_left_out(index: np.ndarray) -> np.ndarray:
            parts = blocks(index, len(fitted.mean))
            scaled = [fitted.predict_left_out(window_rows(task, part), _targets(task, part)) for part in parts]
            return task.inverse(np.concatenate([np.zeros((0, task.horizon)), *scaled]), index[:, 0])

        return state | {"errors": residual_quantiles(task, forecast_left_out), "levels": np.array(task.levels)}


def forecast_ridge(task: BaselineTask, state: Mapping[str, np.ndarray]) -> BaselineForecast:
    """Return the forecasts by the `state` of `fit_ridge`. Raises DataError for a level outside of those fitted."""
    with np.errstate(over="ignore", invalid="ignore"):
        parts = blocks(task.index, len(state["mean"]))
        scaled = [state["level"] + (window_rows(task, part) - state["mean"]) @ state["weights"] for part in parts]
        point = task.inverse(np.concatenate([np.zeros((0, task.horizon)), *scaled]), task.index[:, 0])
    if not task.levels:
        return BaselineForecast(point)
    errors = at_levels(state["errors"], state["levels"].tolist(), task.levels)
    return BaselineForecast(point, point[:, :, None] + errors[task.codes[task.index[:, 0]]])


def solve_ridge(task: BaselineTask) -> RidgeFit:
    """Return the fit to all training windows, by normal equations that are added up block by block."""
    from scipy.linalg import cho_solve, cholesky

    index = task.training_index
    columns = window_rows(task, index[:1]).shape[1]
    mean, level = np.zeros(columns), np.zeros(task.horizon)
    for part in blocks(index, columns):
        mean += window_rows(task, part).sum(axis=0, dtype=float) / len(index)
        level += _targets(task, part).sum(axis=0) / len(index)
    gram, moment = PENALTY * np.eye(columns), np.zeros((columns, task.horizon))
    for part in blocks(index, columns):
        rows = window_rows(task, part) - mean
        gram += rows.T @ rows
        moment += rows.T @ (_targets(task, part) - level)
    factor = cholesky(gram, lower=True)
    return RidgeFit(cho_solve((factor, True), moment), mean, level, factor, len(index))


def _targets(task: BaselineTask, index: np.ndarray) -> np.ndarray:
    """The targets (n, horizon) of the windows `index` (n, 2), in network units."""
    return windows.future(task.channels[:, :, 0], index, task.horizon).astype(float)
