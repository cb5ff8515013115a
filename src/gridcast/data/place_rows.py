"""Place the rows of a table on one time axis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.config import Experiment
from gridcast.data import splits
from gridcast.data.check_windows import longest_lookback
from gridcast.data.panel import Panel
from gridcast.data.table import ONLY_SERIES, SERIES, TARGET, TIME, Table
from gridcast.runtime import time_axis
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import ConfigError, DataError


def place_rows(table: Table, experiment: Experiment) -> Panel:
    """Return a panel with every value of `table` at its series and step, NaN elsewhere.

    Raises DataError for a (series, time) that occurs twice, a stamp off a regular axis, and too few steps for the
    first fold.
    """
    data, rows = experiment.data, table.rows
    series = rows[SERIES].cat.remove_unused_categories().cat
    names, stamps = tuple(series.categories), pd.DatetimeIndex(rows[TIME].unique()).sort_values()
    stamp_of_row = stamps.get_indexer(pd.DatetimeIndex(rows[TIME])).astype(np.int32)

    def cells_on(axis: pd.DatetimeIndex) -> np.ndarray:
        """Position of each row in a flat array (series * axis).

        Computed in place: there are as many positions as rows, which may be ten million.
        """
        cells = series.codes.to_numpy(np.int64)
        cells *= len(axis)
        cells += axis.get_indexer(stamps).astype(np.int32)[stamp_of_row]
        return cells

    _check_duplicates(table, cells_on(stamps), len(names) * len(stamps))
    times = _axis(table, stamps, experiment)
    cells = cells_on(times)

    def cube(*columns: str) -> np.ndarray:
        values = np.full((len(names) * len(times), len(columns)), np.nan)
        for number, column in enumerate(columns):
            values[cells, number] = rows[column]
        return values.reshape(len(names), len(times), len(columns))

    target = cube(TARGET)[:, :, 0]
    folds = _folds(len(times), experiment)
    return Panel(
        series=names,
        times=times,
        target=target,
        observed=np.isfinite(target),
        past=cube(*data.past),
        future=cube(*filter(is_column, data.future)),
        static=np.zeros((len(names), 0), np.int32),
        vocabularies=(),
        spans=folds[0],
        folds=folds,
        notes=table.notes,
        labels=_labels(table, times),
        key_count=max(1, len(data.series)),
        dialect=table.dialect,
        left_out=table.left_out,
    )


def _check_duplicates(table: Table, cells: np.ndarray, cell_count: int) -> None:
    """Raise DataError where two rows have one cell; `cells` (rows,) are below `cell_count`."""
    # Marking cells takes a fraction of the memory and time of a search for duplicates, which there hardly ever are.
    taken = np.zeros(cell_count, bool)
    taken[cells] = True
    if np.count_nonzero(taken) == len(cells):
        return
    repeated = np.flatnonzero(pd.Series(cells).duplicated())
    second = int(repeated[0])
    first = int(np.flatnonzero(cells == cells[second])[0])
    name = table.rows[SERIES].iloc[second]
    named = "" if name == ONLY_SERIES else f"series '{name}' at "
    raise DataError(
        f"{table.location(second)}: {named}{table.rows[TIME].iloc[second]} is already in {table.location(first)} "
        f"({len(repeated):,} such rows in all); keep one row per series and time, say which one counts in "
        "data.repeated (first or last), or name every column that distinguishes series in data.series"
    )


def _axis(table: Table, stamps: pd.DatetimeIndex, experiment: Experiment) -> pd.DatetimeIndex:
    """The steps of the panel, given the sorted `stamps` of `table`."""
    data = experiment.data
    try:
        steps = time_axis.regular_steps(stamps, data.frequency)
    except ValueError:
        raise ConfigError(
            f"data.frequency: '{data.frequency}' is unknown (such as min, 15min, h, D, B, W, M, Q)"
        ) from None
    if data.calendar == "observed":
        return stamps
    off_axis = stamps[~stamps.isin(steps)]
    if len(off_axis):
        row = int(np.flatnonzero(table.rows[TIME].isin(off_axis))[0])
        raise DataError(
            f"{table.location(row)}: {table.rows[TIME].iloc[row]} is off the regular axis of frequency "
            f"{data.frequency} that starts at {stamps[0]}; correct data.frequency, or write data.calendar: observed"
        )
    return steps


def _folds(steps: int, experiment: Experiment) -> tuple[splits.Spans, ...]:
    """The spans of each fold; one fold where `split` has shares."""
    split, needed = experiment.split, longest_lookback(experiment) + experiment.window.horizon
    if split.folds is None:
        return (splits.spans_by_share(steps, split.train, split.validation),)
    folds = splits.rolling_folds(steps, split.folds, experiment.fold_steps, expanding=split.expanding)
    if folds[0].train < needed:
        raise DataError(
            f"split.folds: {split.folds} folds of {experiment.fold_steps} steps and the test span leave "
            f"{max(0, folds[0].train)} of {steps} steps to train the first one on, {needed} needed (lookback + "
            "horizon); fewer folds, a shorter split.horizon, or longer series"
        )
    return folds


def _labels(table: Table, times: pd.DatetimeIndex) -> np.ndarray | None:
    """True (steps,) where a step is labelled as anomalous; a step without a row is not."""
    if table.labels is None:
        return None
    return np.asarray(times.isin(table.labels.index[table.labels]))
