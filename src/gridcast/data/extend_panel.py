"""A panel that goes on with rows that came later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from gridcast.data.panel import Panel
from gridcast.runtime import gaps, time_axis, zero_runs
from gridcast.runtime.errors import DataError
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.series_ids import find_id


def extend_panel(
    panel: Panel, rows: pd.DataFrame, own: Preprocessing, after: pd.Timestamp, series: str, time: str
) -> tuple[Panel, int]:
    """`panel` up to the first of `rows` after the stamp `after`, then these; and the first step that they tell of.

    `rows` has the columns `series` and `time`, the target and the covariates that `own` names, in data
    units; only those with a target count. Where the panel knows a stamp too, the rows win. What lies between the
    panel and the rows, and a series without a row, is not observed; gaps among the rows are filled as in
    training. The panel's spans are as they were.

    Raises DataError when no row is later than `after`, off the axis, or of a series that the panel has not.
    """
    given = rows[rows[own.target].notna()]
    new = given[given[time] > after]
    if not len(new):
        last = f"the last is of {_day(given[time].max())}" if len(given) else "there is none"
        raise DataError(
            f"no row with a '{own.target}' after {_day(after)}, up to when the model knows the data ({last})"
        )
    names = [find_id(name, own.codes, len(own.keys)) or name for name in panel.series]
    where = pd.Index(names).get_indexer(pd.Index(new[series]))
    if (where < 0).any():
        name = new[series].iloc[int(np.argmax(where < 0))]
        raise DataError(f"series '{name}' is no longer in the data of the model's experiment; give them with --data")
    stamps = pd.DatetimeIndex(np.unique(new[time].to_numpy()))
    kept = int((panel.times < stamps[0]).sum())
    times = _axis(panel.times[:kept], stamps, own, everything=len(np.unique(where)) == len(panel.series))
    step = times.get_indexer(pd.DatetimeIndex(new[time]))
    if (step < 0).any():
        raise DataError(f"time {new[time].iloc[int(np.argmax(step < 0))]} is off the axis of frequency {own.frequency}")
    begin = int(step.min())
    target = np.full((len(panel.series), len(times)), np.nan)
    target[:, :kept], target[where, step] = panel.target[:, :kept], new[own.target]
    present, observed = np.unique(where), np.zeros(target.shape, bool)
    observed[:, :kept] = panel.observed[:, :kept]
    observed[present, begin:] = gaps.is_observed(target[present, begin:], own.gaps)
    target[present, begin:] = gaps.fill(target[present, begin:], own.gaps)

    def cube(known: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        values = np.full((len(names), *target.shape), np.nan)
        for k, name in enumerate(names):
            values[k, :, :kept], values[k, where, step] = known[:, :kept, k], new[name]
        return np.moveaxis(gaps.forward_fill(values), 0, 2)

    past, future = cube(panel.past, own.past), cube(panel.future, own.future_columns)
    if own.zero_run_limits:
        usual = np.array(own.zero_run_limits)[[own.code_of(name) for name in panel.series]]
        past = np.concatenate([past, zero_runs.detected_so_far(target, usual)[:, :, None]], axis=2)
    return replace(panel, times=times, target=target, observed=observed, past=past, future=future), begin


def _day(stamp: pd.Timestamp) -> str:
    return f"{stamp:%Y-%m-%d %H:%M}".removesuffix(" 00:00")


def _axis(
    before: pd.DatetimeIndex, stamps: pd.DatetimeIndex, own: Preprocessing, *, everything: bool
) -> pd.DatetimeIndex:
    """The steps `before`, then those that the `stamps` tell of; a table of some series may lack days of the others."""
    if own.calendar == "regular":
        return time_axis.regular_steps(pd.DatetimeIndex(before.append(stamps)), own.frequency)
    if own.closed_dates is not None and not everything:
        stamps = time_axis.with_open_dates(stamps, own.weekdays, own.closed_dates)
    return pd.DatetimeIndex(before.append(stamps))
