"""Served forecasts against actual values: those of the champion, and of challengers on the same requests."""

from __future__ import annotations

import re

import pandas as pd

from gridcast.evaluation import artifact_files, forecast_table, significance
from gridcast.monitoring import prediction_log
from gridcast.monitoring.feature_drift import ExtendedPanel
from gridcast.runtime import time_axis
from gridcast.runtime.answer_columns import FORECAST, ROLLED_FORWARD
from gridcast.runtime.naive_scale import naive_scale
from gridcast.runtime.preprocessing import Preprocessing

POINT_KEYS = ["series", "time", "step"]
"""Columns that identify a forecast."""


def with_actuals(logged: pd.DataFrame, preprocessing: Preprocessing, data: ExtendedPanel) -> pd.DataFrame:
    """Return the logged forecasts that have an actual value, as a table of `evaluation.forecast_table`.

    Of several forecasts of a point the newest counts. Steps that were rolled forward are left out, as they are when a
    model is tested.
    """
    panel, ids = data.panel, preprocessing.series_column(logged)
    quantiles = [column for column in logged.columns if re.fullmatch(r"q0\.\d+", str(column))]
    table = logged[[FORECAST, ROLLED_FORWARD, *quantiles]].assign(
        series=ids,
        time=_axis_stamps(logged[preprocessing.time]),
        step=logged.groupby([logged[prediction_log.REQUEST], ids]).cumcount() + 1,
    )
    rows = pd.Index(panel.series).get_indexer(pd.Index(ids))
    steps = time_axis.axis_positions(panel.times.to_numpy(), table["time"].to_numpy(), preprocessing.steps)
    has_actual = (rows >= 0) & (steps >= data.begin) & ~table[ROLLED_FORWARD].to_numpy(bool)
    has_actual[has_actual] &= panel.observed[rows[has_actual], steps[has_actual]]
    rows, steps = rows[has_actual], steps[has_actual]
    scales = naive_scale(panel.training_target)
    table = table[has_actual].assign(actual=panel.target[rows, steps], scale=scales[rows])
    return table.drop(columns=ROLLED_FORWARD).drop_duplicates(POINT_KEYS, keep="last").reset_index(drop=True)


def _axis_stamps(times: pd.Series) -> pd.Series:
    """The stamps on the axis of the model, in UTC where its forecasts have a time zone."""
    stamps = pd.to_datetime(times)
    return stamps if stamps.dt.tz is None else stamps.dt.tz_convert("UTC").dt.tz_localize(None)


def losses_by_time(table: pd.DataFrame) -> pd.Series:
    """Return the mean absolute error by time, in units of MASE; a series whose scale is 0 does not count.

    NaN at times with a forecast that is no number.
    """
    scaled = table[table["scale"] > 0]
    errors = (scaled["forecast"] - scaled["actual"]).abs() / scaled["scale"]
    return errors.groupby(scaled["time"]).mean(skipna=False)


def compare_challengers(
    champion: pd.DataFrame,
    shadow: pd.DataFrame,
    *,
    preprocessing: Preprocessing,
    data: ExtendedPanel,
    overlap: int,
) -> pd.DataFrame:
    """Return a row for each challenger, over the points that both it and the champion forecast.

    Columns name, forecasts (how many), champion and mase (MASE of each), percent (its error relative to the
    champion's), p_value (of "no difference" of the same errors, Diebold and Mariano over times, corrected by Holm's
    method for all challengers). `champion` is the frame of
    `with_actuals`, `shadow` the logged forecasts; `overlap` forecasts share a time.
    """
    rows = []
    for (name, version), part in shadow.groupby([prediction_log.MODEL, prediction_log.VERSION]) if len(shadow) else ():
        forecasts = with_actuals(part, preprocessing, data)[[*POINT_KEYS, FORECAST]]
        pairs = champion.merge(forecasts, on=POINT_KEYS, suffixes=("", "_challenger"))
        if len(pairs):
            challenger = pairs.assign(forecast=pairs["forecast_challenger"])
            champion_mase, mase = (
                forecast_table.measure_forecasts(table)[f"{artifact_files.TEST_PREFIX}mase"]
                for table in (pairs, challenger)
            )
            losses, champion_losses = (losses_by_time(table).to_numpy() for table in (challenger, pairs))
            test = significance.diebold_mariano(losses, champion_losses, overlap)
            rows.append(
                {
                    "name": f"{name} version {version}",
                    "forecasts": len(pairs),
                    "champion": champion_mase,
                    "mase": mase,
                    "percent": 100 * (losses.mean() / champion_losses.mean() - 1),
                    "p_value": test.p_value,
                }
            )
    frame = pd.DataFrame(rows, columns=["name", "forecasts", "champion", "mase", "percent", "p_value"])
    return frame.assign(p_value=significance.holm(frame["p_value"].to_numpy(float)))
