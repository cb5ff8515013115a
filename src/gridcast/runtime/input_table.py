"""The table that a forecast starts from: checked, and laid out on a time axis that extends beyond its history."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from . import gaps, resampling, table_columns, time_axis, zero_runs
from .errors import DataError, suggest
from .preprocessing import Preprocessing

SERIES_COLUMN, TIME_COLUMN = "__series__", "__time__"
"""Columns of checked rows; the underscores keep them apart from a covariate called `time`."""
LOG = logging.getLogger("gridcast")
"""Named explicitly: inside a logged model, __name__ is that of the package that carries this file."""


@dataclass(frozen=True)
class InputRows:
    """Checked rows: row i belongs to the series `ids[series[i]]` and the stamp `stamps[i]`, no pair occurs twice.

    `values` (columns, rows) are the target, the past and the future columns, NaN where there is none.
    """

    ids: Sequence[str]
    series: np.ndarray
    stamps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class ForecastInput:
    """A table on a time axis: what a forecaster reads, and where it begins to forecast.

    `ids` (series,), and the `codes` (series,) that they have in the model; `keys` holds each key column (series,).
    `times` (steps,) are datetime64[us]. `target` (series, steps) has its gaps filled, and is NaN from `origin`
    (series,) on, the first step to forecast. `columns` (series, steps, columns) has no NaN.
    """

    ids: tuple[str, ...]
    codes: np.ndarray
    keys: Mapping[str, list[str]]
    times: np.ndarray
    target: np.ndarray
    columns: np.ndarray
    origin: np.ndarray

    def starting_at(self, first: int) -> ForecastInput:
        """Return the input without the steps before `first`."""
        if not first:
            return self
        return replace(
            self,
            times=self.times[first:],
            target=self.target[:, first:],
            columns=self.columns[:, first:],
            origin=self.origin - first,
        )


def read_table(
    table: pd.DataFrame, preprocessing: Preprocessing, *, lookbacks: np.ndarray, horizon: int
) -> ForecastInput:
    """Return `table`, with the experiment's column names, on an axis that extends `horizon` steps beyond its history.

    `lookbacks` (series of the model,) are the steps that are read of each. Raises DataError.
    """
    rows, ids, keys = checked_rows(table, preprocessing)
    columns = [preprocessing.target, *preprocessing.past, *preprocessing.future_columns]
    series = pd.Index(ids).get_indexer(pd.Index(rows[SERIES_COLUMN]))
    arrays = InputRows(ids, series, rows[TIME_COLUMN].to_numpy(), rows[columns].to_numpy(float).T)
    return replace(from_checked_rows(arrays, preprocessing, lookbacks=lookbacks, horizon=horizon), keys=keys)


def from_checked_rows(
    rows: InputRows, preprocessing: Preprocessing, *, lookbacks: np.ndarray, horizon: int
) -> ForecastInput:
    """Return rows that are checked already as `read_table` does, without key columns. Raises DataError."""
    rows = replace(rows, values=table_columns.without_missing(rows.values, preprocessing.dialect))
    laid_out = _on_axis(rows, preprocessing, horizon)
    _check_history(laid_out, preprocessing, lookbacks[laid_out.codes])
    _check_zero_runs(laid_out, preprocessing)
    _fill_columns(laid_out, preprocessing, horizon)
    return laid_out


def checked_rows(
    table: pd.DataFrame, preprocessing: Preprocessing
) -> tuple[pd.DataFrame, list[str], dict[str, list[str]]]:
    """Return the rows of `table`, the ids of their series, and the key columns (series,) by name.

    The rows have the columns SERIES_COLUMN, TIME_COLUMN, target and covariates. Raises DataError for a missing column,
    a value that is not a number or a date, a series that the model does not know, or a (series, time) that occurs
    twice.
    """
    numbers = (preprocessing.target, *preprocessing.past, *preprocessing.future_columns)
    needed = [*preprocessing.keys, preprocessing.time, *numbers]
    for column in needed:
        if column not in table.columns:
            near = suggest(column, map(str, table.columns))
            raise DataError(f"no column '{column}'{near} (needed: {', '.join(needed)})")
    names = preprocessing.series_column(table)
    table, names = _without_left_out(table, names, preprocessing)
    times = table_columns.parse_stamps(table, preprocessing)
    values = table_columns.parse_numbers(table, numbers, preprocessing.dialect)
    rows = pd.DataFrame({SERIES_COLUMN: names, TIME_COLUMN: times} | dict(values.items()))
    for column in numbers:
        if np.isinf(rows[column]).any():
            raise DataError(f"column '{column}', row {int(np.flatnonzero(np.isinf(rows[column]))[0])}: infinite value")
    if not len(rows):
        raise DataError("the table has no rows")
    table_columns.fill_blanks(
        rows,
        target=preprocessing.target,
        past=preprocessing.past,
        future=preprocessing.future_columns,
        blanks=preprocessing.dialect.blanks,
    )
    if preprocessing.repeated != "error":
        keep: Literal["first", "last"] = "last" if preprocessing.repeated == "last" else "first"
        rows = rows.drop_duplicates([SERIES_COLUMN, TIME_COLUMN], keep=keep)
        table, rows = table.loc[rows.index].reset_index(drop=True), rows.reset_index(drop=True)
    first_rows = rows.drop_duplicates(SERIES_COLUMN).index
    ids = [str(name) for name in rows[SERIES_COLUMN][first_rows]]
    for name in ids:
        if name not in preprocessing.codes:
            raise DataError(f"series '{name}' was not in the training data{_similar_series(name, preprocessing)}")
    _warn_of_categories(table, rows[SERIES_COLUMN], preprocessing)
    keys = {column: table[column].astype(str)[first_rows].tolist() for column in preprocessing.keys}
    if preprocessing.aggregate != "none":
        columns = resampling.RowColumns(SERIES_COLUMN, TIME_COLUMN, preprocessing.target)
        rows = resampling.aggregate_history(rows, preprocessing.frequency, preprocessing.aggregate, columns)
    repeated = np.flatnonzero(rows.duplicated([SERIES_COLUMN, TIME_COLUMN]).to_numpy())
    if len(repeated):
        name, stamp = rows[SERIES_COLUMN].iloc[repeated[0]], rows[TIME_COLUMN].iloc[repeated[0]]
        raise DataError(f"row {repeated[0]}: series '{name}' at {stamp} occurs twice")
    return rows, ids, keys


def _without_left_out(
    table: pd.DataFrame, names: pd.Series, preprocessing: Preprocessing
) -> tuple[pd.DataFrame, pd.Series]:
    """The rows but for those of series that training left out, with a warning about these; and the ids of the rows."""
    table = table.reset_index(drop=True)
    names = names.reset_index(drop=True)
    if not preprocessing.left_out or preprocessing.keys == ():
        return table, names
    is_out = names.isin(preprocessing.left_out)
    if not is_out.any():
        return table, names
    out = names[is_out].unique()
    shown = ", ".join(map(str, out[:5])) + (" ..." if len(out) > 5 else "")
    LOG.warning(f"rows of {len(out):,} series that training left out are passed over: {shown}")
    if is_out.all():
        raise DataError(f"series '{out[0]}' was left out of training (select, or constant), and so were all others")
    return table[~is_out].reset_index(drop=True), names[~is_out].reset_index(drop=True)


def _similar_series(name: str, preprocessing: Preprocessing) -> str:
    """A remark on the series of the model that `name` may mean: one that differs in zeros was read as a number."""
    zeros = [known for known in preprocessing.series if known.lstrip("0") == name.lstrip("0")]
    if zeros and len(preprocessing.keys) == 1:
        remedy = f"pd.read_csv(..., dtype={{'{preprocessing.keys[0]}': str}})"
        return f"; '{zeros[0]}' was: read the column as text, such as {remedy}"
    return suggest(name, preprocessing.series)


def _warn_of_categories(table: pd.DataFrame, names: pd.Series, preprocessing: Preprocessing) -> None:
    """Log where a static column of the table differs from the category that a series was trained with."""
    for k, (column, vocabulary) in enumerate(preprocessing.categories):
        if column not in table.columns or column in preprocessing.keys:
            continue
        codes = zip(preprocessing.series, preprocessing.static, strict=True)
        trained = {name: vocabulary[static[k] - 1] for name, static in codes}
        # A column of whole numbers with empty fields is read as 1.0, 2.0.
        in_table, in_model = (words.astype(str).str.removesuffix(".0") for words in (table[column], names.map(trained)))
        differing = np.flatnonzero((in_table != in_model) & table[column].notna())
        if len(differing):
            word, name = in_table.iloc[differing[0]], names.iloc[differing[0]]
            unseen = "" if word in vocabulary else ", unseen in training"
            LOG.warning(
                f"column '{column}': series '{name}' is '{word}'{unseen}, and was trained as '{trained[name]}', which "
                f"is used ({names.iloc[differing].nunique()} such series); train again to learn of the change"
            )


def off_axis_text(stamp: pd.Timestamp, preprocessing: Preprocessing) -> str:
    """Return the sentence that `stamp` is no step of the axis of a model."""
    anchor = f", on the {preprocessing.anchor}" if preprocessing.anchor else ""
    sessions = ", outside the hours of training" if preprocessing.sessions else ""
    return f"time {stamp} is off the axis of frequency {preprocessing.frequency}{anchor}{sessions}"


def _on_axis(rows: InputRows, preprocessing: Preprocessing, horizon: int) -> ForecastInput:
    """The rows on an axis that extends `horizon` steps beyond the last history; NaN where columns have no value."""
    codes = np.array([preprocessing.codes[name] for name in rows.ids])
    has_target = ~np.isnan(rows.values[0])
    if not has_target.any():
        raise DataError(
            f"column '{preprocessing.target}': no value; history needs {preprocessing.lookback} steps per series"
        )
    stamps = rows.stamps.astype("datetime64[us]")
    observed_stamps = stamps[has_target]
    if not (observed_stamps[1:] > observed_stamps[:-1]).all():
        observed_stamps = np.unique(observed_stamps)
    rule = preprocessing.steps
    times, end = time_axis.build_axis(observed_stamps, horizon, rule)
    position = time_axis.axis_positions(times, stamps, rule)
    on_axis = position >= 0
    # Rows on stamps that are no steps of the axis would be lost without a word.
    off_axis = ~on_axis & (stamps <= times[-1])
    if off_axis.any() and preprocessing.calendar == "regular":
        raise DataError(off_axis_text(pd.Timestamp(stamps[off_axis][0]), preprocessing))
    matrix = np.full((len(rows.values), len(rows.ids), len(times)), np.nan)
    matrix[:, rows.series[on_axis], position[on_axis]] = rows.values[:, on_axis]
    target = matrix[0]
    missing = np.isnan(target)
    target[:, :end] = gaps.fill(target[:, :end], preprocessing.gaps)
    origin = end - np.argmax(np.isfinite(target[:, :end])[:, ::-1], axis=1)
    # As in training, a row without a target counts only for the future columns, from the origin on.
    in_history = np.arange(len(times)) < origin[:, None]
    matrix[1 : 1 + len(preprocessing.past), missing] = np.nan
    matrix[1:, missing & in_history] = np.nan
    columns = matrix[1:].transpose(1, 2, 0)
    if preprocessing.zero_run_limits:
        flags = zero_runs.detected_so_far(target, np.array(preprocessing.zero_run_limits)[codes]).astype(float)
        flags[~in_history] = np.nan
        columns = np.insert(columns, len(preprocessing.past), flags, axis=2)
    return ForecastInput(tuple(rows.ids), codes, {}, times, target, columns, origin)


def _check_history(table: ForecastInput, preprocessing: Preprocessing, lookbacks: np.ndarray) -> None:
    """Raise DataError where a series lacks one of the last values that are read; `lookbacks` (series,)."""
    for row, (name, code, lookback) in enumerate(zip(table.ids, table.codes, lookbacks, strict=True)):
        origin, reads = int(table.origin[row]), int(lookback)
        if preprocessing.lags:
            reads += preprocessing.lags[-1]
            start = np.datetime64(preprocessing.series_starts[code])
            # A table that has the whole of a young series is long enough: lags before its start are 0, as in training.
            if table.times[0] <= start:
                reads = min(reads, max(preprocessing.lookback, int((table.times[:origin] >= start).sum())))
        recent = table.target[row, max(0, origin - reads) : origin]
        if len(recent) < reads or np.isnan(recent).any():
            subject = f"series '{name}'" if preprocessing.keys else "the series"
            raise DataError(
                f"{subject}: {int(np.isfinite(recent).sum())} of the last {reads} steps of history have a value; "
                f"the model reads {reads}"
            )


def _check_zero_runs(table: ForecastInput, preprocessing: Preprocessing) -> None:
    """Raise DataError for a history that begins with zeros: whether their run is unusually long cannot be known."""
    for row, name in enumerate(table.ids if preprocessing.zero_run_limits else ()):
        first, limit = table.origin[row] - preprocessing.lookback, preprocessing.zero_run_limits[table.codes[row]]
        start = int(np.argmax(np.isfinite(table.target[row])))
        if first - start < limit and not table.target[row, start : first + 1].any():
            raise DataError(
                f"series '{name}': its history begins with zeros, too few to know whether their run is longer than "
                f"the usual {limit} steps; give at least {preprocessing.lookback + limit} steps of history"
            )


def _fill_columns(table: ForecastInput, preprocessing: Preprocessing, horizon: int) -> None:
    """Leave no NaN in `table.columns`: history is carried forward. Raises DataError for a missing future value."""
    fallback = np.zeros((len(table.ids), 0))
    if preprocessing.fallback:
        fallback = np.array(preprocessing.fallback)[table.codes]
    first_future = len(preprocessing.columns) - len(preprocessing.future_columns)
    for k, name in enumerate(preprocessing.columns):
        values = table.columns[:, :, k]
        for row, start in enumerate(table.origin if k >= first_future else ()):
            missing = np.isnan(values[row, start : start + horizon])
            if missing.any():
                stamp = pd.Timestamp(table.times[start + int(np.argmax(missing))])
                raise DataError(
                    f"column '{name}': series '{table.ids[row]}' has no value at {stamp}; a future column must be "
                    f"known for each of the {horizon} steps ahead: add rows with it and an empty "
                    f"'{preprocessing.target}'"
                )
        filled = gaps.forward_fill(values)
        table.columns[:, :, k] = np.where(np.isnan(filled), fallback[:, k, None], filled)
