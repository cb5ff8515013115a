"""Measures of a run's forecasts of the validation span, by the names under which MLflow has them."""

from __future__ import annotations

import numpy as np

from gridcast.config.selection_metrics import POINT_MEASURES, SHARES_WITHIN, VALIDATION_PREFIX
from gridcast.data.dataset import Dataset
from gridcast.evaluation import metrics, own_metrics


@np.errstate(invalid="ignore")  # an infinite forecast makes some measures NaN
def validation_measures(
    dataset: Dataset, index: np.ndarray, forecast: np.ndarray, quantiles: np.ndarray | None = None
) -> dict[str, float]:
    """Return each finite measure of `forecast` (n, horizon) of the windows `index` (n, 2), in data units.

    `quantiles` (n, horizon, levels) are those of the experiment's levels, for metrics of one's own that take them.
    """
    actual, rows = dataset.targets(index), index[:, 0]
    scale = dataset.naive_scales[rows]
    horizon = actual.shape[1]
    values = metrics.overall(actual.ravel(), forecast.ravel(), np.repeat(rows, horizon), np.repeat(scale, horizon))
    values = {name: values[name] for name in POINT_MEASURES}
    for name, size in SHARES_WITHIN.items():
        values[name] = float(100 * np.mean(metrics.is_within(actual, forecast, size / 100)))
    for name, metric in dataset.metrics.items():
        values[name] = own_metrics.evaluate(
            metric,
            name,
            actual,
            forecast,
            scale=scale,
            series=rows,
            quantiles=quantiles,
            levels=None if quantiles is None else np.array(dataset.levels),
        )
    return {VALIDATION_PREFIX + name: value for name, value in values.items() if np.isfinite(value)}
