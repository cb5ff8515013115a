"""Forecasts beside actual values as a table, and the metrics of that table."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from gridcast.data import series_statistics
from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import metrics
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.forecast_results import Forecasts

MODEL_INDEPENDENT_COLUMNS = ["series", "time", "step", "actual", "scale"]
"""Columns of the forecasts' table that are the same for every forecaster."""


RECENT_STEPS = 30


def tabulate_forecasts(forecasts: Forecasts, dataset: Dataset, panel: Panel) -> pd.DataFrame:
    """One row per window and step: series, time, step (1 = next), actual, forecast, scale (of MASE).

    Where quantiles were forecast, a column each, such as `q0.1`; where paths were sampled, crps.
    """
    index, horizon = forecasts.index, forecasts.forecast.shape[1]
    scales = series_statistics.naive_scale(panel.training_target)
    steps = index[:, 1, None] + np.arange(horizon)
    own = forecasts.quantiles
    columns = {} if own is None else {f"q{level:g}": own[..., k].ravel() for k, level in enumerate(forecasts.levels)}
    columns |= {} if forecasts.crps is None else {"crps": forecasts.crps.ravel()}
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
    """The levels whose quantiles stand in `table`, in its order."""
    return tuple(float(column[1:]) for column in table.columns if re.fullmatch(r"q0\.\d+", column))


def recent_history(panel: Panel, horizon: int) -> pd.DataFrame:
    """What was observed right before the test span, for pictures: series, time, actual, of a few horizons' steps."""
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
    """Every finite measure over the whole test span, under the names it has in MLflow.

    Coverage and width carry the share that their interval promises, such as `test_coverage_80`.
    """
    found = _metrics_of_table(table)
    if pair := metrics.widest_interval(quantile_levels(table)):
        share = f"{100 * (pair[1] - pair[0]):.6g}"
        found |= {f"{name}_{share}": found.pop(name) for name in ("coverage", "width")}
    shares = metrics.closeness(table["actual"].to_numpy(), table["forecast"].to_numpy())
    found |= {f"share_{name.lower().replace(' ', '_')}": share for name, share in shares.items()}
    return {TEST_PREFIX + name: value for name, value in found.items() if np.isfinite(value)}


@np.errstate(invalid="ignore")  # an infinite forecast makes some measures NaN
def _metrics_of_table(table: pd.DataFrame) -> dict[str, float]:
    actual, forecast = table["actual"].to_numpy(float), table["forecast"].to_numpy(float)
    found = metrics.overall(actual, forecast, table["series"].to_numpy(), table["scale"].to_numpy(float))
    if known := quantile_levels(table):
        quantiles = table[[f"q{level:g}" for level in known]].to_numpy(float)
        found |= metrics.quantile_metrics(actual, quantiles, known)
    if "crps" in table:
        found["crps"] = float(table["crps"].mean())
    return found
