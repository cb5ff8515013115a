"""The table that a forecast is asked from: checked, and laid on an axis that goes on beyond it.

It travels inside every logged model, see forecaster.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from . import gaps, resampling, time_axis, zero_runs
from .errors import DataError, suggest
from .preprocessing import Preprocessing

SERIES_COLUMN, TIME_COLUMN = "__series__", "__time__"
"""Marked, since a covariate may well be called `time`."""
LOG = logging.getLogger("gridcast")
"""By its name, as this module has another one inside a model."""


@dataclass(frozen=True)
class ForecastInput:
    """A table on an axis: `target` (series, steps), its gaps filled, and `columns` (series, steps, columns), no NaN.

    `ids` and `codes` (series,) are those of its series, `keys` what its key columns said of each, `times` (steps,)
    the stamps (datetime64[us]), and `origin` (series,) the first step to forecast of each: beyond it the target is NaN.
    """

    ids: tuple[str, ...]
    codes: np.ndarray
    keys: Mapping[str, list[str]]
    times: np.ndarray
    target: np.ndarray
    columns: np.ndarray
    origin: np.ndarray

    def since(self, first: int) -> ForecastInput:
        """The same without the steps before `first`."""
        if not first:
            return self
        return replace(
            self,
            times=self.times[first:],
            target=self.target[:, first:],
            columns=self.columns[:, first:],
            origin=self.origin - first,
        )


def read_table(table: pd.DataFrame, own: Preprocessing, lookbacks: np.ndarray, horizon: int) -> ForecastInput:
    """`table` on an axis that goes on `horizon` steps; `lookbacks` tell how much is read of each known series.

    Raises DataError.
    """
    rows, ids, keys = checked_rows(table, own)
    where = pd.Index(ids).get_indexer(pd.Index(rows[SERIES_COLUMN]))
    values = rows[[own.target, *own.past, *own.future_columns]].to_numpy(float).T
    return replace(
        from_checked_rows(ids, where, rows[TIME_COLUMN].to_numpy(), values, own, lookbacks, horizon), keys=keys
    )


def from_checked_rows(
    ids: Sequence[str],
    where: np.ndarray,
    stamps: np.ndarray,
    values: np.ndarray,
    own: Preprocessing,
    lookbacks: np.ndarray,
    horizon: int,
) -> ForecastInput:
    """The same of rows that are checked already: row i belongs to the series `ids[where[i]]`, at `stamps[i]`.

    `values` (columns, rows) are the target, past and future columns, NaN where there is none. No series
    has a stamp twice. Raises DataError.
    """
    codes = np.array([own.codes[name] for name in ids])
    found = _on_axis(tuple(ids), codes, where, stamps, values, own, horizon)
    _long_enough(found, own, lookbacks[codes])
    _exhibition_told(found, own)
    _complete(found, own, horizon)
    return found


def checked_rows(table: pd.DataFrame, own: Preprocessing) -> tuple[pd.DataFrame, list[str], dict[str, list[str]]]:
    """Rows with the columns SERIES, TIME, target and covariates; the ids found; and their key columns."""
    wanted = [*own.keys, own.time, own.target, *own.past, *own.future_columns]
    for column in wanted:
        if column not in table.columns:
            near = suggest(column, map(str, table.columns))
            raise DataError(f"no column '{column}'{near} (needed: {', '.join(wanted)})")
    table = table.reset_index(drop=True)
    keys = [table[column].astype(str) for column in own.keys]
    name = keys[0] if keys else pd.Series(own.series[0], index=table.index)
    for key in keys[1:]:
        name = name + "/" + key
    rows = pd.DataFrame({SERIES_COLUMN: name, TIME_COLUMN: parse_stamps(table[own.time], own.time)})
    for column in (own.target, *own.past, *own.future_columns):
        try:
            rows[column] = pd.to_numeric(table[column]).astype(float)
        except (ValueError, TypeError) as error:
            raise DataError(f"column '{column}': {error}") from None
        if np.isinf(rows[column]).any():
            raise DataError(f"column '{column}', row {int(np.flatnonzero(np.isinf(rows[column]))[0])}: infinite value")
    if not len(rows):
        raise DataError("the table has no rows")
    firsts = rows.drop_duplicates(SERIES_COLUMN).index
    ids = [str(found) for found in rows[SERIES_COLUMN][firsts]]
    for found in ids:
        if found not in own.codes:
            raise DataError(f"series '{found}' was not in the training data{suggest(found, own.series)}")
    _warn_of_categories(table, rows[SERIES_COLUMN], own)
    if own.aggregate != "none":
        rows = resampling.aggregate_history(rows, own.frequency, own.aggregate, SERIES_COLUMN, TIME_COLUMN, own.target)
    again = rows.duplicated([SERIES_COLUMN, TIME_COLUMN]).to_numpy()
    if again.any():
        row = int(np.flatnonzero(again)[0])
        raise DataError(
            f"row {row}: series '{rows[SERIES_COLUMN].iloc[row]}' at {rows[TIME_COLUMN].iloc[row]} stands twice"
        )
    return rows, ids, {column: key[firsts].tolist() for column, key in zip(own.keys, keys, strict=True)}


def _warn_of_categories(table: pd.DataFrame, names: pd.Series, own: Preprocessing) -> None:
    """Log what the table says of a series otherwise than its training did."""
    for k, (column, words) in enumerate(own.categories):
        if column not in table.columns or column in own.keys:
            continue
        trained = {name: words[codes[k] - 1] for name, codes in zip(own.series, own.static, strict=True)}
        # A column of whole numbers with empty fields comes as 1.0, 2.0.
        given, own_words = (t.astype(str).str.removesuffix(".0") for t in (table[column], names.map(trained)))
        other = np.flatnonzero((given != own_words) & table[column].notna())
        if len(other):
            word, name = given.iloc[other[0]], names.iloc[other[0]]
            unseen = "" if word in words else ", unseen in training"
            LOG.warning(
                f"column '{column}': series '{name}' is '{word}'{unseen}, and was trained as '{trained[name]}', which "
                f"is used ({names.iloc[other].nunique()} such series); train again to learn of the change"
            )


def parse_stamps(given: pd.Series, column: str) -> pd.Series:
    """Time stamps without a time zone, in UTC where they came with one, as in training."""
    kind = None if given.dtype.kind in "Mm" else "ISO8601"
    times = pd.to_datetime(given, format=kind, utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise DataError(f"column '{column}', row {row}: '{given.iloc[row]}' is no date such as 2011-12-31")
    return times.dt.tz_localize(None)


def _on_axis(
    ids: tuple[str, ...],
    codes: np.ndarray,
    where: np.ndarray,
    stamps: np.ndarray,
    values: np.ndarray,
    own: Preprocessing,
    horizon: int,
) -> ForecastInput:
    """Rows on an axis that goes on `horizon` steps beyond the last history; NaN where columns have no value."""
    given = ~np.isnan(values[0])
    if not given.any():
        raise DataError(f"column '{own.target}': no value; history needs {own.lookback} steps per series")
    stamps = stamps.astype("datetime64[us]")
    seen = stamps[given]
    if not (seen[1:] > seen[:-1]).all():
        seen = np.unique(seen)
    times, end = time_axis.build_axis(seen, horizon, own.frequency, own.calendar, own.weekdays, own.closed)
    at = np.minimum(times.searchsorted(stamps), len(times) - 1)
    known = times[at] == stamps
    # Rows on stamps that are no steps of the axis would vanish in silence.
    off = ~known & (stamps <= times[-1])
    if off.any() and own.calendar == "regular":
        raise DataError(f"time {pd.Timestamp(stamps[off][0])} is off the axis of frequency {own.frequency}")
    matrix = np.full((len(values), len(ids), len(times)), np.nan)
    matrix[:, where[known], at[known]] = values[:, known]
    target = matrix[0]
    missing = np.isnan(target)
    target[:, :end] = gaps.fill(target[:, :end], own.gaps)
    origin = end - np.argmax(np.isfinite(target[:, :end])[:, ::-1], axis=1)
    # As in training, a row without a target brings nothing but the future of its future columns.
    matrix[1 : 1 + len(own.past), missing] = np.nan
    matrix[1:, missing & (np.arange(len(times)) < origin[:, None])] = np.nan
    columns = matrix[1:].transpose(1, 2, 0)
    if own.usual:
        flags = zero_runs.detected_so_far(target, np.array(own.usual)[codes]).astype(float)
        flags[np.arange(len(times)) >= origin[:, None]] = np.nan
        columns = np.insert(columns, len(own.past), flags, axis=2)
    return ForecastInput(ids, codes, {}, times, target, columns, origin)


def _long_enough(request: ForecastInput, own: Preprocessing, lookbacks: np.ndarray) -> None:
    for row, (name, code, lookback) in enumerate(zip(request.ids, request.codes, lookbacks, strict=True)):
        origin, reads = int(request.origin[row]), int(lookback)
        if own.lags:
            reads += own.lags[-1]
            begin = np.datetime64(own.begins[code])
            if request.times[0] <= begin:  # the whole of it: lags before its first step are 0, as in training
                reads = min(reads, max(own.lookback, int((request.times[:origin] >= begin).sum())))
        recent = request.target[row, max(0, origin - reads) : origin]
        if len(recent) < reads or np.isnan(recent).any():
            named = f"series '{name}'" if own.keys else "the series"
            raise DataError(
                f"{named}: {int(np.isfinite(recent).sum())} of the last {reads} steps of history have a value; "
                f"the model reads {reads}"
            )


def _exhibition_told(request: ForecastInput, own: Preprocessing) -> None:
    """Refuse a history that begins among zeros, of which nobody can tell whether they go on from before."""
    target = request.target
    for row, name in enumerate(request.ids if own.usual else ()):
        first, usual = request.origin[row] - own.lookback, own.usual[request.codes[row]]
        begun = int(np.argmax(np.isfinite(target[row])))
        if first - begun < usual and not target[row, begun : first + 1].any():
            raise DataError(
                f"series '{name}': its history begins with zeros, too few to tell a stretch without exhibition from "
                f"a habit of up to {usual}; give at least {own.lookback + usual} steps of history"
            )


def _complete(request: ForecastInput, own: Preprocessing, horizon: int) -> None:
    """Leave no NaN in the covariate columns: history carried forward, the future as given."""
    columns, ids = request.columns, request.ids
    fallback = np.array(own.fallback)[request.codes] if own.fallback else np.zeros((len(ids), 0))
    for k, name in enumerate(own.columns):
        if k >= len(own.columns) - len(own.future_columns):
            for row, start in enumerate(request.origin):
                gap = np.isnan(columns[row, start : start + horizon, k])
                if gap.any():
                    stamp = pd.Timestamp(request.times[start + int(np.argmax(gap))])
                    raise DataError(
                        f"column '{name}': series '{ids[row]}' has no value at {stamp}; a future column must be "
                        f"known for each of the {horizon} steps ahead: add rows with it and an empty '{own.target}'"
                    )
        values = gaps.forward_fill(columns[:, :, k])
        columns[:, :, k] = np.where(np.isnan(values), fallback[:, k, None], values)
