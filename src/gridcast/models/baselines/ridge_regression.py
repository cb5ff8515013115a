"""Ridge regression on the windows that the networks read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gridcast.models.baselines.residuals import with_residual_quantiles
from gridcast.models.baselines.task import BaselineForecast, BaselineTask
from gridcast.models.baselines.window_features import blocks, left_out_notes, window_rows
from gridcast.runtime import windows

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
        return self.level + (rows - self.mean) @ self.weights

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
    with np.errstate(over="ignore", invalid="ignore"):  # an extreme scale shows in the test error
        fitted = fit_ridge(task)

        def forecast(index: np.ndarray, *, in_training: bool = False) -> np.ndarray:
            parts = [np.zeros((0, task.horizon))]
            for part in blocks(index, len(fitted.mean)):
                rows = window_rows(task, part)
                if in_training:
                    parts.append(fitted.predict_left_out(rows, _targets(task, part)))
                else:
                    parts.append(fitted.predict(rows))
            return task.inverse(np.concatenate(parts), index[:, 0])

        forecasts = with_residual_quantiles(task, forecast, in_training=lambda index: forecast(index, in_training=True))
        return replace(forecasts, notes=left_out_notes(task))


def fit_ridge(task: BaselineTask) -> RidgeFit:
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
