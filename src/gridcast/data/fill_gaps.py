"""Fill the gaps of a panel: missing steps of the target, missing covariates, unusual runs of zeros."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridcast.data import clock_changes, infer_steps
from gridcast.data.panel import Panel
from gridcast.data.table import ONLY_SERIES, SERIES, TIME, Table
from gridcast.runtime import gaps, zero_runs
from gridcast.runtime.errors import DataError
from gridcast.runtime.frequencies import is_day_or_longer

SERIES_PER_BLOCK = 256
"""Series whose covariates are filled at once: intermediate arrays take five times their memory."""


def fill_gaps(panel: Panel, table: Table, policy: str) -> Panel:
    """Return `panel` with missing steps filled by `policy` (`data.gaps`), and a note on how many.

    Raises DataError under `policy` error, naming the row of `table` after which the first step is missing.
    """
    in_gap = gaps.inner_gaps(panel.target)
    if policy == "error" and in_gap.any():
        raise _missing_step(panel, table, in_gap)
    target = gaps.fill(panel.target, policy)
    observed = gaps.is_observed(panel.target, policy)
    filled = int(np.isnan(panel.target).sum() - np.isnan(target).sum())
    if not filled:
        return replace(panel, target=target, observed=observed)
    note = f"{filled:,} missing steps of {target.size:,} filled (gaps: {policy})"
    note += ", never forecast or scored" if policy != "zero" else ""
    return replace(panel, target=target, observed=observed, notes=(*panel.notes, note))


def _missing_step(panel: Panel, table: Table, in_gap: np.ndarray) -> DataError:
    series, step = map(int, np.argwhere(in_gap)[0])
    name, rows = panel.series[series], table.rows
    of_the_series = np.flatnonzero((rows[SERIES] == name) & (rows[TIME] < panel.times[step]))
    before = int(of_the_series[np.argmax(rows[TIME].to_numpy()[of_the_series])])
    of_series = "" if name == ONLY_SERIES else f"of series '{name}' "
    return DataError(
        f"{table.location(before)}: after this line the row {of_series}for {panel.times[step]} is missing "
        f"({int(in_gap.sum()):,} steps missing in all){_explanation(panel, step)}; add them, or say with data.gaps how "
        f"to fill them (zero, ffill, interpolate){_other_calendar(panel, in_gap)}"
    )


def _explanation(panel: Panel, step: int) -> str:
    """A clock change at a missing step finer than a day, if there is one."""
    is_fine = not is_day_or_longer(panel.steps.frequency)
    return clock_changes.explain_missing(panel.times[step]) if is_fine else ""


def _other_calendar(panel: Panel, in_gap: np.ndarray) -> str:
    """A remedy for steps that no series has: they may be days or hours at which there are none."""
    absent = np.asarray(in_gap.all(axis=0))
    if not absent.any() or panel.steps.calendar == "observed":
        return ""
    weekends = np.asarray(panel.times.day_of_week >= 5)
    if panel.steps.frequency == "D" and np.array_equal(absent, weekends):
        return ", or write frequency: B if there are no rows on weekends"
    if panel.steps.calendar == "regular" and infer_steps.has_closed_times(panel.times[~absent], panel.steps.frequency):
        return ", or write data.calendar: trading, as the rows lie at certain times of the week"
    return ", or write data.calendar: observed if there is no step then"


def fill_covariates(panel: Panel) -> Panel:
    """Return `panel` with past and future covariates that have a value at every step."""
    train = panel.spans.train
    return replace(panel, past=fill_columns(panel.past, train), future=fill_columns(panel.future, train))


def fill_columns(cube: np.ndarray, train: int) -> np.ndarray:
    """Return `cube` (series, steps, columns) without NaN.

    Each NaN becomes the last value before it; before the first value of a series it becomes the median over its `train`
    training steps, or 0 where there is none.
    """
    incomplete = np.flatnonzero(np.isnan(cube).any(axis=(1, 2)))
    if not len(incomplete):
        return cube
    filled = cube.copy()
    for block in np.array_split(incomplete, -(-len(incomplete) // SERIES_PER_BLOCK)):
        values = np.moveaxis(cube[block], 2, 1)
        training = values[:, :, :train]
        has_values = np.isfinite(training).any(axis=2, keepdims=True)
        median = np.nanmedian(np.where(has_values, training, 0.0), axis=2, keepdims=True)
        values = gaps.forward_fill(values)
        filled[block] = np.moveaxis(np.where(np.isnan(values), median, values), 1, 2)
    return filled


def treat_zero_runs(panel: Panel, use: str) -> Panel:
    """Return `panel` with its unusual runs of zeros treated as `data.zero_runs` says.

    `mask` excludes them from training and validation; `feature` adds a past channel that is 1 within them.

    The mask of the training span depends on that span only, that of the validation span on nothing of the test span,
    which is scored in full. The channel at a step depends on the steps up to it.
    """
    if use == "none":
        return panel
    train, end = panel.spans.train, panel.spans.validation
    limits = zero_runs.habitual_lengths(panel.training_target)
    unusual = zero_runs.unusual_runs(panel.target[:, :end], limits)
    # Within the training span, a run that goes on after its end counts by its steps before.
    unusual[:, :train] = zero_runs.unusual_runs(panel.target[:, :train], limits)
    done = "left out of training and validation" if use == "mask" else "marked in a past channel once detected"
    described = zero_runs.describe(unusual, panel.series, panel.times)
    notes = (*panel.notes, f"in the training and validation spans {described}; {done} (zero_runs: {use})")
    if use == "feature":
        channel = zero_runs.detected_so_far(panel.target, limits)[:, :, None].astype(float)
        return replace(panel, past=np.concatenate([panel.past, channel], axis=2), notes=notes)
    observed = panel.observed.copy()
    observed[:, :end] &= ~unusual
    return replace(panel, observed=observed, notes=notes)
