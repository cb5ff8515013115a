"""Columns of a frame that a model in use is given, as numbers and time stamps, read like the tables of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import date_text, local_time, number_text
from .dialect import Dialect
from .errors import DataError
from .preprocessing import Preprocessing


def parse_stamps(table: pd.DataFrame, preprocessing: Preprocessing) -> pd.Series:
    """Return the time stamps of `table` on the axis, without a time zone, as in training; see `local_time`.

    Raises DataError for a text that is no date, for dates that do not tell day from month unless those of training did,
    for stamps of which only some have an offset, and for a time that clocks skip.
    """
    name, dialect = preprocessing.time, preprocessing.dialect
    column = table[name]
    if column.dtype.kind in "Mm" or isinstance(column.dtype, pd.DatetimeTZDtype):
        local, offsets = date_text.split_stamps(pd.to_datetime(column))
    else:
        codes, different = pd.factorize(column)
        texts = pd.Series(different).astype("str") if len(different) else pd.Series([], dtype="str")
        try:
            order = date_text.decide_order(texts, dialect.dates)
        except DataError as error:
            raise DataError(f"column '{name}': {error}") from None
        local_of, offsets_of = date_text.split_dates(texts, order, dialect.time_unit)
        local = np.append(local_of, np.datetime64("NaT"))[codes]
        offsets = np.append(offsets_of, np.nan)[codes]
    keys = table[[key for key in preprocessing.keys if key in table.columns]]
    times = local_time.axis_times(
        local, offsets, time_zone=preprocessing.time_zone, frequency=preprocessing.frequency, rows=keys
    )
    for row in np.flatnonzero(np.isnat(local))[:1]:
        raise DataError(f"column '{name}', row {row}: '{column.iloc[row]}' is not a date such as 2011-12-31")
    if fault := local_time.find_fault(local, offsets, times, preprocessing.time_zone):
        (row, *_), problem, remedy = fault
        raise DataError(f"column '{name}', row {row}: '{column.iloc[row]}' {problem}; {remedy}")
    return pd.Series(times, index=column.index)


def parse_numbers(table: pd.DataFrame, names: Sequence[str], dialect: Dialect) -> pd.DataFrame:
    """Return the columns `names` of `table` as floats, NaN where there is no value. Raises DataError."""
    texts = {name: table[name].astype("str") for name in names if _is_text(table[name])}
    if texts:
        try:
            decimal = number_text.decide_decimal(
                number_text.find_evidence(texts), decimal=None, thousands=dialect.thousands, trained=dialect
            )
        except number_text.Undecided as undecided:
            shown = " or ".join(sorted(number_text.readings(undecided.examples[0].text).values()))
            raise DataError(
                f"column '{undecided.examples[0].column}', row {undecided.examples[0].position}: "
                f"'{undecided.examples[0].text}' may be {shown}; give numbers, not text"
            ) from None
        dialect = Dialect(**{**vars(dialect), "decimal": decimal})
    columns = {name: _numbers(table[name], name, dialect) for name in names}
    return pd.DataFrame(columns, index=table.index)


def without_missing(values: np.ndarray, dialect: Dialect) -> np.ndarray:
    """Return `values` with NaN for numbers that mean "no reading"."""
    return np.where(np.isin(values, dialect.missing_numbers), np.nan, values) if dialect.missing_numbers else values


def fill_blanks(rows: pd.DataFrame, *, target: str, past: Sequence[str], future: Sequence[str], blanks: str) -> None:
    """Fill blank covariates in place as in training; those of rows without a target only where they mean zero.

    Raises DataError under `error`.
    """
    has_target = rows[target].notna()
    for column in (*past, *future):
        is_blank = rows[column].isna() & (has_target | (blanks == "zero" and column in future))
        if blanks == "ffill" or not is_blank.any():
            continue
        if blanks == "error":
            row = int(np.flatnonzero(is_blank)[0])
            raise DataError(
                f"column '{column}', row {row}: no value, and the model was trained without blanks; fill it in"
            )
        rows.loc[is_blank, column] = 0.0


def _is_text(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.StringDtype) or (
        column.dtype == object and bool(column.map(lambda value: isinstance(value, str)).any())
    )


def _numbers(column: pd.Series, name: str, dialect: Dialect) -> pd.Series:
    if _is_text(column):
        values, wrong = number_text.parse_numbers(
            column.where(column.isna(), column.astype("str")).astype("str"), dialect
        )
        if len(wrong):
            raise DataError(f"column '{name}', row {wrong[0]}: '{column.iloc[wrong[0]]}' is not a number")
    else:
        try:
            values = pd.to_numeric(column).astype(float)
        except (ValueError, TypeError) as error:
            raise DataError(f"column '{name}': {error}") from None
    return values.mask(values.isin(dialect.missing_numbers)) if dialect.missing_numbers else values
