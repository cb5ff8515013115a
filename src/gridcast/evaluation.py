"""The test span, touched once: forecasts beside actual values, and every measure made from them."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast import metrics
from gridcast.data.panel import Panel
from gridcast.errors import GridcastError
from gridcast.tracking import CONFIGURATION, KEY
from gridcast.training.material import Material

FORECASTS, RECENT, EXPLAINED = "test_forecasts.parquet", "recent.parquet", "importance.json"
PREFIX = "test_"
RECENT_STEPS = 30


@dataclass(frozen=True)
class Forecasts:
    """Forecasts (n, horizon) in data units of the windows `index` (n, 2).

    `explained` is what the forecaster leans on, as `training.explanation` tells it; None where nobody asked.
    """

    index: np.ndarray
    forecast: np.ndarray
    explained: dict[str, Any] | None = None


def best(runs: list[Any], metric: str) -> Any:
    """The MLflow run to be tested: of the configuration with the best mean over seeds, the best seed.

    Runs whose metric is not finite are left out, and configurations with fewer seeds than others:
    a mean over few seeds is luck. Raises GridcastError when none is left.
    """
    groups: dict[str, list[Any]] = {}
    for run in runs:
        # SQL stores keep an infinite value as the largest number there is.
        if abs(run.data.metrics.get(metric, np.nan)) < sys.float_info.max:
            groups.setdefault(run.data.tags[CONFIGURATION], []).append(run)
    if not groups:
        raise GridcastError(f"no run has a finite {metric}")
    most = max(map(len, groups.values()))
    whole = [group for group in groups.values() if len(group) == most]

    def rank(group: list[Any]) -> tuple[float, str]:
        """The mean; among equals the smaller key, whichever was recorded first."""
        return float(np.mean([run.data.metrics[metric] for run in group])), min(run.data.tags[KEY] for run in group)

    winners = min(whole, key=rank)
    return min(winners, key=lambda run: (run.data.metrics[metric], run.data.tags[KEY]))


def table(forecasts: Forecasts, material: Material, panel: Panel) -> pd.DataFrame:
    """One row per window and step: series, time, step (1 = next), actual, forecast, scale (of MASE)."""
    index, horizon = forecasts.index, forecasts.forecast.shape[1]
    scales = metrics.naive_scale(panel.training_target)
    steps = index[:, 1, None] + np.arange(horizon)
    return pd.DataFrame(
        {
            "series": np.repeat(np.array(panel.series)[index[:, 0]], horizon),
            "time": panel.times[steps.ravel()],
            "step": np.tile(np.arange(1, horizon + 1), len(index)),
            "actual": material.actual(index).ravel(),
            "forecast": forecasts.forecast.ravel(),
            "scale": np.repeat(scales[index[:, 0]], horizon),
        }
    )


def recent(panel: Panel, horizon: int) -> pd.DataFrame:
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


def measures(table: pd.DataFrame) -> dict[str, float]:
    """Every finite measure over the whole test span, under the names it has in MLflow."""
    actual, forecast = table["actual"].to_numpy(), table["forecast"].to_numpy()
    found = metrics.overall(actual, forecast, table["series"].to_numpy(), table["scale"].to_numpy())
    shares = metrics.closeness(actual, forecast)
    found |= {f"share_{name.lower().replace(' ', '_')}": share for name, share in shares.items()}
    return {PREFIX + name: value for name, value in found.items() if np.isfinite(value)}


def tested(run: Any) -> dict[str, float]:
    """The test measures of an MLflow run, under their short names."""
    return {name.removeprefix(PREFIX): value for name, value in run.data.metrics.items() if name.startswith(PREFIX)}


def to_bytes(table: pd.DataFrame) -> bytes:
    """The table as a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def from_bytes(content: bytes) -> pd.DataFrame:
    """The reverse of `to_bytes`."""
    return pd.read_parquet(io.BytesIO(content))
