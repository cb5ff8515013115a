"""Rows finer than the frequency become one per series and period, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import time_axis


def complete_periods(times: pd.DatetimeIndex, frequency: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The first and the last period of `frequency` that the stamps `times` cover from beginning to end, by its start.

    What is missing at the very beginning or end counts only where it is more than a pause as usual
    between stamps (19 of 20 are no longer): a month may well begin on a Sunday. Stamps of which no
    two lie in one period are periods already.
    """
    stamps = times.unique().sort_values()
    begins = time_axis.period_start(stamps, frequency)
    if not begins.has_duplicates:
        return begins[0], begins[-1]
    every = begins.unique()
    pause = pd.Timedelta(np.quantile(np.diff(stamps.to_numpy()).astype("timedelta64[ns]").astype(float), 0.95))
    late = stamps[0] - every[0] >= max(pause, pd.Timedelta(1))
    early = stamps[-1] + pause < time_axis.period_end(every[-1:], frequency)[0]
    return every[min(int(late), len(every) - 1)], every[-1 - int(early and len(every) > 1)]


def aggregate_rows(
    rows: pd.DataFrame, frequency: str, rule: str, series: str, time: str, target: str, firsts: Sequence[str] = ()
) -> pd.DataFrame:
    """One row per series and period, stamped with the start of the period; the columns of `rows` in their order.

    `target` by `rule` (sum, mean or last) over the values that there are, the columns `firsts` as
    the earliest row has them, all others by their mean.
    """
    ordered = rows.sort_values(time, kind="stable")
    begins = time_axis.period_start(pd.DatetimeIndex(ordered[time]), frequency)
    groups = ordered.assign(**{time: begins}).groupby([series, time], observed=True)
    others = [str(column) for column in rows if column not in (series, time, target, *firsts)]
    parts: list[Any] = [groups[target].sum(min_count=1) if rule == "sum" else groups[target].agg(rule)]
    parts += [groups[others].mean()] if others else []
    parts += [groups[list(firsts)].first()] if firsts else []
    return pd.concat(parts, axis=1).reset_index()[list(rows.columns)]


def aggregate_history(
    rows: pd.DataFrame, frequency: str, rule: str, series: str, time: str, target: str
) -> pd.DataFrame:
    """The same for a table in use: rows without a target bring the covariates of periods that are still to come.

    A last period that is not over yet is no history: it is forecast. A first one that lacks its
    beginning is left out.
    """
    given = rows[target].notna()
    if not given.any():
        return aggregate_rows(rows, frequency, rule, series, time, target)
    first, last = complete_periods(pd.DatetimeIndex(rows.loc[given, time]), frequency)
    begins = time_axis.period_start(pd.DatetimeIndex(rows[time]), frequency)
    ahead = begins > last
    kept = rows.assign(**{target: rows[target].mask(ahead)})
    # As in training, a row without a target brings nothing to a period that has one.
    return aggregate_rows(kept[(begins >= first) & (given | ahead)], frequency, rule, series, time, target)
