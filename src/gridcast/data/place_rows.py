"""Place the rows of a table on one time axis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.config import Experiment
from gridcast.data import learn_steps, splits
from gridcast.data.check_windows import longest_lookback
from gridcast.data.clock_changes import explain_repeated
from gridcast.data.off_axis import explain_off_axis
from gridcast.data.panel import Panel
from gridcast.data.table import ONLY_SERIES, SERIES, TARGET, TIME, Table
from gridcast.runtime import time_axis
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import DataError
from gridcast.runtime.frequencies import is_day_or_longer
from gridcast.runtime.step_rule import StepRule


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
        positions = time_axis.axis_positions(axis.to_numpy(), stamps.to_numpy(), learned.rule)
        cells += positions.astype(np.int32)[stamp_of_row]
        return cells

    learned = learn_steps.learn_steps(stamps, data)
    times = _axis(table, stamps, learned.rule, can_aggregate=data.sensors is None)
    cells = cells_on(times)
    _check_duplicates(table, cells, len(names) * len(times), learned.rule)

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
        notes=(*table.notes, *learned.notes),
        labels=_labels(table, times),
        key_count=max(1, len(data.series)),
        steps=learned.rule,
        steps_text=learned.fingerprint_text,
        dialect=table.dialect,
        left_out=table.left_out,
    )


def _check_duplicates(table: Table, cells: np.ndarray, cell_count: int, rule: StepRule) -> None:
    """Raise DataError where two rows have one cell; `cells` (rows,) are below `cell_count`."""
    # Marking cells takes a fraction of the memory and time of a search for duplicates, which there hardly ever are.
    taken = np.zeros(cell_count, bool)
    taken[cells] = True
    if np.count_nonzero(taken) == len(cells):
        return
    is_repeated = pd.Series(cells).duplicated().to_numpy()
    repeated = np.flatnonzero(is_repeated)
    second = int(repeated[0])
    first = int(np.flatnonzero(cells == cells[second])[0])
    name = table.rows[SERIES].iloc[second]
    named = "" if name == ONLY_SERIES else f"series '{name}' at "
    times = pd.DatetimeIndex(table.rows[TIME][is_repeated])
    clock_change = "" if is_day_or_longer(rule.frequency) else explain_repeated(times)
    raise DataError(
        f"{table.location(second)}: {named}{table.rows[TIME].iloc[second]} is already in {table.location(first)} "
        f"({len(repeated):,} such rows in all){clock_change}; keep one row per series and time, say which one counts "
        "in data.repeated (first or last), or name every column that distinguishes series in data.series"
    )


def _axis(table: Table, stamps: pd.DatetimeIndex, rule: StepRule, *, can_aggregate: bool) -> pd.DatetimeIndex:
    """The steps of the panel, given the sorted `stamps` of `table`."""
    steps = time_axis.history_steps(stamps, rule)
    off_axis = stamps[time_axis.axis_positions(steps.to_numpy(), stamps.to_numpy(), rule) < 0]
    if len(off_axis):
        row = int(np.flatnonzero(table.rows[TIME].isin(off_axis))[0])
        stamp = table.rows[TIME].iloc[row]
        explanation = explain_off_axis(stamp, off_axis, steps, rule, can_aggregate=can_aggregate)
        raise DataError(f"{table.location(row)}: {explanation}")
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
