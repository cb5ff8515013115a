"""Forecasts of a table in which something is wrong with some series: the others are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import input_table, step_rule
from .errors import DataError
from .input_table import ForecastInput
from .preprocessing import Preprocessing
from .series_problems import SeriesProblems

if TYPE_CHECKING:
    from .forecaster import Forecaster

FORECAST, ROLLED_FORWARD, PROBLEM = "forecast", "rolled_forward", "problem"
MAX_NAMED = 5
"""Series that a sentence names."""


def predict_each_series(
    forecaster: Forecaster, table: pd.DataFrame, params: Mapping[str, Any], *, ended: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the forecasts of `Forecaster.predict`, and what is wrong with single series, by their ids.

    A series with a fault has a row for each step after the newest history of the table, without a forecast; the reason
    is in a column `problem`, which only such answers have. A series whose last value lies further back than the model
    reads has ended: that is a fault too, unless `ended` forecasts are asked for, which start at its own end.

    Raises DataError for what is wrong with the whole table, and where no series can be forecast.
    """
    horizon, levels, seed = forecaster.parse_params(params)
    preprocessing, problems = forecaster.preprocessing, SeriesProblems()
    rows, ids, keys = input_table.checked_rows(table, preprocessing, problems)
    sound = [name for name in ids if name not in problems]
    if not sound:
        raise DataError(next(iter(problems.values())))
    laid_out = forecaster.input_from_rows(
        input_table.input_rows(rows, sound, preprocessing), horizon, problems=problems, ended=ended
    )
    forecasts = forecaster.forecast_all([laid_out], horizon, levels, seed)[0]
    for row in np.flatnonzero(~np.isfinite(forecasts).all(axis=(1, 2))):
        problems.add(laid_out.ids[row], forecaster.not_finite_sentence(laid_out, int(row)))
    kept = np.flatnonzero([name not in problems for name in laid_out.ids])
    if not len(kept):
        raise DataError(next(iter(problems.values())))
    answered = forecaster.tabulate(with_keys(laid_out.take(kept), ids, keys), forecasts[kept], levels)
    if not problems:
        return answered, {}
    empty = pd.DataFrame({name: [values[ids.index(bad)] for bad in problems] for name, values in keys.items()})
    newest = pd.Timestamp(rows.loc[rows[preprocessing.target].notna(), input_table.TIME_COLUMN].max())
    stamps = preprocessing.with_zone(pd.DatetimeIndex(step_rule.steps_after(newest, horizon, preprocessing.steps)))
    empty = empty.assign(**{PROBLEM: list(problems.values())}) if len(empty) else empty
    empty = empty.loc[empty.index.repeat(horizon)].reset_index(drop=True)
    empty[preprocessing.time] = np.tile(np.asarray(stamps), len(problems)) if stamps.tz is None else None
    if stamps.tz is not None:
        empty[preprocessing.time] = stamps.append([stamps] * (len(problems) - 1))
    empty[ROLLED_FORWARD] = np.tile(np.arange(horizon) >= preprocessing.horizon, len(problems))
    together = pd.concat([answered, empty], ignore_index=True)
    order = [ids.index(name) for name in (*(laid_out.ids[row] for row in kept), *problems) for _ in range(horizon)]
    together = together.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
    return together[[*answered.columns, PROBLEM]], dict(problems)


def with_keys(laid_out: ForecastInput, ids: list[str], keys: Mapping[str, list[str]]) -> ForecastInput:
    """Return the input with the key columns of its own series; `ids` are those of `keys`."""
    from dataclasses import replace

    rows = [ids.index(name) for name in laid_out.ids]
    return replace(laid_out, keys={column: [values[row] for row in rows] for column, values in keys.items()})


def refuse_ended(
    laid_out: ForecastInput, preprocessing: Preprocessing, lookbacks: np.ndarray, problems: SeriesProblems
) -> None:
    """Refuse each series that has ended; `lookbacks` (series of the model,) are the steps that are read of each."""
    newest = int(laid_out.origin.max())
    for row in ended_rows(laid_out, preprocessing, lookbacks):
        last, end = (pd.Timestamp(laid_out.times[step - 1]) for step in (int(laid_out.origin[row]), newest))
        problems.add(
            laid_out.ids[row],
            f"series '{laid_out.ids[row]}': has ended at {last}, {newest - int(laid_out.origin[row])} steps before the "
            f"newest of the table ({end}); give its newer rows, or ask for forecasts from its own end (--ended)",
        )


def ended_rows(laid_out: ForecastInput, preprocessing: Preprocessing, lookbacks: np.ndarray) -> np.ndarray:
    """Return the rows (n,) of the series without a value among the last steps that the model reads or forecasts."""
    behind = laid_out.origin.max() - laid_out.origin
    return np.flatnonzero(behind >= np.maximum(lookbacks[laid_out.codes], preprocessing.horizon))
