"""The losses of a forecaster by origin, whose mean is exactly a measure of the test span: pure functions on frames.

A table of the test span has one row per window and step: series, time, step (1 = next), actual, forecast, scale (of
MASE), and a column such as `q0.1` for each quantile level. Percent and p value of a comparison come from the same
numbers, so that they are about the same error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from gridcast.config.selection_metrics import SHARES_WITHIN, VALIDATION_PREFIX, Metric
from gridcast.evaluation import metrics, own_metrics

POINT_KEYS = ["series", "time", "step"]
"""Columns that identify a forecast."""


@dataclass(frozen=True)
class Measure:
    """A measure of forecasts, the lower the better: its `name` in tables and records, and its `title` in sentences.

    `own` is the metric of one's own that it is, or whose negative it is; None for those of gridcast.
    """

    name: str
    title: str
    own: Metric | None = None


MASE = Measure("mase", "MASE")
MSSE = Measure("msse", "squared scaled error")
MSLE = Measure("msle", "squared log error (MSLE)")
MAE = Measure("mae", "MAE")
WQL = Measure("wql", "quantile loss (WQL)")
MSE = Measure("mse", "mean squared error")
RELATIVE = {"wape": Measure("wape", "WAPE"), "mape": Measure("mape", "MAPE"), "smape": Measure("smape", "sMAPE")}
OUTSIDE = {
    name: Measure(name.replace("within", "outside"), f"share outside {100 - size}-{100 + size} %")
    for name, size in SHARES_WITHIN.items()
}
PER_SERIES = (MASE.name, MSSE.name)
"""Measures that are means over series, each in its own unit; the others are sums over all points."""


def measure_of(
    selection_metric: str,
    losses: Collection[str],
    levels: Sequence[float],
    own: Mapping[str, Metric] = MappingProxyType({}),
    *,
    log1p: bool = False,
) -> Measure:
    """Return the measure of the test span that corresponds to the metric by which an experiment selects.

    `best_val_mae` is the MAE in data units and `best_val_wql` the weighted quantile loss. `best_val_loss` is the loss
    in units of each series: of forecasts with quantile `levels` the weighted quantile loss, of networks trained on
    `losses` of squared errors alone the squared error in units of MASE's scale, or that of the logarithms where the
    networks forecast these (`log1p`), else MASE itself. RMSE and R² order
    forecasts of the same points as the mean squared error does, and a share within some percent is that outside. A
    metric of one's `own`, by name, is itself, or its negative where higher is better; unknown here, it is MASE.
    """
    name = selection_metric.removeprefix(VALIDATION_PREFIX)
    if name in own:
        return own_measure(name, own[name])
    simple = {
        "mase": MASE,
        "msse": MSSE,
        "msle": MSLE,
        "rmse": MSE,
        "r2": MSE,
        "best_val_mae": MAE,
        **RELATIVE,
        **OUTSIDE,
    }
    if name in simple:
        return simple[name]
    if not selection_metric.startswith("best_"):
        return MASE
    if len(levels):
        return WQL
    if set(losses) != {"mse"}:
        return MASE
    return MSLE if log1p else MSSE


def own_measure(name: str, metric: Metric) -> Measure:
    """Return one's own `metric` as a measure, of which the lower is the better."""
    return Measure(name, name if metric.direction == "lower" else f"minus {name}", metric)


def value_of(measure: Measure, measures: Mapping[str, float]) -> float:
    """Return the value of `measure` from the recorded `measures` of a span; NaN where they lack it."""
    if measure == MSE:
        return float(measures.get("rmse", np.nan)) ** 2
    for name, outside in OUTSIDE.items():
        if measure == outside:
            classes = metrics.CLOSENESS_CLASSES[: 1 + list(OUTSIDE).index(name)]
            return 100 - sum(float(measures.get(metrics.share_name(label), np.nan)) for label in classes)
    value = float(measures.get(measure.name, np.nan))
    return -value if measure.own is not None and measure.own.direction == "higher" else value


def limit_below(error: float, margin: float) -> float:
    """Return the highest value that lies below `error` by the share `margin` of its size."""
    return error - margin * abs(error) if np.isfinite(error) else error


def origin_losses(table: pd.DataFrame, measure: Measure, levels: Sequence[float] = ()) -> pd.Series:
    """Return the loss of each origin, over series and steps, in time order; their mean is the measure of `table`.

    The index is the time of the origin's first step. Of the weighted quantile loss at `levels` the mean is half its
    numerator, in data units: all forecasters of the same points have the same denominator. Series whose scale is 0 are
    left out of measures in units of that scale, as they are of MASE. Infinite where a forecast is not a number. Of a
    metric of one's own, its value on the windows of each origin.
    """
    if measure.own is not None:
        return _own_losses(table, measure, origin_times(table), levels).rename_axis("origin").sort_index()
    losses = _weighted_losses(table, measure, levels)
    return _summed(losses, origin_times(table)).rename_axis("origin").sort_index()


def shared_points(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of both tables at the points that both forecast."""
    if a[POINT_KEYS].reset_index(drop=True).equals(b[POINT_KEYS].reset_index(drop=True)):
        return a, b
    keys = [pd.MultiIndex.from_frame(table[POINT_KEYS]) for table in (a, b)]
    return a[keys[0].isin(keys[1])], b[keys[1].isin(keys[0])]


def origin_times(table: pd.DataFrame) -> np.ndarray:
    """Return the time of the first step of the window of each row (rows,)."""
    times = pd.Index(table["time"].unique()).sort_values()
    return np.asarray(times[times.get_indexer(table["time"]) - (table["step"].to_numpy() - 1)])


def series_losses(table: pd.DataFrame, measure: Measure, levels: Sequence[float] = ()) -> pd.Series:
    """Return the loss of each series; their mean is the measure, of MAE and WQL where all have as many points."""
    if measure.own is not None:
        return _own_losses(table, measure, table["series"].to_numpy(), levels).rename_axis("series")
    return _summed(_weighted_losses(table, measure, levels), table["series"].to_numpy()).rename_axis("series")


def _summed(losses: pd.Series, groups: np.ndarray) -> pd.Series:
    """Return the sum of each group times the number of groups, so that their mean is the sum of all."""
    sums = losses.groupby(groups).sum(min_count=1).dropna()
    return (sums * len(sums)).rename("loss")


def _own_losses(table: pd.DataFrame, measure: Measure, groups: np.ndarray, levels: Sequence[float]) -> pd.Series:
    """Return the value of one's own metric on the rows of each of `groups`, or its negative where higher is better."""
    assert measure.own is not None
    sign = 1 if measure.own.direction == "lower" else -1
    values = {
        group: sign * own_metrics.evaluate_table(measure.own, measure.name, rows, levels)
        for group, rows in table.groupby(groups)
    }
    losses = pd.Series(values, name="loss", dtype=float)
    return losses.where(np.isfinite(losses), np.inf)


def _weighted_losses(table: pd.DataFrame, measure: Measure, levels: Sequence[float]) -> pd.Series:
    """Return the part of each row of the measure: they add up to it. NaN in rows that it leaves out."""
    actual, forecast = table["actual"].to_numpy(float), table["forecast"].to_numpy(float)
    losses = pd.Series(_point_losses(table, measure, actual, forecast, levels), index=table.index)
    if measure == RELATIVE["mape"]:
        return losses.fillna(np.inf).where(actual != 0) / max(int(np.count_nonzero(actual)), 1)
    losses = losses.fillna(np.inf)
    if measure == RELATIVE["wape"]:
        return losses / np.abs(actual).sum()
    if measure.name not in PER_SERIES:
        return losses / len(losses)
    scale = table["scale"].where(table["scale"] > 0).to_numpy(float)
    scaled = pd.Series((losses.to_numpy() / scale) ** (2 if measure == MSSE else 1), index=table.index)
    counts = scaled.groupby(table["series"].to_numpy()).transform("count").to_numpy(float)
    return scaled / (counts * table.loc[~np.isnan(scale), "series"].nunique())


def _point_losses(
    table: pd.DataFrame, measure: Measure, actual: np.ndarray, forecast: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    """Return the loss of each row (rows,), before it is put in the unit of its series or of the span."""
    error = np.abs(actual - forecast)
    if measure == MSLE:
        return metrics.log_errors(actual, forecast) ** 2
    if measure == WQL:
        quantiles = [metrics.pinball(actual, table[f"q{level:g}"].to_numpy(float), level) for level in levels]
        return np.asarray(np.mean(quantiles, axis=0))
    if measure == MSE:
        return error**2
    if measure in OUTSIDE.values():
        size = next(SHARES_WITHIN[name] for name, outside in OUTSIDE.items() if outside == measure)
        return np.where(np.isnan(error), np.nan, 100.0 * ~metrics.is_within(actual, forecast, size / 100))
    if measure == RELATIVE["mape"]:
        return np.divide(100 * error, np.abs(actual), out=np.zeros_like(error), where=actual != 0)
    if measure == RELATIVE["smape"]:
        size = np.abs(actual) + np.abs(forecast)
        return np.divide(200 * error, size, out=np.where(np.isnan(size), np.nan, 0.0), where=size > 0)
    return 100 * error if measure == RELATIVE["wape"] else error
