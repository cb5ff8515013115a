"""The losses of a forecaster by origin, whose mean is exactly a measure of the test span: pure functions on frames.

A table of the test span has one row per window and step: series, time, step (1 = next), actual, forecast, scale (of
MASE), and a column such as `q0.1` for each quantile level. Percent and p value of a comparison come from the same
numbers, so that they are about the same error.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.evaluation import metrics

POINT_KEYS = ["series", "time", "step"]
"""Columns that identify a forecast."""


@dataclass(frozen=True)
class Measure:
    """A measure of forecasts: its `name` in tables and records, and its `title` in sentences."""

    name: str
    title: str


MASE = Measure("mase", "MASE")
MSSE = Measure("msse", "squared scaled error")
MAE = Measure("mae", "MAE")
WQL = Measure("wql", "quantile loss (WQL)")
PER_SERIES = (MASE.name, MSSE.name)
"""Measures that are means over series, each in its own unit; the others are sums over all points."""


def measure_of(selection_metric: str, losses: Collection[str], levels: Sequence[float]) -> Measure:
    """Return the measure of the test span that corresponds to the metric by which an experiment selects.

    `best_val_mae` is the MAE in data units and `best_val_wql` the weighted quantile loss. `best_val_loss` is the loss
    in units of each series: of forecasts with quantile `levels` the weighted quantile loss, of networks trained on
    `losses` of squared errors alone the squared error in units of MASE's scale, else MASE itself.
    """
    if selection_metric == "best_val_mae":
        return MAE
    if len(levels):
        return WQL
    return MSSE if set(losses) == {"mse"} else MASE


def origin_losses(table: pd.DataFrame, measure: Measure, levels: Sequence[float] = ()) -> pd.Series:
    """Return the loss of each origin, over series and steps, in time order; their mean is the measure of `table`.

    The index is the time of the origin's first step. Of the weighted quantile loss at `levels` the mean is half its
    numerator, in data units: all forecasters of the same points have the same denominator. Series whose scale is 0 are
    left out of measures in units of that scale, as they are of MASE. Infinite where a forecast is not a number.
    """
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
    return _summed(_weighted_losses(table, measure, levels), table["series"].to_numpy()).rename_axis("series")


def _summed(losses: pd.Series, groups: np.ndarray) -> pd.Series:
    """Return the sum of each group times the number of groups, so that their mean is the sum of all."""
    sums = losses.groupby(groups).sum(min_count=1).dropna()
    return (sums * len(sums)).rename("loss")


def _weighted_losses(table: pd.DataFrame, measure: Measure, levels: Sequence[float]) -> pd.Series:
    """Return the part of each row of the measure: they add up to it. NaN in rows that it leaves out."""
    actual, forecast = table["actual"].to_numpy(float), table["forecast"].to_numpy(float)
    if measure == WQL:
        quantiles = [metrics.pinball(actual, table[f"q{level:g}"].to_numpy(float), level) for level in levels]
        losses = pd.Series(np.mean(quantiles, axis=0), index=table.index)
    else:
        losses = pd.Series(np.abs(actual - forecast), index=table.index)
    losses = losses.fillna(np.inf)
    if measure.name not in PER_SERIES:
        return losses / len(losses)
    scale = table["scale"].where(table["scale"] > 0).to_numpy(float)
    scaled = pd.Series((losses.to_numpy() / scale) ** (2 if measure == MSSE else 1), index=table.index)
    counts = scaled.groupby(table["series"].to_numpy()).transform("count").to_numpy(float)
    return scaled / (counts * table.loc[~np.isnan(scale), "series"].nunique())
