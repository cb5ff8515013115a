"""Forecasts beside the actual values as a table, and the metrics of that table."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import metrics
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.runtime.naive_scale import naive_scale

MODEL_INDEPENDENT_COLUMNS = ["series", "time", "step", "actual", "scale"]
"""Columns of the table that are the same for every forecaster."""
RECENT_STEPS = 30
"""Steps of history that are kept for pictures and examples, or more where the horizon or the lookback is long."""


def tabulate_forecasts(forecasts: Forecasts, dataset: Dataset, panel: Panel) -> pd.DataFrame:
    """Return a row per window and step: series, time, step (1 = next), actual, forecast, scale (of MASE).

    Quantiles have a column each, such as `q0.1`; where paths were sampled, there is a column crps.
    """
    index, horizon = forecasts.index, forecasts.forecast.shape[1]
    scales = naive_scale(panel.training_target)
    steps = index[:, 1, None] + np.arange(horizon)
    columns: dict[str, np.ndarray] = {}
    if forecasts.quantiles is not None:
        columns |= {f"q{level:g}": forecasts.quantiles[..., k].ravel() for k, level in enumerate(forecasts.levels)}
    if forecasts.crps is not None:
        columns["crps"] = forecasts.crps.ravel()
    return pd.DataFrame(
        {
            "series": np.repeat(np.array(panel.series)[index[:, 0]], horizon),
            "time": panel.times[steps.ravel()],
            "step": np.tile(np.arange(1, horizon + 1), len(index)),
            "actual": dataset.targets(index).ravel(),
            "forecast": forecasts.forecast.ravel(),
            "scale": np.repeat(scales[index[:, 0]], horizon),
            **columns,
        }
    )


def quantile_levels(table: pd.DataFrame) -> tuple[float, ...]:
    """Return the levels of the quantile columns of `table`, in their order."""
    return tuple(float(column[1:]) for column in table.columns if re.fullmatch(r"q0\.\d+", column))


def recent_history(panel: Panel, horizon: int) -> pd.DataFrame:
    """Return the observed values right before the test span, for plots: series, time, actual.

    As many steps as `RECENT_STEPS`, or three times the `horizon` if that is more.
    """
    end = panel.spans["test"][0]
    start = max(0, end - max(RECENT_STEPS, 3 * horizon))
    series, steps = np.nonzero(panel.observed[:, start:end])
    return pd.DataFrame(
        {
            "series": np.array(panel.series)[series],
            "time": panel.times[start + steps],
            "actual": panel.target[series, start + steps],
        }
    )


def measure_forecasts(table: pd.DataFrame) -> dict[str, float]:
    """Return every finite metric over all rows of `table`, under its name in MLflow.

    The names of coverage and width end in the share that their interval promises, such as `test_coverage_80`.
    """
    values = _unnamed_metrics(table)
    if pair := metrics.widest_interval(quantile_levels(table)):
        share = f"{100 * (pair[1] - pair[0]):.6g}"
        values |= {f"{name}_{share}": values.pop(name) for name in ("coverage", "width")}
    shares = metrics.closeness(table["actual"].to_numpy(), table["forecast"].to_numpy())
    values |= {metrics.share_name(label): share for label, share in shares.items()}
    return {TEST_PREFIX + name: value for name, value in values.items() if np.isfinite(value)}


@np.errstate(invalid="ignore")  # an infinite forecast makes some metrics NaN
def _unnamed_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Metrics under the names of the functions that compute them."""
    actual, forecast = table["actual"].to_numpy(float), table["forecast"].to_numpy(float)
    values = metrics.overall(actual, forecast, table["series"].to_numpy(), table["scale"].to_numpy(float))
    if levels := quantile_levels(table):
        quantiles = table[[f"q{level:g}" for level in levels]].to_numpy(float)
        values |= metrics.quantile_metrics(actual, quantiles, levels)
    if "crps" in table:
        values["crps"] = float(table["crps"].mean())
    return values
