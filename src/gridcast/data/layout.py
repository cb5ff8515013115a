"""The columns that an experiment reads of a table, and the rows that wide and long tables become."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data.parse_fields import LINE, place
from gridcast.runtime import calendar_features, period_labels
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import ConfigError, DataError, suggest

SHOWN_NAMES = 12
"""Names of columns that an error lists."""
PERIODS = "columns"
"""The `wide.time` of a table whose columns are periods."""
MANY_COLUMNS = 12
RENAME = "rename one of them, and write a header of several lines as one line"


@dataclass(frozen=True)
class Layout:
    """The columns that are read of a table.

    `time` is that of the stamps, None where the columns are periods; `names` hold text, `numbers` numbers. Of the
    numbers, the `wide` ones become rows; `pivoted` says that the rows of one stamp become one.
    """

    time: str | None
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    wide: tuple[str, ...] = ()
    pivoted: bool = False

    @property
    def columns(self) -> list[str]:
        """All columns that are read, once each."""
        time = () if self.time is None else (self.time,)
        return list(dict.fromkeys((*time, *self.names, *self.numbers)))


def find_layout(names: Sequence[str], data: Data, path: str) -> Layout:
    """Return the layout of a table whose columns have these `names`. Raises DataError where one is missing."""
    if data.wide is not None and not _is_long(names, data):
        return _wide_layout(names, data, path)
    if data.pivot is not None and data.pivot.names in names and data.pivot.values in names:
        pivot = data.pivot
        fields = {"data.time": (data.time,), "data.series": () if data.sensors is not None else data.series}
        _check_names(names, fields | {"data.pivot": (pivot.names, pivot.values)}, data, path)
        return Layout(data.time, (*fields["data.series"], pivot.names), (pivot.values,), pivoted=True)
    fields = {
        "data.time": (data.time,),
        "data.series": data.series,
        "data.target": () if data.sensors is not None else (data.target,),
        "data.sensors": data.sensors or (),
        "data.labels": (data.labels,) if data.labels else (),
        "data.past": data.past,
        "data.future": tuple(filter(is_column, data.future)),
        "data.static": data.static,
    }
    _check_names(names, fields, data, path)
    text = fields["data.series"], fields["data.static"]
    numbers = [fields[name] for name in ("data.target", "data.sensors", "data.labels", "data.past", "data.future")]
    return Layout(data.time, _unique(text), _unique(numbers))


def reshape(rows: pd.DataFrame, layout: Layout, data: Data, path: str) -> pd.DataFrame:
    """Return parsed `rows` with a row for each step of each series, whatever the shape of the table."""
    if layout.wide:
        return (
            _with_periods_as_rows(rows, layout, data, path) if layout.time is None else _unstacked(rows, layout, data)
        )
    return _pivoted(rows, data, path) if layout.pivoted else rows


def listed(names: Sequence[str]) -> str:
    """Return the first `names` of many, so that a message fits a screen."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} ... {len(names) - SHOWN_NAMES:,} more"


def _is_long(names: Sequence[str], data: Data) -> bool:
    return {data.time, data.target, *data.series} <= set(names)


def _unique(groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for group in groups for column in group))


def _check_names(names: Sequence[str], fields: dict[str, tuple[str, ...]], data: Data, path: str) -> None:
    """Raise DataError where a column of `fields` is missing among `names`, or occurs twice."""
    for field, columns in fields.items():
        for column in columns:
            if column not in names:
                similar = [*names, *calendar_features.similar_names(column)] if field == "data.future" else names
                raise DataError(
                    f"{path}, line 1: no column '{column}' ({field}){suggest(column, similar)} "
                    f"(the file has: {listed(names)}){_wide_remedy(names, data)}"
                )
            if names.count(column) > 1:
                raise DataError(f"{path}, line 1: the column '{column}' occurs twice; {RENAME}")


def _wide_remedy(names: Sequence[str], data: Data) -> str:
    """Advice for a table that seems to have a column for each period."""
    numbered = re.match(r"^(\D*)\d+$", names[-1]) if len(names) > MANY_COLUMNS else None
    periods = [name for name in names if period_labels.parse_label(name) is not None]
    if data.wide is not None or len(names) <= MANY_COLUMNS:
        return ""
    if len(periods) * 2 > len(names):
        return "; it seems to have a column for each period: write data.wide: {time: columns}"
    if numbered and sum(name.startswith(numbered[1]) for name in names) * 2 > len(names):
        pattern = f"{numbered[1]}*"
        return (
            "; it seems to have a column for each period: write data.wide: "
            f'{{columns: "{pattern}", start: 2011-01-29}} with the date of the first'
        )
    return ""


def _wide_layout(names: Sequence[str], data: Data, path: str) -> Layout:
    wide = data.wide
    assert wide is not None
    time = wide.time or (data.time if data.time in names else PERIODS)
    covariates = (*data.past, *filter(is_column, data.future))
    if time == PERIODS:
        _check_names(names, {"data.series": data.series, "data.static": data.static}, data, path)
        text = _unique((data.series, data.static))
        if covariates:
            raise ConfigError(
                f"data.wide: a table with a column for each period has none for '{covariates[0]}'; remove it"
            )
        chosen = _chosen(names, wide.columns, set(text), path) if wide.columns else _period_columns(names, text)
        if not chosen:
            raise DataError(
                f"{path}, line 1: no column is a period such as 2021-01 or Jan-21 (the file has: {listed(names)}); "
                'name them in data.wide: {columns: "d_*"}'
            )
        return Layout(None, text, chosen, wide=chosen)
    if len(data.series) != 1:
        raise ConfigError("data.series: name one column that will hold the names of the columns, such as product")
    _check_names(names, {"data.wide": (time,), "data.past": data.past, "data.future": covariates}, data, path)
    chosen = _chosen(names, wide.columns or ("*",), {time, *covariates, ""}, path)
    return Layout(time, (), _unique((chosen, covariates)), wide=chosen)


def _chosen(names: Sequence[str], patterns: Sequence[str], others: set[str], path: str) -> tuple[str, ...]:
    """The names that a pattern matches; none of them twice."""
    chosen = [name for name in names if name not in others and any(_matches(name, pattern) for pattern in patterns)]
    if not chosen:
        raise DataError(
            f"{path}, line 1: no column matches data.wide.columns: {listed(patterns)} (the file has: {listed(names)})"
        )
    for name in chosen:
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1: the column '{name}' occurs twice; {RENAME}")
    return tuple(chosen)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _period_columns(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    rest = [name for name in names if name not in others]
    days = [name for name in rest if name.isdigit() and len(name) == 5]
    labels = dict(zip(days, period_labels.parse_labels(days), strict=True)) if days else {}
    return tuple(name for name in rest if labels.get(name) is not None or period_labels.parse_label(name) is not None)


def period_stamps(labels: Sequence[str], data: Data, path: str) -> pd.DatetimeIndex:
    """Return the stamps of the periods that these columns name. Raises DataError for one that names none."""
    assert data.wide is not None
    if data.wide.start is not None:
        return _numbered_stamps(labels, data, path)
    stamps = period_labels.parse_labels(labels)
    if None in stamps:
        wrong = labels[stamps.index(None)]
        raise DataError(
            f"{path}, line 1: the column '{wrong}' is no period such as 2021-01, Jan-21 or 2008-Q1; rename it, or "
            "where periods are only numbered, write the date of the first in data.wide: {start: 2011-01-29}"
        )
    if period_labels.may_be_days(labels):
        raise DataError(
            f"{path}, line 1: columns such as '{labels[0]}', '{labels[1]}' may be days of a month or a month of "
            "several years; name them as 2021-01-31 or 2021-01"
        )
    index = pd.DatetimeIndex(stamps)
    if index.has_duplicates:
        twice = labels[int(np.flatnonzero(index.duplicated())[0])]
        raise DataError(f"{path}, line 1: the column '{twice}' names a period that another one names too; rename one")
    return index


def _numbered_stamps(labels: Sequence[str], data: Data, path: str) -> pd.DatetimeIndex:
    assert data.wide is not None
    assert data.wide.start is not None
    numbers = [re.search(r"(\d+)$", label) for label in labels]
    if None in numbers:
        wrong = labels[numbers.index(None)]
        raise DataError(f"{path}, line 1: the column '{wrong}' ends in no number, which data.wide.start needs")
    values = np.array([int(match[1]) for match in numbers if match])
    start = pd.to_datetime(data.wide.start, format="ISO8601", errors="coerce")
    if pd.isna(start):
        raise ConfigError(f"data.wide.start: '{data.wide.start}' is not a date; write it as 2011-12-31")
    try:
        starts: dict[str | None, str] = {"M": "MS", "Q": "QS", "Y": "YS"}
        offset = pd.tseries.frequencies.to_offset(starts.get(data.frequency, data.frequency))
    except ValueError:
        raise ConfigError(f"data.frequency: '{data.frequency}' is unknown (such as h, D, W, M, Q)") from None
    if offset is None:
        raise ConfigError("data.frequency: name it, so that periods can be counted from data.wide.start")
    # Weeks are counted from the day of the start, whichever it is.
    step = pd.Timedelta(days=7 * offset.n) if isinstance(offset, pd.offsets.Week) else offset
    axis = pd.date_range(start, periods=int(values.max() - values.min()) + 1, freq=step)
    return axis[values - values.min()]


def _with_periods_as_rows(rows: pd.DataFrame, layout: Layout, data: Data, path: str) -> pd.DataFrame:
    stamps = period_stamps(layout.wide, data, path).to_numpy("datetime64[us]")
    count = len(layout.wide)
    columns = {name: rows[name].repeat(count).reset_index(drop=True) for name in layout.names}
    columns[data.time] = pd.Series(np.tile(stamps, len(rows)))
    columns[data.target] = pd.Series(rows[list(layout.wide)].to_numpy(float).ravel())
    columns[LINE] = pd.Series(np.repeat(rows[LINE].to_numpy(np.int32), count))
    return pd.DataFrame(columns, copy=False)


def _unstacked(rows: pd.DataFrame, layout: Layout, data: Data) -> pd.DataFrame:
    """A row for each value of each column of a series; covariates are those of its line."""
    count = len(layout.wide)
    series = pd.Categorical.from_codes(np.tile(np.arange(count), len(rows)), categories=pd.Index(layout.wide))
    columns = {data.series[0]: pd.Series(series), data.time: rows[layout.time].repeat(count).reset_index(drop=True)}
    columns[data.target] = pd.Series(rows[list(layout.wide)].to_numpy(float).ravel())
    others = [name for name in layout.numbers if name not in layout.wide]
    columns |= {name: rows[name].repeat(count).reset_index(drop=True) for name in others}
    columns[LINE] = pd.Series(np.repeat(rows[LINE].to_numpy(np.int32), count))
    return pd.DataFrame(columns, copy=False)


def _pivoted(rows: pd.DataFrame, data: Data, path: str) -> pd.DataFrame:
    """A column for each name of `data.pivot`; a repeated reading is an error, unless `data.repeated` decides."""
    pivot = data.pivot
    assert pivot is not None
    keys = [data.time, *(() if data.sensors is not None else data.series)]
    repeated = rows.duplicated([*keys, pivot.names])
    if repeated.any() and data.repeated == "error":
        position = int(np.flatnonzero(repeated)[0])
        name, stamp = rows[pivot.names].iloc[position], rows[data.time].iloc[position]
        raise DataError(
            f"{place(path, rows, position)}: '{name}' at {stamp} occurs twice ({int(repeated.sum()):,} such rows in "
            "all); keep one row for each, or say which one counts in data.repeated (first or last)"
        )
    kept = rows.drop_duplicates([*keys, pivot.names], keep="last" if data.repeated == "last" else "first")
    lines = kept.groupby(keys, sort=False, observed=True)[LINE].first()
    wide = kept.pivot(index=keys, columns=pivot.names, values=pivot.values)  # noqa: PD010 - keeps empty columns
    wide.columns = [str(name) for name in wide.columns]
    _check_names(list(wide.columns), _pivot_fields(data), data, path)
    return wide.assign(**{LINE: lines}).reset_index()


def _pivot_fields(data: Data) -> dict[str, tuple[str, ...]]:
    if data.sensors is not None:
        return {"data.sensors": data.sensors, "data.labels": (data.labels,) if data.labels else ()}
    future = tuple(filter(is_column, data.future))
    return {"data.target": (data.target,), "data.past": data.past, "data.future": future}
