"""Continue a panel with rows that came later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel
from gridcast.runtime import gaps, time_axis, zero_runs
from gridcast.runtime.errors import DataError
from gridcast.runtime.input_rows import SERIES_COLUMN, TIME_COLUMN
from gridcast.runtime.input_table import off_axis_text
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.series_ids import find_id


def extend_panel(
    panel: Panel, rows: pd.DataFrame, preprocessing: Preprocessing, *, after: pd.Timestamp
) -> tuple[Panel, int]:
    """Return `panel` up to the first of `rows` after the stamp `after`, followed by these, and their first step.

    `rows` has SERIES_COLUMN, TIME_COLUMN, the target and the covariates that `preprocessing` names, in data units; only
    rows with a target count. Where the panel has the same stamp, the rows win. Steps between the panel and the rows,
    and those of a series without a row, are not observed; gaps among the rows are filled as in training. The panel's
    spans stay as they are.

    Raises DataError where no row is later than `after`, and for a row off the axis or of a series that the panel lacks.
    """
    new = _later_rows(rows, preprocessing.target, after)
    series = _series_positions(panel, new, preprocessing)
    stamps = pd.DatetimeIndex(np.unique(new[TIME_COLUMN].to_numpy()))
    kept = int((panel.times < stamps[0]).sum())
    covers_all_series = len(np.unique(series)) == len(panel.series)
    times = _axis(panel.times[:kept], stamps, preprocessing, covers_all_series=covers_all_series)
    step = time_axis.axis_positions(times.to_numpy(), new[TIME_COLUMN].to_numpy(), preprocessing.steps)
    if (step < 0).any():
        stamp = new[TIME_COLUMN].iloc[int(np.argmax(step < 0))]
        raise DataError(off_axis_text(stamp, preprocessing))
    begin = int(step.min())
    target = np.full((len(panel.series), len(times)), np.nan)
    target[:, :kept], target[series, step] = panel.target[:, :kept], new[preprocessing.target]
    present, observed = np.unique(series), np.zeros(target.shape, bool)
    observed[:, :kept] = panel.observed[:, :kept]
    observed[present, begin:] = gaps.is_observed(target[present, begin:], preprocessing.gaps)
    target[present, begin:] = gaps.fill(target[present, begin:], preprocessing.gaps)

    def extended(columns: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        values = np.full((len(names), *target.shape), np.nan)
        for k, name in enumerate(names):
            values[k, :, :kept], values[k, series, step] = columns[:, :kept, k], new[name]
        return np.moveaxis(gaps.forward_fill(values), 0, 2)

    past = extended(panel.past, preprocessing.past)
    future = extended(panel.future, preprocessing.future_columns)
    if preprocessing.zero_run_limits:
        limits = np.array(preprocessing.zero_run_limits)[[preprocessing.code_of(name) for name in panel.series]]
        past = np.concatenate([past, zero_runs.detected_so_far(target, limits)[:, :, None]], axis=2)
    return replace(panel, times=times, target=target, observed=observed, past=past, future=future), begin


def _later_rows(rows: pd.DataFrame, target: str, after: pd.Timestamp) -> pd.DataFrame:
    with_target = rows[rows[target].notna()]
    later = with_target[with_target[TIME_COLUMN] > after]
    if not len(later):
        last = f"the last is of {_date_text(with_target[TIME_COLUMN].max())}" if len(with_target) else "there is none"
        raise DataError(
            f"no row with a '{target}' after {_date_text(after)}, up to when the model knows the data ({last})"
        )
    return later


def _series_positions(panel: Panel, rows: pd.DataFrame, preprocessing: Preprocessing) -> np.ndarray:
    """Position (rows,) in the panel of the series of each row."""
    names = [find_id(name, preprocessing.codes, len(preprocessing.keys)) or name for name in panel.series]
    positions = pd.Index(names).get_indexer(pd.Index(rows[SERIES_COLUMN]))
    if (positions < 0).any():
        name = rows[SERIES_COLUMN].iloc[int(np.argmax(positions < 0))]
        raise DataError(f"series '{name}' is no longer in the data of the model's experiment; give them with --data")
    return positions


def _axis(
    before: pd.DatetimeIndex, stamps: pd.DatetimeIndex, preprocessing: Preprocessing, *, covers_all_series: bool
) -> pd.DatetimeIndex:
    """The steps `before`, then those of the `stamps`; a table of only some series may lack days of the others."""
    rule = preprocessing.steps
    if rule.calendar == "regular":
        return time_axis.regular_steps(pd.DatetimeIndex(before.append(stamps)), rule)
    stamps = time_axis.history_steps(stamps, replace(rule, closed_dates=None) if covers_all_series else rule)
    return pd.DatetimeIndex(before.append(stamps))


def _date_text(stamp: pd.Timestamp) -> str:
    return f"{stamp:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
