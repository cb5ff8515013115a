"""Read the tables of an experiment, whatever their dialect: one decision on it for all of them, then their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import layout, parse_fields, raw_table
from gridcast.data.parse_fields import TimeTexts
from gridcast.data.raw_table import RawTable
from gridcast.runtime import date_text, number_text
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.dialect import FORMER, UNKNOWN, Dialect
from gridcast.runtime.errors import AmbiguousTable, DataError
from gridcast.runtime.number_text import Evidence, Undecided

SAMPLED_ROWS = 1000
"""Rows that show which columns hold numbers."""


@dataclass(frozen=True)
class ReadingOptions:
    """How tables are read beside the settings in `Data`.

    `trained` is the dialect of the tables that a model was trained on, which decides where a table does not show its
    own. `settable` says that there is an experiment file, so that errors may name its keys as a remedy; without one,
    static columns may be empty. With `keep_ahead`, rows without a target stay where a future column has a value.
    """

    trained: Dialect = UNKNOWN
    settable: bool = True
    keep_ahead: bool = False


@dataclass(frozen=True)
class TableRows:
    """The rows of the table at `path`, with LINE, and a `note` on how it was read.

    `silent` has the key columns of each series of the table that has no target in any row.
    """

    path: str
    rows: pd.DataFrame
    note: str
    silent: pd.DataFrame


@dataclass(frozen=True)
class _Part:
    """One table of several that are read as one; `times` are the texts of its time column, if it has texts."""

    raw: RawTable
    times: TimeTexts | None
    notes: tuple[str, ...] = ()


TRAINING = ReadingOptions()


def read_tables(
    sources: Sequence[str | pd.DataFrame], data: Data, options: ReadingOptions = TRAINING
) -> tuple[list[TableRows], Dialect]:
    """Return the columns of each table that `data` names, and the dialect that was decided for all of them.

    The time column comes as datetime64 without a time zone, the target and covariates as floats, series and static
    columns as text or categories of it. Rows without a target are left out: their step is a gap.

    Raises DataError that names file, line, column, value and remedy.
    """
    parts = [_prepare(raw_table.read_raw_table(source, data, settable=options.settable)) for source in sources]
    dialects = _decide_dialect(parts, data, options)
    tables = []
    while parts:  # a table that is parsed is not needed as text any more
        part = parts.pop(0)
        tables.append(_parse(part, data, dialects[part.raw.separator], options))
    common = next(iter(dialects.values()))
    if len(dialects) > 1:
        decimals = {dialect.decimal for dialect in dialects.values()}
        common = replace(common, separator=None, decimal=decimals.pop() if len(decimals) == 1 else None)
    return tables, common


def column_names(source: str | pd.DataFrame, data: Data, *, settable: bool = True) -> list[str]:
    """Return the names of the columns of a table. Raises DataError where it cannot be read."""
    return raw_table.column_names(source, data, settable=settable)


def numeric_columns(source: str | pd.DataFrame, data: Data) -> list[str]:
    """Return the columns of a table that hold numbers and nothing else in its first rows. Raises DataError.

    Truth values are no numbers here: they are states or labels, not readings.
    """
    names = [name for name in column_names(source, data) if name and name != data.time]
    unique = tuple(name for name in names if names.count(name) == 1)
    if data.pivot is not None:
        raw = raw_table.read_raw_table(source, data, settable=True)
        return [str(name) for name in raw.rows[data.pivot.names].cat.categories]
    update = {"sensors": unique, "labels": None, "series": (), "past": (), "future": (), "static": ()}
    raw = raw_table.read_raw_table(source, data.model_copy(update=update), settable=True)
    rows = raw.rows.iloc[:SAMPLED_ROWS]
    return [name for name in unique if _holds_numbers(rows[name], data)]


def _holds_numbers(values: pd.Series, data: Data) -> bool:
    if not parse_fields.is_text(values):
        is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        return is_number and bool(values.notna().any())
    for decimal in ("point", "comma"):
        parsed, wrong = number_text.parse_numbers(values, replace(_stated(data), decimal=decimal))
        if not len(wrong):
            return bool(parsed.notna().any())
    return False


def _prepare(raw: RawTable) -> _Part:
    """The table without lines that name the columns again, as files have them that were put together."""
    column = raw.layout.time
    if column is None:
        return _Part(raw, None)
    times = parse_fields.time_texts(raw.rows[column])
    if times is None or not (times.different.str.strip() == column).any():
        return _Part(raw, times)
    is_header = (raw.rows[column].astype("str").str.strip() == column).to_numpy(bool, na_value=False)
    for name in raw.layout.numbers[:1]:
        is_header = is_header & (raw.rows[name].astype("str").str.strip() == name).to_numpy(bool, na_value=False)
    rows = raw.rows[~is_header].reset_index(drop=True)
    notes = (f"{int(is_header.sum())} lines that repeat the header left out",) if is_header.any() else ()
    return _Part(replace(raw, rows=rows), parse_fields.time_texts(rows[column]), notes)


def _decide_dialect(parts: Sequence[_Part], data: Data, options: ReadingOptions) -> dict[str | None, Dialect]:
    """Return how these tables are written, by their separator, as any column of any of them shows. Raises DataError.

    Tables with different separators come from different programs, of which each has its own decimal sign.
    """
    stated, dates = _stated(data), _date_order(parts, data, options)
    dialects = {}
    for separator in dict.fromkeys(part.raw.separator for part in parts):
        alike = [part for part in parts if part.raw.separator == separator]
        decimal = _decide_decimal(alike, stated, options)
        dialects[separator] = replace(stated, decimal=decimal, dates=dates, separator=separator)
    return dialects


def _decide_decimal(parts: Sequence[_Part], stated: Dialect, options: ReadingOptions) -> str | None:
    """The decimal sign of tables with one separator."""
    trained, separator = options.trained, parts[0].raw.separator
    if trained.separator not in (None, separator) and trained.decimal != FORMER:
        # A file of another program than that of training need not have its decimal sign.
        trained = replace(trained, decimal=None)
    evidence = Evidence()
    for raw in (part.raw for part in parts):
        evidence = evidence.joined(parse_fields.number_evidence(raw.rows, raw.layout.numbers, raw.path))
    if evidence.doubtful and not evidence.proofs and trained.decimal not in number_text.OTHER:
        evidence = _with_fixed_decimals(evidence, parts)
    try:
        return number_text.decide_decimal(evidence, decimal=stated.decimal, thousands=stated.thousands, trained=trained)
    except Undecided as undecided:
        raise parse_fields.undecided_error(undecided, settable=options.settable) from None


def _with_fixed_decimals(evidence: Evidence, parts: Sequence[_Part]) -> Evidence:
    """Numbers such as 21.375 are no doubt decimals where commas stand between fields, and all have three of them."""
    if set(evidence.doubtful) != {"point"} or parts[0].raw.separator != "comma":
        return evidence
    if not all(parse_fields.has_fixed_decimals(part.raw.rows, part.raw.layout.numbers) for part in parts):
        return evidence
    return Evidence(evidence.doubtful)


def _stated(data: Data) -> Dialect:
    """The dialect as far as the experiment file states it."""
    return Dialect(
        decimal=data.decimal,
        thousands=data.thousands,
        missing=data.missing,
        time_unit=data.time_unit,
        blanks=data.blanks,
    )


def _date_order(parts: Sequence[_Part], data: Data, options: ReadingOptions) -> str | None:
    """The order of dates that are not ISO, as some date of any table shows it. Raises DataError where none does."""
    if data.dates != "auto":
        return data.dates
    if data.time_unit is not None:
        return None
    kinds: set[str] = set()
    examples: dict[str, tuple[RawTable, int, int]] = {}
    doubtful: tuple[RawTable, int] | None = None
    for part in parts:
        if part.times is None:
            continue
        codes, found = part.times.codes, part.times.evidence
        kinds.add(found.kind)
        for order, positions in ((date_text.DAY_FIRST, found.day_first), (date_text.MONTH_FIRST, found.month_first)):
            if len(positions):
                row, count = int(np.flatnonzero(codes == positions[0])[0]), len(positions)
                known = examples.get(order)
                examples[order] = (part.raw, row, count) if known is None else (known[0], known[1], known[2] + count)
        if len(found.doubtful) and doubtful is None:
            doubtful = part.raw, int(np.flatnonzero(codes == found.doubtful[0])[0])
    if len(examples) == 2:
        raw, row, _ = min(examples.values(), key=lambda example: example[2])
        problem = "has day and month the other way round than the file's other dates; correct it"
        raise parse_fields.field_error(raw.rows, row, column=str(raw.layout.time), path=raw.path, problem=problem)
    if examples:
        return next(iter(examples))
    if doubtful is None:
        if "slashed" in kinds:  # such as 01/01/2024: the same in both orders
            return date_text.DAY_FIRST
        return next(iter(kinds)) if len(kinds) == 1 else None
    if options.trained.dates in (date_text.DAY_FIRST, date_text.MONTH_FIRST):
        return options.trained.dates
    texts = pd.concat([part.times.different for part in parts if part.times is not None])
    by_hours = parse_fields.order_of_hours(texts)
    if by_hours is None:
        raise _doubtful_dates(*doubtful, settable=options.settable)
    return by_hours


def _doubtful_dates(raw: RawTable, row: int, *, settable: bool) -> DataError:
    column = str(raw.layout.time)
    match = re.match(date_text.YEAR_LAST_DATE, str(raw.rows[column].iloc[row]))
    first, second, year = match.group("first", "second_part", "year") if match else ("", "", "")
    day_first, month_first = (f"{year}-{month:>02}-{day:>02}" for month, day in ((second, first), (first, second)))
    remedy = "data.dates: day-first or month-first" if settable else "them as 2011-12-31"
    problem = f"may be {day_first} or {month_first}: the dates of this table do not tell day from month; write {remedy}"
    error = parse_fields.field_error(raw.rows, row, column=column, path=raw.path, problem=problem)
    return AmbiguousTable(str(error), "dates", (date_text.DAY_FIRST, date_text.MONTH_FIRST))


def _parse(part: _Part, data: Data, dialect: Dialect, options: ReadingOptions) -> TableRows:
    """The values of one table."""
    raw, columns = part.raw, part.raw.layout
    rows, path = raw.rows, raw.path
    dates = _own_order(part.times, data, dialect, options)
    if columns.time is not None:
        dialect_of_dates = replace(dialect, dates=dates)
        rows[columns.time] = parse_fields.parse_dates(
            rows, columns.time, part.times, data, dialect=dialect_of_dates, path=path, settable=options.settable
        )
    written = _written(raw, dialect, dates)
    if part.times is not None and len(rows):
        first = rows[str(columns.time)].iloc[0]
        written[-1:] = [written[-1] + parse_fields.utc_note(part.times, dates, first, data)] if written else []
    for column in columns.numbers:
        rows[column] = parse_fields.parse_numbers(rows, column, dialect=dialect, path=path, settable=options.settable)
        raw_table.release_arrow_memory()
    count = f"{len(rows):,} rows"
    parse_fields.check_filled(rows, columns.names if columns.wide or columns.pivoted else data.series, path)
    rows = layout.reshape(rows, columns, data, path)
    if options.settable:
        parse_fields.check_filled(rows, [name for name in data.static if name in rows], path)
    is_silent = _of_silent_series(rows, data)
    silent = rows.loc[is_silent, list(data.series)].drop_duplicates()
    rows, left_out = _with_readings(rows, data, path, options, is_silent)
    return TableRows(path, rows, ", ".join([count, *written, *part.notes, *left_out]), silent)


def _own_order(times: TimeTexts | None, data: Data, dialect: Dialect, options: ReadingOptions) -> str | None:
    """The order of the dates of one table: files of one source may have ISO dates and others, each in one of them."""
    if times is None or dialect.time_unit is not None:
        return dialect.dates
    kind = times.evidence.kind
    is_stated = data.dates != "auto" and options.settable
    return dialect.dates if is_stated or kind == "slashed" else kind


def _written(raw: RawTable, dialect: Dialect, dates: str | None) -> list[str]:
    """How the table is written, for its note."""
    texts = [column for column in raw.layout.numbers if parse_fields.is_text(raw.rows[column])]
    details = list(raw.details)
    if dialect.decimal == "comma" and texts:
        details.append("decimal comma")
    if raw.separator is not None and raw.layout.time is not None:
        order = dates or date_text.ISO
        details.append("dates in numbers" if dialect.time_unit else f"{'ISO' if order == 'iso' else order} dates")
    return details


def _of_silent_series(rows: pd.DataFrame, data: Data) -> np.ndarray:
    """For each row (n,) whether its series has no target in any row."""
    if not data.series or rows[data.target].notna().all():
        return np.zeros(len(rows), bool)
    keys = [rows[column] for column in data.series]
    return ~rows[data.target].notna().groupby(keys, observed=True).transform("any").to_numpy(bool)


def _with_readings(
    rows: pd.DataFrame, data: Data, path: str, options: ReadingOptions, is_silent: np.ndarray
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that have a target, with their blanks filled, and what was left out."""
    if data.sensors is not None:  # a stamp alone makes a step, even if all sensors are empty
        return rows, []
    has_target = rows[data.target].notna().to_numpy()
    future = list(filter(is_column, data.future))
    if options.keep_ahead and (future or is_silent.any()):
        is_ahead = is_silent.copy()  # for the answer that their series has no value
        if future:
            is_ahead |= ~has_target & (rows[future[0]].notna().to_numpy() | (data.blanks == "zero"))
        kept, ahead = _fill_blanks(rows[has_target], data, path, options)
        rows_ahead = rows[is_ahead].copy()
        if data.blanks == "zero":
            rows_ahead[future] = rows_ahead[future].fillna(0.0)
        return pd.concat([kept, rows_ahead], ignore_index=True), ahead
    missing = int((~has_target).sum())
    left_out = [f"{missing:,} rows without '{data.target}' left out"] if missing else []
    rows, notes = _fill_blanks(rows if not missing else rows[has_target].reset_index(drop=True), data, path, options)
    return rows, [*left_out, *notes]


def _fill_blanks(rows: pd.DataFrame, data: Data, path: str, options: ReadingOptions) -> tuple[pd.DataFrame, list[str]]:
    """The rows with blank covariates as `data.blanks` says, and notes on how many. Raises DataError under `error`."""
    notes = []
    for column in (*data.past, *filter(is_column, data.future)):
        blank = rows[column].isna().to_numpy()
        if not blank.any():
            continue
        if data.blanks == "error":
            position = int(np.flatnonzero(blank)[0])
            remedy = (
                "fill it in, or say with data.blanks what it means: zero, or ffill for the value before"
                if options.settable
                else "fill it in"
            )
            problem = f"is no value ({int(blank.sum()):,} such rows in all); {remedy}"
            raise parse_fields.field_error(rows, position, column=column, path=path, problem=problem)
        if data.blanks == "zero":
            rows = rows.assign(**{column: rows[column].fillna(0.0)})
        notes.append(f"{int(blank.sum()):,} blanks of '{column}' filled (blanks: {data.blanks})")
    return rows, notes
