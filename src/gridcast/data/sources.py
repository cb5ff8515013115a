"""From `data.source` to one tidy table: built-in sets, or any CSV and Parquet files."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from gridcast.config import Data
from gridcast.data import anomaly_labels, builtin, readers, small_csv
from gridcast.runtime import resampling, time_axis
from gridcast.runtime.errors import ConfigError, DataError, suggest
from gridcast.runtime.series_ids import plain_id, plain_ids, series_id, series_id_column

SERIES, TIME, TARGET, LINE, FILE = "__series__", "__time__", "__target__", "__line__", "__file__"
"""Columns of a Table: marked, since a covariate may well be called `time` or `target`."""
ONLY_SERIES = "all"
"""The id of the series in a table that has no series column."""
ANSWER_COLUMNS = ("score", "threshold", "anomaly", "labelled")
"""Columns that stand beside those of the sensors in what a detector answers."""


@dataclass(frozen=True)
class Table:
    """Tidy rows with where each came from.

    `rows` has the columns SERIES (categories of text, in order), TIME (datetime64, no time zone),
    TARGET (float), one per covariate under its own name (float; static ones as they come), FILE
    (index into `files`) and LINE.
    `notes` tells what was done to each file, in plain sentences.
    `labels` says which stamps are labelled as anomalous, where a column of labels was named.
    """

    rows: pd.DataFrame
    files: tuple[str, ...]
    notes: tuple[str, ...]
    labels: pd.Series | None = None

    def location(self, row: int) -> str:
        """`file, line N` of a row, by its position."""
        at = self.rows.iloc[row]
        unit = "row" if self.files[int(at[FILE])].endswith(".parquet") else "line"
        return f"{self.files[int(at[FILE])]}, {unit} {int(at[LINE])}"


def load_table(data: Data, cache: Path = Path("data")) -> Table:
    """The table named by `data.source`; built-in sets are kept under `cache`.

    Raises DataError that names file, line, column and remedy.
    """
    notes: list[str] = []
    if data.source in builtin.BUILTIN_SETS:
        kept, told = builtin.fetch_set(data.source, cache, (*data.past, *data.future, *data.static))
        notes += told
        paths = [str(kept)]
    else:
        paths = sorted(glob.glob(data.source, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not paths:
            near = suggest(data.source, [*builtin.BUILTIN_SETS, *map(str, Path().glob("**/*.csv"))])
            raise DataError(
                f"data.source: no file matches '{data.source}'{near} "
                f"(a built-in set: {', '.join(builtin.BUILTIN_SETS)}; or a path or glob of CSV or Parquet files)"
            )
    tables = []
    own = data if data.static_source is None else data.model_copy(update={"static": ()})
    labels: list[pd.Series] = []
    if data.sensors is not None:
        own = _of_sensors(own, paths[0])
    for number, path in enumerate(paths):
        rows, note = readers.read_table(path, own)
        tidy, labelled = _melted(rows, own, path) if own.sensors else (_tidy(rows, own, path), None)
        if data.labels and data.labels.endswith(anomaly_labels.LABEL_FILE_SUFFIX):
            labelled = anomaly_labels.read_labels(data.labels, path, pd.DatetimeIndex(rows[data.time]))
        labels += [] if labelled is None else [labelled]
        tables.append(tidy.assign(**{FILE: np.int32(number)}))
        if data.source not in builtin.BUILTIN_SETS:
            notes.append(f"{path}: {note}")
    rows = readers.concat_rows(tables, [SERIES])
    if own.sensors:
        rows[SERIES] = rows[SERIES].cat.reorder_categories(own.sensors)
    elif len(own.series) > 1:
        # The order of plain ids, in which the fingerprints of former versions have the values.
        ids = sorted(rows[SERIES].cat.categories, key=lambda name: (plain_id(name, len(own.series)), name))
        rows[SERIES] = rows[SERIES].cat.reorder_categories(ids)
    table = Table(rows, tuple(paths), tuple(notes), pd.concat(labels) if labels else None)
    empty = [data.target] if not len(rows) else []
    if own.sensors:
        empty = [name for name in own.sensors if not (rows[SERIES] == name).any()]
    if empty:
        raise DataError(f"{data.source}, column '{empty[0]}': empty in every row; fill it in, or name another")
    table = _cut(table, data)
    if data.repeated != "error":
        table = _once(table, data.repeated)
    if data.static_source is not None:
        table = replace(table, rows=_with_categories(table.rows, data, data.static_source))
    _one_category(table.rows, data.static)
    return table if data.aggregate == "none" else _aggregated(table, data)


def _tidy(rows: pd.DataFrame, data: Data, path: str) -> pd.DataFrame:
    columns = {SERIES: _ids(rows, data.series), TIME: rows[data.time], TARGET: rows[data.target]}
    columns |= {name: rows[name] for name in (*data.past, *_columns(data.future, rows), *data.static)}
    columns[LINE] = rows[readers.LINE].astype(np.int32)
    tidy = pd.DataFrame(columns, copy=False)
    _finite(tidy, path, {TARGET: data.target})
    return tidy


def _finite(tidy: pd.DataFrame, path: str, names: Mapping[str, str]) -> None:
    """Raise DataError at the first infinite value; `names` are those of columns that are called otherwise here."""
    for column in map(str, tidy.select_dtypes("number").columns):
        bad = np.flatnonzero(np.isinf(tidy[column].to_numpy(float)))
        if len(bad):
            name = names.get(column, column)
            unit = "row" if path.endswith(".parquet") else "line"
            raise DataError(
                f"{path}, {unit} {tidy[LINE].iloc[bad[0]]}, column '{name}': infinite value; "
                "give a number, or leave the field empty for a missing one"
            )


def _of_sensors(data: Data, path: str) -> Data:
    """`data` with the names of the sensors, found in the file at `path` where the experiment file has none.

    Raises DataError where there is none, or one has a name that answers are to have.
    """
    taken = data.time, data.labels
    found = data.sensors or [name for name in readers.numeric_columns(path) if name not in taken]
    if not found:
        raise DataError(f"{path}: no column of numbers besides '{data.time}'; name the sensors in data.sensors")
    for name in found:
        if name in (*ANSWER_COLUMNS, *taken):
            raise DataError(
                f"{path}, line 1: no sensor can be called '{name}', as answers have a column of that name; where it "
                "says what is anomalous, name it in data.labels, else leave it out with data.sensors, or rename it"
            )
    column = None if data.labels and data.labels.endswith(anomaly_labels.LABEL_FILE_SUFFIX) else data.labels
    return data.model_copy(update={"series": (), "sensors": tuple(dict.fromkeys(found)), "labels": column})


def _melted(rows: pd.DataFrame, data: Data, path: str) -> tuple[pd.DataFrame, pd.Series | None]:
    """A row for each value of each sensor, and which stamps are labelled as anomalous."""
    sensors, labels = list(data.sensors or ()), None
    _finite(rows, path, {})
    if data.labels:
        given, lines = rows[data.labels].fillna(0), rows[readers.LINE]
        bad = np.flatnonzero(~given.isin((0, 1)))
        if len(bad):
            raise DataError(
                f"{path}, line {lines.iloc[bad[0]]}, column '{data.labels}': {given.iloc[bad[0]]:g} is no label; write "
                "1 where a step is anomalous, else 0"
            )
        labels = pd.Series(given.to_numpy() == 1, index=pd.DatetimeIndex(rows[data.time]))
    values = rows[sensors].to_numpy(float).T
    known = np.isfinite(values)
    where, at = np.nonzero(known)
    names = pd.Categorical.from_codes(where.astype(np.int32), categories=pd.Index(sensors))
    columns = {SERIES: names, TIME: rows[data.time].to_numpy()[at], TARGET: values[known]}
    return pd.DataFrame({**columns, LINE: rows[readers.LINE].to_numpy(np.int32)[at]}), labels


def _ids(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """The id of each row as a category: ten million of them as text would outweigh the numbers."""
    if not columns:
        return pd.Series(ONLY_SERIES, index=rows.index, dtype="category")
    # The id of the only key is the key: of categories no text is made.
    ids = rows[columns[0]] if len(columns) == 1 else series_id_column([rows[column] for column in columns])
    ids = ids.astype("category")
    return ids.cat.rename_categories(list(ids.cat.categories.astype(str)))


def _columns(names: tuple[str, ...], rows: pd.DataFrame) -> list[str]:
    return [name for name in names if name in rows.columns]


def _cut(table: Table, data: Data) -> Table:
    rows = table.rows
    for bound in ("start", "end"):
        text = getattr(data.select, bound)
        if text is not None:
            try:
                first, last = _interval(text)
            except ValueError:
                raise DataError(f"data.select.{bound}: '{text}' is no date; write it as 2011-12-31") from None
            rows = rows[rows[TIME] >= first if bound == "start" else rows[TIME] <= last]
    if data.select.only is not None:
        known = list(pd.unique(rows[SERIES]))
        ids = dict(zip(plain_ids(known, len(data.series) or 1), known, strict=True)) | {name: name for name in known}
        for name in data.select.only:
            if name not in ids:
                raise DataError(f"data.select.only: no series '{name}' in {data.source}{suggest(name, known)}")
        rows = rows[rows[SERIES].isin([ids[name] for name in data.select.only])]
    if not len(rows):
        raise DataError(f"{data.source}: no rows are left after data.select {_told(data.select.model_dump())}")
    return replace(table, rows=rows.reset_index(drop=True))


def _once(table: Table, kept: Literal["first", "last"]) -> Table:
    """Of rows of the same series and time the one that is to be `kept`, with a note of how many are not."""
    rows = table.rows.drop_duplicates([SERIES, TIME], keep=kept).reset_index(drop=True)
    count = len(table.rows) - len(rows)
    told = (f"{count:,} repeated rows left out (data.repeated: {kept})",) if count else ()
    return replace(table, rows=rows, notes=(*table.notes, *told))


def _with_categories(rows: pd.DataFrame, data: Data, path: str) -> pd.DataFrame:
    """`rows` with the static columns that the file at `path` has for each series."""
    found: dict[str, tuple[int, dict[str, str]]] = {}
    for line, given in small_csv.read_rows(path, f"data.static_source: '{path}'", [*data.series, *data.static]):
        name = series_id([given[column] for column in data.series])
        for column in data.static:
            if not given[column]:
                raise DataError(f"{path}, line {line}, column '{column}': empty is no name; fill it in")
        if name in found:
            raise DataError(f"{path}, line {line}: series '{name}' stands already in line {found[name][0]}; keep one")
        found[name] = line, given
    series = rows[SERIES].cat.categories
    lacking = [name for name in rows[SERIES].cat.remove_unused_categories().cat.categories if name not in found]
    if lacking:
        raise DataError(
            f"{path}: no line for {len(lacking):,} of {len(series):,} series, such as "
            f"'{lacking[0]}'{suggest(lacking[0], found)} (add them, or leave them out with data.select.only)"
        )
    of = {column: [found[name][1][column] if name in found else "" for name in series] for column in data.static}
    codes = rows[SERIES].cat.codes.to_numpy()
    return rows.assign(**{column: pd.Categorical(words).take(codes) for column, words in of.items()})


def _one_category(rows: pd.DataFrame, columns: tuple[str, ...]) -> None:
    for column in columns:
        several = rows.groupby(SERIES, observed=True)[column].nunique()
        if (several > 1).any():
            name = several[several > 1].index[0]
            found = ", ".join(map(str, rows.loc[rows[SERIES] == name, column].unique()[:3]))
            raise DataError(
                f"data.static: column '{column}' changes within series '{name}' ({found}); "
                "a static category has one value per series"
            )


def _aggregated(table: Table, data: Data) -> Table:
    """One row per series and period of `data.frequency`, placed where the first of its rows stands."""
    times, frequency = pd.DatetimeIndex(table.rows[TIME]), data.frequency
    try:
        begins = time_axis.period_start(times, frequency)
    except ValueError:
        raise ConfigError(
            f"data.aggregate: rows cannot be combined by the frequency '{frequency}' (such as 15min, h, D, W, M, Q, Y)"
        ) from None
    first, last = resampling.complete_periods(times, frequency)
    inside = (begins >= first) & (begins <= last)
    rows = resampling.aggregate_rows(
        table.rows[inside],
        frequency,
        data.aggregate,
        resampling.RowColumns(SERIES, TIME, TARGET),
        take_first=(*data.static, FILE, LINE),
    )
    periods = pd.DatetimeIndex(rows[TIME].unique()).sort_values()
    if (
        len(rows) == len(table.rows)
        and len(periods) > 1
        and (time_axis.period_end(periods[:-1], frequency) < periods[1:]).all()
    ):
        raise DataError(
            f"data.aggregate: no two rows of {data.source} lie in periods of frequency {frequency} that follow each "
            f"other, such as {periods[0]} and {periods[1]}: they are coarser, with nothing to combine; write a coarser "
            "data.frequency, or aggregate: none"
        )
    notes = (*table.notes, f"{int(inside.sum()):,} rows combined to {len(rows):,} by {frequency} ({data.aggregate})")
    cut = pd.DatetimeIndex(begins[~inside].unique()).sort_values()
    if len(cut):
        named = " and ".join(f"{period:%Y-%m-%d %H:%M}".removesuffix(" 00:00") for period in cut)
        told = (
            f"the period of {named} is not whole and" if len(cut) == 1 else f"the periods of {named} are not whole and"
        )
        notes += (f"warning: the data begin on {times.min()} and end on {times.max()}: {told} left out",)
    return Table(rows, table.files, notes)


def _interval(text: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last moment that `text` means: a date is its whole day, a stamp with a time itself alone.

    Without a time zone, in UTC where it has one, as the stamps of the table. Raises ValueError.
    """
    stamp, meant = pd.to_datetime(text, utc=True).tz_localize(None), pd.Period(text)
    if pd.isna(stamp):
        raise ValueError(text)
    exact = meant.freqstr in ("h", "min", "s", "ms", "us", "ns")
    return stamp, stamp if exact else meant.end_time


def _told(options: Mapping[str, object]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in options.items() if value is not None)
