"""What was served beside what came: the forecasts of the champion, and of challengers on the same requests."""

from __future__ import annotations

import functools
import re

import pandas as pd

from gridcast.data import series_statistics
from gridcast.evaluation import artifact_files, forecast_table, significance
from gridcast.monitoring import prediction_log
from gridcast.monitoring.feature_drift import ExtendedPanel
from gridcast.runtime.forecaster import FORECAST, ROLLED_FORWARD
from gridcast.runtime.preprocessing import Preprocessing

POINT_KEYS = ["series", "time", "step"]
"""Columns that tell forecasts apart."""


def series_ids(table: pd.DataFrame, own: Preprocessing) -> pd.Series:
    """The id of the series in each row of a table with the experiment's columns."""
    if not own.keys:
        return pd.Series(own.series[0], index=table.index)
    return functools.reduce(lambda name, key: name + "/" + key, (table[key].astype(str) for key in own.keys))


def with_actuals(told: pd.DataFrame, own: Preprocessing, data: ExtendedPanel) -> pd.DataFrame:
    """Kept forecasts, as `evaluation.table` has them, where an actual value came; of several of a point the newest.

    Steps that were rolled forward are left out, as they are when a model is tested.
    """
    panel, ids = data.panel, series_ids(told, own)
    quantiles = [column for column in told.columns if re.fullmatch(r"q0\.\d+", str(column))]
    table = told[[FORECAST, ROLLED_FORWARD, *quantiles]].assign(
        series=ids,
        time=pd.to_datetime(told[own.time]),
        step=told.groupby([told[prediction_log.REQUEST], ids]).cumcount() + 1,
    )
    where = pd.Index(panel.series).get_indexer(pd.Index(ids))
    when = panel.times.get_indexer(pd.DatetimeIndex(table["time"]))
    known = (where >= 0) & (when >= data.begin) & ~table[ROLLED_FORWARD].to_numpy(bool)
    known[known] &= panel.observed[where[known], when[known]]
    scales = series_statistics.naive_scale(panel.training_target)
    table = table[known].assign(actual=panel.target[where[known], when[known]], scale=scales[where[known]])
    return table.drop(columns=ROLLED_FORWARD).drop_duplicates(POINT_KEYS, keep="last").reset_index(drop=True)


def losses_by_time(table: pd.DataFrame) -> pd.Series:
    """Mean absolute error by time, in units of MASE; a series whose scale is 0 does not count."""
    known = table[table["scale"] > 0]
    return ((known["forecast"] - known["actual"]).abs() / known["scale"]).groupby(known["time"]).mean()


def compare_challengers(
    champion: pd.DataFrame, shadow: pd.DataFrame, own: Preprocessing, data: ExtendedPanel, overlap: int
) -> pd.DataFrame:
    """A row for each challenger on the points that it and the champion have forecast both.

    Columns name, forecasts (how many), champion and mase (MASE of each), percent (its error against the
    champion's), p_value (of "no difference", Diebold and Mariano over times). `champion` is as `met` gives it,
    `shadow` as it was kept; `overlap` forecasts share a time.
    """
    rows = []
    for (name, version), part in shadow.groupby([prediction_log.MODEL, prediction_log.VERSION]) if len(shadow) else ():
        theirs = with_actuals(part, own, data)[[*POINT_KEYS, FORECAST]]
        pairs = champion.merge(theirs, on=POINT_KEYS, suffixes=("", "_new"))
        if len(pairs):
            new = pairs.assign(forecast=pairs["forecast_new"])
            before, now = (
                forecast_table.measure_forecasts(table)[f"{artifact_files.TEST_PREFIX}mase"] for table in (pairs, new)
            )
            test = significance.diebold_mariano(
                losses_by_time(new).to_numpy(), losses_by_time(pairs).to_numpy(), overlap
            )
            figures = {"champion": before, "mase": now, "percent": 100 * (now / before - 1), "p_value": test.p_value}
            rows.append({"name": f"{name} version {version}", "forecasts": len(pairs), **figures})
    return pd.DataFrame(rows, columns=["name", "forecasts", "champion", "mase", "percent", "p_value"])
