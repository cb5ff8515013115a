"""Example inputs of a model, made from the end of the data: requests for the HTTP service, tables for MLflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel
from gridcast.evaluation.forecast_table import RECENT_STEPS
from gridcast.runtime.preprocessing import Preprocessing

MAX_EXAMPLES = 12
"""Most series of which an example is kept."""


def request_examples(
    panel: Panel, preprocessing: Preprocessing, lookback: int, *, series: str | None = None, limit: int = MAX_EXAMPLES
) -> list[dict[str, Any]]:
    """Return the last history of up to `limit` series in the form of a request, for models that read `lookback` steps.

    They are those without a gap there, or the one named by `series`. Where the future columns of later steps are not
    known, it ends a horizon before the data do.
    """
    steps_ahead = preprocessing.horizon if preprocessing.future_columns else 0
    furthest_lag, longest_run = max(preprocessing.lags, default=0), max(preprocessing.zero_run_limits, default=0)
    end = len(panel.times) - steps_ahead
    begin = max(0, end - max(RECENT_STEPS, lookback + furthest_lag + longest_run))
    stamps = preprocessing.with_zone(panel.times[begin:])
    times = [
        f"{time:%Y-%m-%d}" if time == time.normalize() and time.tz is None else time.isoformat() for time in stamps
    ]
    past = panel.past[..., : len(preprocessing.past)]
    column_names = (*preprocessing.past, *preprocessing.future_columns)
    complete = np.isfinite(panel.target[:, end - lookback :]).all(axis=1)
    examples = []
    if series is not None:
        complete &= np.array(panel.series) == series
    for row in np.flatnonzero(complete)[:limit]:
        target = panel.target[row]
        covariates = np.concatenate([past[row], panel.future[row]], axis=1)
        history = [
            {"time": times[step - begin], "value": target[step]}
            | dict(zip(column_names, map(float, covariates[step]), strict=True))
            for step in range(begin, end)
            if np.isfinite(target[step])
        ]
        future = [
            {"time": times[step - begin]}
            | dict(zip(preprocessing.future_columns, map(float, panel.future[row, step]), strict=True))
            for step in range(end, end + steps_ahead)
        ]
        examples.append({"id": panel.series[row], "history": history} | ({"future": future} if future else {}))
    return examples


def example_table(
    panel: Panel, preprocessing: Preprocessing, lookback: int, *, series: str | None = None
) -> pd.DataFrame:
    """Return a table that a forecaster answers: the last history of one series, see `request_examples`.

    It is empty where each series has a gap there.
    """
    examples = request_examples(panel, preprocessing, lookback, series=series, limit=1)
    if not examples:
        return pd.DataFrame()
    table = pd.DataFrame([*examples[0]["history"], *examples[0].get("future", ())])
    table = table.rename(columns={"time": preprocessing.time, "value": preprocessing.target})
    return table.assign(**preprocessing.key_values(examples[0]["id"]))


def example_readings(panel: Panel, preprocessing: Preprocessing, lookback: int) -> pd.DataFrame:
    """Return a table that a detector answers: its time column, and the last readings of each sensor."""
    steps = slice(-(lookback + RECENT_STEPS), None)
    readings = dict(zip(panel.series, panel.target[:, steps], strict=True))
    return pd.DataFrame({preprocessing.time: preprocessing.with_zone(panel.times[steps]).astype(str), **readings})
