"""Select the rows of a table that count: a selection, one of repeated rows, or one per period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pandas as pd

from gridcast.config import Data
from gridcast.config.sections import FORMER_FREQUENCY
from gridcast.data import infer_steps
from gridcast.data.parse_fields import LINE
from gridcast.data.table import FILE, SERIES, TARGET, TIME, Table
from gridcast.runtime import local_time, resampling, time_axis
from gridcast.runtime.errors import ConfigError, DataError, suggest
from gridcast.runtime.series_ids import plain_ids


def select_rows(table: Table, data: Data) -> Table:
    """Return `table` with the rows that `data.select` names by time and series. Raises DataError where none are."""
    rows, left_out = table.rows, table.left_out
    for bound in ("start", "end"):
        text = getattr(data.select, bound)
        if text is not None:
            try:
                first, last = _interval(text, data, _frequency(rows[TIME], data))
            except ValueError:
                raise DataError(f"data.select.{bound}: '{text}' is not a date; write it as 2011-12-31") from None
            rows = rows[rows[TIME] >= first if bound == "start" else rows[TIME] <= last]
    if data.select.only is not None:
        names = list(pd.unique(rows[SERIES]))
        # A file for a version before 0.2.0 has plain ids.
        ids = dict(zip(plain_ids(names, len(data.series) or 1), names, strict=True)) | {name: name for name in names}
        for name in data.select.only:
            if name not in ids:
                raise DataError(f"data.select.only: no series '{name}' in {data.source}{suggest(name, names)}")
        kept = {ids[name] for name in data.select.only}
        left_out = (*left_out, *(name for name in names if name not in kept))
        rows = rows[rows[SERIES].isin(list(kept))]
    if not len(rows):
        raise DataError(f"{data.source}: no rows are left after data.select {_listed(data.select.model_dump())}")
    return replace(table, rows=rows.reset_index(drop=True), left_out=tuple(map(str, left_out)))


def drop_repeated_rows(table: Table, keep: Literal["first", "last"]) -> Table:
    """Return `table` with one of the rows of each series and time, and a note on how many are left out."""
    rows = table.rows.drop_duplicates([SERIES, TIME], keep=keep).reset_index(drop=True)
    count = len(table.rows) - len(rows)
    if not count:
        return replace(table, rows=rows)
    stamps = table.rows[TIME][table.rows.duplicated([SERIES, TIME], keep=keep)]
    note = f"{count:,} repeated rows left out (data.repeated: {keep})"
    if stamps.min() < stamps.max():
        note += f", of {stamps.nunique():,} stamps from {stamps.min()} to {stamps.max()}"
    return replace(table, rows=rows, notes=(*table.notes, note))


def aggregate_table(table: Table, data: Data) -> Table:
    """Return `table` with one row per series and period of `data.frequency`, located where its first row was.

    Periods that the data do not cover completely are left out, with a note. Raises ConfigError for a frequency whose
    periods do not follow from a stamp alone, and DataError for rows coarser than the frequency.
    """
    times, frequency = pd.DatetimeIndex(table.rows[TIME]), data.row_frequency or FORMER_FREQUENCY
    try:
        starts = time_axis.period_start(times, frequency)
    except ValueError:
        raise ConfigError(
            f"data.aggregate: rows cannot be combined by the frequency '{frequency}' (such as 15min, h, D, W, M, Q, Y)"
        ) from None
    first, last = resampling.complete_periods(times, frequency)
    is_complete = (starts >= first) & (starts <= last)
    rows = resampling.aggregate_rows(
        table.rows[is_complete],
        frequency,
        data.aggregate,
        resampling.RowColumns(SERIES, TIME, TARGET),
        take_first=(*data.static, FILE, LINE),
    )
    periods = pd.DatetimeIndex(rows[TIME].unique()).sort_values()
    if len(rows) == len(table.rows) and len(periods) > 1:
        _check_adjacent(periods, data)
    counts = f"{int(is_complete.sum()):,} rows combined to {len(rows):,}"
    notes = [*table.notes, f"{counts} by {frequency} ({data.aggregate})"]
    incomplete = pd.DatetimeIndex(starts[~is_complete].unique()).sort_values()
    if len(incomplete):
        named = " and ".join(f"{period:%Y-%m-%d %H:%M}".removesuffix(" 00:00") for period in incomplete)
        left_out = f"the period of {named} is" if len(incomplete) == 1 else f"the periods of {named} are"
        notes.append(
            f"warning: the data begin on {times.min()} and end on {times.max()}: {left_out} incomplete and left out"
        )
    return replace(table, rows=rows, notes=tuple(notes), labels=None)


def _check_adjacent(periods: pd.DatetimeIndex, data: Data) -> None:
    """Raise DataError where no two of the `periods` are adjacent, so that the rows are coarser than the frequency."""
    frequency = data.row_frequency or FORMER_FREQUENCY
    if (time_axis.period_end(periods[:-1], frequency) < periods[1:]).all():
        raise DataError(
            f"data.aggregate: no two rows of {data.source} lie in periods of frequency {frequency} that follow each "
            f"other, such as {periods[0]} and {periods[1]}: they are coarser, with nothing to combine; write a "
            "coarser data.frequency, or aggregate: none"
        )


def _frequency(times: pd.Series, data: Data) -> str:
    """The frequency that decides whether stamps are local days or in UTC."""
    if data.row_frequency is not None:
        return data.row_frequency
    spacing = infer_steps.find_spacing(pd.DatetimeIndex(times.unique()).sort_values())
    return spacing.frequency if spacing else FORMER_FREQUENCY


def _interval(text: str, data: Data, frequency: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last moment of `text`: a date stands for its whole day, a month for all its days, a stamp for itself.

    Without a time zone, on the axis like the stamps of the table; see `local_time`. Raises ValueError.
    """
    stamp, period = pd.Timestamp(text), pd.Period(text)
    if pd.isna(stamp):
        raise ValueError(text)
    is_exact = period.freqstr in ("h", "min", "s", "ms", "us", "ns")
    last = stamp if is_exact or stamp.tzinfo is not None else period.end_time
    zone = data.time_zone or local_time.OWN_OFFSETS
    ends = (end.to_pydatetime(warn=False) for end in (stamp, last))
    first, last = (pd.Timestamp(local_time.axis_stamp(end, zone, frequency)) for end in ends)
    return first, last


def _listed(options: Mapping[str, object]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in options.items() if value is not None)
