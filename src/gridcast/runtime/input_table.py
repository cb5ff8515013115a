"""The table that a forecast starts from: checked, and laid out on a time axis that extends beyond its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from . import gaps, table_columns, time_axis, zero_runs
from .errors import DataError
from .input_rows import InputRows
from .preprocessing import Preprocessing
from .scaling import MARGIN
from .series_problems import SeriesProblems
from .target_range import TargetRange


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

    def take(self, rows: np.ndarray) -> ForecastInput:
        """Return the input of the series in `rows` alone, without key columns."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            codes=self.codes[rows],
            keys={},
            target=self.target[rows],
            columns=self.columns[rows],
            origin=self.origin[rows],
        )


def from_checked_rows(
    rows: InputRows,
    preprocessing: Preprocessing,
    *,
    lookbacks: np.ndarray,
    horizon: int,
    ranges: Sequence[TargetRange] = (),
    problems: SeriesProblems | None = None,
    ended: bool = True,
) -> ForecastInput:
    """Return rows (see `input_rows.checked_rows`) on an axis that extends `horizon` steps beyond its history.

    Key columns are left empty. `lookbacks` (series of the model,) are the steps that are read of each; `ranges` hold
    the values that the model can read. Raises DataError; with `problems`, what is wrong with single series is put
    there, and the others are returned. Without `ended`, a series of `ended_rows` is one of them.
    """
    problems = SeriesProblems(strict=True) if problems is None else problems
    rows = replace(rows, values=table_columns.without_missing(rows.values, preprocessing.dialect))
    laid_out = _on_axis(rows, preprocessing, horizon)
    check_range(rows, preprocessing, ranges, problems)
    if not ended:
        _refuse_ended(laid_out, preprocessing, lookbacks, problems)
    _check_history(laid_out, preprocessing, lookbacks[laid_out.codes], problems)
    _check_zero_runs(laid_out, preprocessing, problems)
    _fill_columns(laid_out, preprocessing, horizon, problems)
    if not problems:
        return laid_out
    return laid_out.take(np.flatnonzero([name not in problems for name in laid_out.ids]))


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


def check_range(
    rows: InputRows, preprocessing: Preprocessing, ranges: Sequence[TargetRange], problems: SeriesProblems
) -> None:
    """Refuse each series with a value outside of `ranges`, which the model cannot read. Raises DataError if strict."""
    for one in ranges:
        for row in one.outside(rows.values[0]):
            name = rows.ids[rows.series[row]]
            problems.add(
                name,
                f"column '{preprocessing.target}': series '{name}' is '{rows.values[0, row]:g}' at "
                f"{pd.Timestamp(rows.stamps[row])}, and {one.reader} needs {one.needed}; correct the value, leave it "
                f"out, or train a model without {one.reader}",
            )


def ended_rows(laid_out: ForecastInput, preprocessing: Preprocessing, lookbacks: np.ndarray) -> np.ndarray:
    """Return the rows (n,) of the series without a value among the newest steps, as many as are read or forecast.

    `lookbacks` (series of the model,) are the steps that are read of each.
    """
    behind = laid_out.origin.max() - laid_out.origin
    return np.flatnonzero(behind >= np.maximum(lookbacks[laid_out.codes], preprocessing.horizon))


def beyond_bounds(laid_out: ForecastInput, preprocessing: Preprocessing) -> dict[str, str]:
    """Return a sentence, by column, on the values that lie beyond the bounds within which covariates are read."""
    sentences = {}
    for k, (column, scaler) in enumerate(zip(preprocessing.columns, preprocessing.scalers, strict=True)):
        limits = np.array([scaler.limits(code) for code in laid_out.codes])
        values = laid_out.columns[:, :, k]
        # A bound in data units is rounded; a covariate that is read as 0 everywhere has no range to leave.
        slack = 1e-6 * np.ptp(limits, axis=1, keepdims=True)
        is_beyond = (values < limits[:, :1] - slack) | (values > limits[:, 1:] + slack)
        is_beyond &= slack > 0
        if not is_beyond.any():
            continue
        row, step = np.argwhere(is_beyond)[0]
        low, high = limits[row]
        count = int(is_beyond.sum())
        more = f" ({count:,} such values)" if count > 1 else ""
        sentences[column] = (
            f"column '{column}': series '{laid_out.ids[row]}' is {values[row, step]:g} at "
            f"{pd.Timestamp(laid_out.times[step])}{more}; in training it was {_training_range(low, high)}, and beyond "
            f"{low:g} to {high:g} it is read as the nearer of these: correct the value, or train again with such values"
        )
    return sentences


def _training_range(low: float, high: float) -> str:
    """The training range of a covariate whose bounds are `low` and `high`."""
    margin = MARGIN * (high - low) / (1 + 2 * MARGIN)
    return f"{low + margin:g} to {high - margin:g}"


def _refuse_ended(
    laid_out: ForecastInput, preprocessing: Preprocessing, lookbacks: np.ndarray, problems: SeriesProblems
) -> None:
    """Refuse each series of `ended_rows`."""
    newest = int(laid_out.origin.max())
    for row in ended_rows(laid_out, preprocessing, lookbacks):
        origin = int(laid_out.origin[row])
        last, end = (pd.Timestamp(laid_out.times[step - 1]) for step in (origin, newest))
        problems.add(
            laid_out.ids[row],
            f"series '{laid_out.ids[row]}': has ended at {last}, {newest - origin} steps before the newest of the "
            f"table ({end}); give its newer rows, or ask for forecasts from its own end (--ended)",
        )


def _check_history(
    table: ForecastInput, preprocessing: Preprocessing, lookbacks: np.ndarray, problems: SeriesProblems
) -> None:
    """Refuse each series that lacks one of the last values that are read; `lookbacks` (series,)."""
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
            problems.add(
                name,
                f"{subject}: {int(np.isfinite(recent).sum())} of the last {reads} steps of history have a value; "
                f"the model reads {reads}",
            )


def _check_zero_runs(table: ForecastInput, preprocessing: Preprocessing, problems: SeriesProblems) -> None:
    """Refuse each history that begins with zeros: whether their run is unusually long cannot be known."""
    for row, name in enumerate(table.ids if preprocessing.zero_run_limits else ()):
        first, limit = table.origin[row] - preprocessing.lookback, preprocessing.zero_run_limits[table.codes[row]]
        start = int(np.argmax(np.isfinite(table.target[row])))
        if first - start < limit and not table.target[row, start : first + 1].any():
            problems.add(
                name,
                f"series '{name}': its history begins with zeros, too few to know whether their run is longer than "
                f"the usual {limit} steps; give at least {preprocessing.lookback + limit} steps of history",
            )


def _fill_columns(table: ForecastInput, preprocessing: Preprocessing, horizon: int, problems: SeriesProblems) -> None:
    """Leave no NaN in `table.columns`: history is carried forward. Refuse each series without a future value."""
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
                problems.add(
                    table.ids[row],
                    f"column '{name}': series '{table.ids[row]}' has no value at {stamp}; a future column must be "
                    f"known for each of the {horizon} steps ahead: add rows with it and an empty "
                    f"'{preprocessing.target}'",
                )
        filled = gaps.forward_fill(values)
        table.columns[:, :, k] = np.where(np.isnan(filled), fallback[:, k, None], filled)
