"""Turn the fields of tables into numbers and dates; the error for any other text names its line and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.runtime import date_text, local_time, number_text
from gridcast.runtime.date_text import OrderEvidence
from gridcast.runtime.dialect import Dialect
from gridcast.runtime.errors import AmbiguousTable, DataError
from gridcast.runtime.number_text import Evidence, Example, Undecided

LINE = "__line__"
"""Column of the line of the file in which a row starts; in tables that have no lines, the number of the row."""
FRAME = "the DataFrame"
"""Stands in messages for the path of a table that is no file."""
ROW_ENDINGS = (".parquet", ".xlsx", FRAME.lower())


def unit_of(path: str) -> str:
    """Return what `LINE` counts in the table at `path`: `line` or `row`."""
    return "row" if path.lower().endswith(ROW_ENDINGS) or "://" in path else "line"


def shown_source(source: str | pd.DataFrame) -> str:
    """Return what messages call a table: its path, or FRAME."""
    return source if isinstance(source, str) else FRAME


def place(path: str, rows: pd.DataFrame, position: int) -> str:
    """Return `file, line N` of the row at `position`."""
    return f"{path}, {unit_of(path)} {rows[LINE].iloc[position]}"


def field_error(rows: pd.DataFrame, position: int, *, column: str, path: str, problem: str) -> DataError:
    """Return the error that the value of `column` in the row at `position` has a `problem`."""
    value = rows[column].iloc[position]
    shown = "empty" if pd.isna(value) else f"'{value}'"
    return DataError(f"{place(path, rows, position)}, column '{column}': {shown} {problem}")


def check_filled(rows: pd.DataFrame, columns: Sequence[str], path: str) -> None:
    """Raise DataError where one of `columns`, which name series or categories, is empty in a row."""
    for column in columns:
        empty = np.flatnonzero(rows[column].isna())
        if len(empty):
            problem = "is not a name; fill it in, or delete the line"
            raise field_error(rows, empty[0], column=column, path=path, problem=problem)


def is_text(column: pd.Series) -> bool:
    """Whether the values of `column` are text that is still to be parsed."""
    return isinstance(column.dtype, pd.StringDtype) or column.dtype == object


def number_evidence(rows: pd.DataFrame, columns: Sequence[str], path: str) -> Evidence:
    """Return what the texts in the `columns` of numbers show about their signs, with the place of each example."""
    evidence = number_text.find_evidence({column: rows[column] for column in columns if is_text(rows[column])})

    def located(examples: dict[str, Example]) -> dict[str, Example]:
        return {
            sign: Example(one.column, one.position, one.text, place(path, rows, one.position))
            for sign, one in examples.items()
        }

    return Evidence(located(dict(evidence.proofs)), located(dict(evidence.doubtful)))


def has_fixed_decimals(rows: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether each column of text has three decimals after a point in every number, as programs write them, or none."""
    for column in columns:
        if is_text(rows[column]) and rows[column].str.contains(".", regex=False, na=False).any():
            numbers = rows[column].dropna().str.strip()
            if not numbers.str.fullmatch(r"[-+]?\d+\.\d{3}|[A-Za-z/#<>]*").all():
                return False
    return True


def undecided_error(undecided: Undecided, *, settable: bool) -> DataError:
    """Return the error that the numbers of a table can be read in two ways, or contradict each other."""
    first, *others = undecided.examples
    head = f"{first.place}, column '{first.column}': '{first.text}'"
    if others and len(number_text.readings(first.text)) == 2 and not _is_doubtful(first.text):
        other = others[0]
        remedy = "correct one of them, or write data.decimal: comma or point" if settable else "correct one of them"
        return DataError(
            f"{head} has another decimal sign than '{other.text}' in {other.place.rpartition(', ')[2]}, column "
            f"'{other.column}'; {remedy}"
        )
    values = number_text.readings(first.text)
    remedy = (
        f"write data.decimal: comma for {values['comma']}, or data.decimal: point for {values['point']}"
        if settable
        else f"write {values['point']} for one, or {values['comma']} for the other, without a sign between thousands"
    )
    message = (
        f"{head} may be {values['comma']} (decimal comma) or {values['point']} (decimal point), and no number of this "
        f"table shows which; {remedy}"
    )
    return AmbiguousTable(message, "decimal", ("comma", "point"))


def parse_numbers(rows: pd.DataFrame, column: str, *, dialect: Dialect, path: str, settable: bool = True) -> pd.Series:
    """Return the values of `column` (rows,) as floats, NaN where a field is empty. Raises DataError for other text."""
    if not is_text(rows[column]):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            raise DataError(f"{path}, column '{column}': holds {rows[column].dtype}, not numbers")
        values = rows[column].astype(float)
        return values.mask(values.isin(dialect.missing_numbers)) if dialect.missing_numbers else values
    values, wrong = number_text.parse_numbers(rows[column], dialect)
    if len(wrong):
        text = str(rows[column].iloc[wrong[0]])
        problem = number_text.fault_of(text, dialect, settable=settable) + _remark_on_ends(
            rows, wrong, column=column, path=path
        )
        raise field_error(rows, wrong[0], column=column, path=path, problem=problem)
    return values


@dataclass(frozen=True)
class TimeTexts:
    """The `different` texts of a time column, and the code (rows,) of each row's, -1 where it is empty.

    A column of ten million stamps often has a few hundred different ones: these are parsed, not the rows.
    """

    codes: np.ndarray
    different: pd.Series

    @cached_property
    def evidence(self) -> OrderEvidence:
        """Evidence of the order of the dates."""
        return date_text.find_order(self.different)


def time_texts(values: pd.Series) -> TimeTexts | None:
    """Return the texts of a time column, None where it holds time stamps."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return None
    codes, different = pd.factorize(values)
    texts = pd.Series(different)
    if not is_text(texts):
        is_whole = pd.api.types.is_float_dtype(texts) and bool((texts == texts.round()).all())
        texts = (texts.astype("int64") if is_whole else texts).astype("str")
    return TimeTexts(codes, texts)


def parse_dates(
    rows: pd.DataFrame,
    column: str,
    texts: TimeTexts | None,
    data: Data,
    *,
    dialect: Dialect,
    path: str,
    settable: bool = True,
) -> pd.Series:
    """Return the time `column`, which has the `texts`, as stamps on the axis, without a time zone; see `local_time`.

    The dates are in the order `dialect.dates`; with `dialect.time_unit` they are numbers. Raises DataError for a value
    that is no such date, where only some stamps have an offset from UTC, and for a time that clocks skip in
    `data.time_zone`.
    """
    values = rows[column]
    if texts is None:
        check_filled(rows, (column,), path)
        local, offsets = date_text.split_stamps(values)
    else:
        order = dialect.dates or date_text.ISO
        different, offsets_of = date_text.split_dates(texts.different, order, dialect.time_unit)
        # The last value is that of code -1, an empty field.
        local = np.append(different, np.datetime64("NaT"))[texts.codes]
        offsets = np.append(offsets_of, np.nan)[texts.codes]
        wrong = np.flatnonzero(np.isnat(local))
        if len(wrong):
            value = values.iloc[wrong[0]]
            text = "" if pd.isna(value) else str(value)
            problem = date_text.fault_of(text, order, settable=settable, unit=dialect.time_unit)
            raise field_error(
                rows,
                wrong[0],
                column=column,
                path=path,
                problem=problem + _remark_on_ends(rows, wrong, column=column, path=path),
            )
    if data.time_zone is None and not np.isfinite(offsets).any():
        return pd.Series(local, index=rows.index)
    stamps = _stamps_on_axis(rows, column, data, local, offsets, path=path, settable=settable)
    return pd.Series(stamps, index=rows.index)


def _stamps_on_axis(
    rows: pd.DataFrame, column: str, data: Data, local: np.ndarray, offsets: np.ndarray, *, path: str, settable: bool
) -> np.ndarray:
    """The stamps on the axis (rows,) of `local` times (rows,) with `offsets` (rows,) in seconds, NaN for none.

    See `local_time.axis_times`. Raises DataError for those of `local_time.find_fault`.
    """
    time_zone = data.time_zone or local_time.OWN_OFFSETS
    stamps = local_time.axis_times(
        local,
        offsets,
        time_zone=time_zone,
        frequency=data.row_frequency,
        rows=rows[[key for key in data.series if key in rows]],
    )
    if fault := local_time.find_fault(local, offsets, stamps, time_zone):
        (row, *_), problem, remedy = fault
        if settable:
            remedy += ", or write data.time_zone, the zone in which the stamps were taken, such as UTC"
        raise field_error(rows, int(row), column=column, path=path, problem=f"{problem}; {remedy}")
    return stamps


def order_of_hours(texts: pd.Series) -> str | None:
    """Return the order in which stamps of hours or minutes are equally far apart, if that is so in one order only."""
    regular = []
    for order in (date_text.DAY_FIRST, date_text.MONTH_FIRST):
        local, offsets = date_text.split_dates(texts, order)
        times = pd.Series(local) - pd.to_timedelta(np.nan_to_num(offsets), unit="s")
        distances = np.unique(np.diff(np.sort(times.dropna().unique())))
        if len(distances) == 1 and distances[0] < np.timedelta64(1, "D"):
            regular.append(order)
    return regular[0] if len(regular) == 1 else None


def utc_note(texts: TimeTexts, order: str | None, stamp: pd.Timestamp, data: Data) -> str:
    """Return a note that local times are counted in UTC, if the `stamp` of the first text shows it."""
    if data.time_unit is not None or not local_time.WITH_OFFSET.match(texts.different.iloc[texts.codes[0]]):
        return ""
    (local,), (offset,) = date_text.split_dates(texts.different.iloc[texts.codes[:1]], order or date_text.ISO)
    if not np.nan_to_num(offset) or pd.Timestamp(local) - pd.Timedelta(seconds=offset) != stamp:
        return ""
    return " in UTC" if data.time_zone else " in UTC, hours as covariates too: data.time_zone makes these local"


def _is_doubtful(text: str) -> bool:
    return len(text.lstrip("+-").replace(".", ",").partition(",")[2]) == 3 and text.lstrip("+-0")[:1].isdigit()


def _remark_on_ends(rows: pd.DataFrame, wrong: np.ndarray, *, column: str, path: str) -> str:
    """Advice where only the first rows are wrong, or the last: more rows of a header, such as units, or a total."""
    first = str(rows[column].iloc[wrong[0]]).lstrip()
    if len(rows) < 10 or len(wrong) > 3 or first[:1].isdigit() or (np.diff(wrong) != 1).any():
        return ""
    if wrong[-1] == len(rows) - 1:
        return "; if it is no row of data, such as a total or a remark, delete the line"
    if wrong[0] != 0:
        return ""
    if len(wrong) == 1:
        return "; if it is a further row of the header, such as units, delete the line"
    first_line, last_line = rows[LINE].iloc[wrong[0]], rows[LINE].iloc[wrong[-1]]
    lines = f"{unit_of(path)}s {first_line} to {last_line}"
    return f"; if {lines} are further rows of the header, such as units, delete them"
