"""Rows finer than the frequency become one per series and period, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from . import time_axis

USUAL_PAUSE_QUANTILE = 0.95
"""Of the time between stamps: a longer pause at either end means that a part of the period is missing."""


@dataclass(frozen=True)
class RowColumns:
    """Names of the columns that rows are grouped by, `series` and `time`, and of their `target`."""

    series: str
    time: str
    target: str


def complete_periods(times: pd.DatetimeIndex, frequency: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the starts of the first and the last period of `frequency` that the stamps `times` cover completely.

    Time missing at the very beginning or end counts only where it is more than a usual pause between stamps (the 95th
    percentile): a month may well begin on a Sunday. Stamps of which no two lie in one period are periods already.
    """
    stamps = times.unique().sort_values()
    starts = time_axis.period_start(stamps, frequency)
    if not starts.has_duplicates:
        return starts[0], starts[-1]
    periods = starts.unique()
    pauses = np.diff(stamps.to_numpy()).astype("timedelta64[ns]").astype(float)
    usual_pause = pd.Timedelta(np.quantile(pauses, USUAL_PAUSE_QUANTILE))
    starts_late = stamps[0] - periods[0] >= max(usual_pause, pd.Timedelta(1))
    ends_early = stamps[-1] + usual_pause < time_axis.period_end(periods[-1:], frequency)[0]
    return periods[min(int(starts_late), len(periods) - 1)], periods[-1 - int(ends_early and len(periods) > 1)]


def aggregate_rows(
    rows: pd.DataFrame, frequency: str, rule: str, columns: RowColumns, take_first: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per series and period, stamped with the start of the period, with the columns of `rows`.

    The target is combined by `rule` (sum, mean or last) over its observed values; the columns `take_first` are those of
    the earliest row, all others means.
    """
    ordered = rows.sort_values(columns.time, kind="stable")
    starts = time_axis.period_start(pd.DatetimeIndex(ordered[columns.time]), frequency)
    groups = ordered.assign(**{columns.time: starts}).groupby([columns.series, columns.time], observed=True)
    named = (columns.series, columns.time, columns.target, *take_first)
    others = [str(column) for column in rows if column not in named]
    target = groups[columns.target]
    parts: list[Any] = [target.sum(min_count=1) if rule == "sum" else target.agg(rule)]
    parts += [groups[others].mean()] if others else []
    parts += [groups[list(take_first)].first()] if take_first else []
    return pd.concat(parts, axis=1).reset_index()[list(rows.columns)]


def aggregate_history(rows: pd.DataFrame, frequency: str, rule: str, columns: RowColumns) -> pd.DataFrame:
    """Return the same for a table in use, whose rows without a target bring the covariates of future periods.

    A last period that is not over yet is forecast rather than read; a first one that lacks its beginning is left out.
    """
    has_target = rows[columns.target].notna()
    if not has_target.any():
        return aggregate_rows(rows, frequency, rule, columns)
    first, last = complete_periods(pd.DatetimeIndex(rows.loc[has_target, columns.time]), frequency)
    starts = time_axis.period_start(pd.DatetimeIndex(rows[columns.time]), frequency)
    is_ahead = starts > last
    history = rows.assign(**{columns.target: rows[columns.target].mask(is_ahead)})
    # As in training, a row without a target adds nothing to a period that has one.
    return aggregate_rows(history[(starts >= first) & (has_target | is_ahead)], frequency, rule, columns)
