"""Build the panel of a table: its axis, gaps, selection and checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from gridcast.config import Experiment
from gridcast.data import holidays, splits
from gridcast.data.panel import Panel
from gridcast.data.sources import ONLY_SERIES, SERIES, TARGET, TIME, Table
from gridcast.runtime import calendar_features, gaps, time_axis, windows, zero_runs
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import ConfigError, DataError

SERIES_PER_BLOCK = 256
"""Series whose covariates are completed at once: the steps between take five times their memory."""


def build_panel(table: Table, experiment: Experiment) -> Panel:
    """The panel of `table`: placed on its axis, gaps filled as told, series selected, checked.

    What is counted here, once for all folds, is counted on the training span of the first: it lies
    within those of the others, where folds are `expanding`, and before them else. Where series have models of
    their own, one too short for its own is kept and told, for others may answer for it.

    Raises DataError that names file, line and remedy: a (series, time) given twice, stamps off a
    regular axis, steps missing under `gaps: error`, a series too short for windows in each span.
    """
    data = experiment.data
    _calendar_names(experiment)
    panel = _dated(_placed(table, experiment), experiment)
    if data.select.top is not None:
        panel = _top(panel, data.select.top, experiment)
    panel = _gaps(panel, table, experiment)
    train = panel.spans.train
    panel = replace(panel, past=_complete(panel.past, train), future=_complete(panel.future, train))
    panel = _exhibited(panel, data.zero_runs)
    panel = _static(panel, table, data.static)
    panel = _constant(panel, experiment)
    panel = replace(panel, spans=panel.folds[-1])
    panel = _apart(panel, experiment) if experiment.mode != "global" else _together(panel, experiment)
    if experiment.task == "anomaly":
        panel = _watched(panel, experiment)
    if "negative-binomial" in experiment.values("likelihood"):
        _counts(panel)
    if experiment.transform.log1p and np.nanmin(panel.target) <= -1:
        where, when = map(int, np.unravel_index(np.nanargmin(panel.target), panel.target.shape))
        raise DataError(
            f"transform.log1p: series '{panel.series[where]}' is {panel.target[where, when]:g} at "
            f"{panel.times[when]:%Y-%m-%d %H:%M}, and log1p needs values above -1; write log1p: false"
        )
    return panel


def _counts(panel: Panel) -> None:
    """A count is whole and not negative; a value that fills a gap need not be, it is never scored."""
    broken = panel.observed & ((panel.target < 0) | (panel.target != np.round(panel.target)))
    if broken.any():
        where, when = map(int, np.argwhere(broken)[0])
        raise DataError(
            f"likelihood: series '{panel.series[where]}' is {panel.target[where, when]:g} at "
            f"{panel.times[when]:%Y-%m-%d %H:%M}, and negative-binomial counts whole things from 0 on "
            f"({int(broken.sum()):,} such values in all); write likelihood: student-t"
        )


def _calendar_names(experiment: Experiment) -> None:
    try:
        calendar_features.check_names(experiment.data.future)
    except ValueError as error:
        raise ConfigError(f"data.future: {error}") from None


def _dated(panel: Panel, experiment: Experiment) -> Panel:
    """The panel with the days of holidays and events."""
    found = holidays.find_marked_days(experiment.data.future, panel.times)
    told = holidays.coverage_notes(found, panel.times[: panel.spans.train], experiment.data.frequency)
    return replace(panel, marked_days=found, notes=(*panel.notes, *told))


def _placed(table: Table, experiment: Experiment) -> Panel:
    """Every value of `table` at its series and step, NaN where there is none."""
    data, rows = experiment.data, table.rows
    series = rows[SERIES].cat.remove_unused_categories().cat
    ids, stamps = tuple(series.categories), pd.DatetimeIndex(rows[TIME].unique()).sort_values()
    stamp = stamps.get_indexer(pd.DatetimeIndex(rows[TIME])).astype(np.int32)

    def cells(axis: pd.DatetimeIndex) -> np.ndarray:
        """Where each row stands in a flat (series, axis); in place, for there are as many as there are rows."""
        cell = series.codes.to_numpy(np.int64)
        cell *= len(axis)
        cell += axis.get_indexer(stamps).astype(np.int32)[stamp]
        return cell

    _no_duplicates(table, cells(stamps), len(ids) * len(stamps))
    times = _times(table, stamps, experiment)
    cell = cells(times)

    def cube(*columns: str) -> np.ndarray:
        values = np.full((len(ids) * len(times), len(columns)), np.nan)
        for number, column in enumerate(columns):
            values[cell, number] = rows[column]
        return values.reshape(len(ids), len(times), len(columns))

    target = cube(TARGET)[:, :, 0]
    folds = _folds(len(times), experiment)
    return Panel(
        series=ids,
        times=times,
        target=target,
        observed=np.isfinite(target),
        past=cube(*data.past),
        future=cube(*filter(is_column, data.future)),
        static=np.zeros((len(ids), 0), np.int32),
        vocabularies=(),
        spans=folds[0],
        folds=folds,
        notes=table.notes,
        labels=_labels(table, times),
    )


def _labels(table: Table, times: pd.DatetimeIndex) -> np.ndarray | None:
    """Which of `times` are labelled as anomalous (steps,); a step that has no row is not."""
    if table.labels is None:
        return None
    return np.asarray(times.isin(table.labels.index[table.labels]))


def _folds(steps: int, experiment: Experiment) -> tuple[splits.Spans, ...]:
    """The spans of each fold, of one where there are shares. Raises DataError when the first has too few steps."""
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


def _no_duplicates(table: Table, cell: np.ndarray, cells: int) -> None:
    """`cell` numbers the series and time of each row, below `cells`."""
    taken = np.zeros(cells, bool)
    taken[cell] = True
    if np.count_nonzero(taken) == len(cell):
        return
    again = np.flatnonzero(pd.Series(cell).duplicated())
    second = int(again[0])
    first = int(np.flatnonzero(cell == cell[second])[0])
    name = table.rows[SERIES].iloc[second]
    named = "" if name == ONLY_SERIES else f"series '{name}' at "
    raise DataError(
        f"{table.location(second)}: {named}{table.rows[TIME].iloc[second]} stands already in "
        f"{table.location(first)} ({len(again):,} such rows in all); keep one row per series and time, "
        "say which counts in data.repeated (first or last), or name every column that tells series apart in data.series"
    )


def _times(table: Table, stamps: pd.DatetimeIndex, experiment: Experiment) -> pd.DatetimeIndex:
    """The axis of the sorted `stamps` that are in `table`."""
    data = experiment.data
    try:
        steps = time_axis.regular_steps(stamps, data.frequency)
    except ValueError:
        raise ConfigError(
            f"data.frequency: '{data.frequency}' is unknown (such as min, 15min, h, D, B, W, M, Q)"
        ) from None
    if data.calendar == "observed":
        return stamps
    off = stamps[~stamps.isin(steps)]
    if len(off):
        row = int(np.flatnonzero(table.rows[TIME].isin(off))[0])
        raise DataError(
            f"{table.location(row)}: {table.rows[TIME].iloc[row]} is off the regular axis of frequency "
            f"{data.frequency} that starts at {stamps[0]}; correct data.frequency, or write data.calendar: observed"
        )
    return steps


def _top(panel: Panel, top: int, experiment: Experiment) -> Panel:
    """The `top` series by their total over the training span: a ranking over the whole would look ahead."""
    if top > len(panel.series):
        raise DataError(f"data.select.top: {top} series wanted, {experiment.data.source} has {len(panel.series)}")
    totals = np.nansum(panel.training_target, axis=1)
    return panel.take(np.argsort(-totals, kind="stable")[:top])


def _gaps(panel: Panel, table: Table, experiment: Experiment) -> Panel:
    policy, broken = experiment.data.gaps, gaps.inner_gaps(panel.target)
    if policy == "error" and broken.any():
        where, when = np.argwhere(broken)[0]
        name, rows = panel.series[where], table.rows
        before = int(np.flatnonzero((rows[SERIES] == name) & (rows[TIME] == panel.times[int(when) - 1]))[0])
        named = "" if name == ONLY_SERIES else f"series '{name}' "
        raise DataError(
            f"{table.location(before)}: after this line {named}misses {panel.times[when]} "
            f"({int(broken.sum()):,} steps missing in all); add them, or say with data.gaps how to fill them "
            "(zero, ffill, interpolate)"
        )
    target = gaps.fill(panel.target, policy)
    filled = int(np.isnan(panel.target).sum() - np.isnan(target).sum())
    told = f"{filled:,} missing steps of {target.size:,} filled (gaps: {policy})"
    told += ", never forecast or scored" if policy != "zero" else ""
    observed = gaps.is_observed(panel.target, policy)
    return replace(panel, target=target, observed=observed, notes=panel.notes + ((told,) if filled else ()))


def _complete(cube: np.ndarray, train: int) -> np.ndarray:
    """Covariates without NaN: the last known value; before the first one the median over training."""
    broken = np.flatnonzero(np.isnan(cube).any(axis=(1, 2)))
    if not len(broken):
        return cube
    whole = cube.copy()
    for part in np.array_split(broken, -(-len(broken) // SERIES_PER_BLOCK)):
        values = np.moveaxis(cube[part], 2, 1)
        early = values[:, :, :train]
        known = np.isfinite(early).any(axis=2, keepdims=True)
        median = np.nanmedian(np.where(known, early, 0.0), axis=2, keepdims=True)
        values = gaps.forward_fill(values)
        whole[part] = np.moveaxis(np.where(np.isnan(values), median, values), 1, 2)
    return whole


def _exhibited(panel: Panel, use: str) -> Panel:
    """Stretches without exhibition neither trained on nor used for validation (`mask`), or told by a past channel.

    The mask of the training span knows that span alone, that of the validation span nothing of the
    test span, which is scored whole. The channel at a step knows the steps up to it.
    """
    if use == "none":
        return panel
    train, end = panel.spans.train, panel.spans.validation
    usual = zero_runs.habitual_lengths(panel.training_target)
    closed = zero_runs.unusual_runs(panel.target[:, :end], usual)
    closed[:, :train] = zero_runs.unusual_runs(panel.target[:, :train], usual)
    done = "left out of training and validation" if use == "mask" else "told by a channel once they are known"
    told = zero_runs.describe(closed, panel.series, panel.times)
    notes = (*panel.notes, f"in the training and validation spans {told}; {done} (zero_runs: {use})")
    if use == "feature":
        channel = zero_runs.detected_so_far(panel.target, usual)[:, :, None].astype(float)
        return replace(panel, past=np.concatenate([panel.past, channel], axis=2), notes=notes)
    observed = panel.observed.copy()
    observed[:, :end] &= ~closed
    return replace(panel, observed=observed, notes=notes)


def _static(panel: Panel, table: Table, columns: tuple[str, ...]) -> Panel:
    """Codes of each series' categories; 0 is kept for a category unseen in training."""
    if not columns:
        return panel
    rows = table.rows
    codes, vocabularies = [], []
    for column in columns:
        of_series = rows.groupby(SERIES)[column].first().astype(str)
        values = of_series[list(panel.series)]
        vocabulary = tuple(sorted(set(values)))
        vocabularies.append(vocabulary)
        codes.append([vocabulary.index(value) + 1 for value in values])
    return replace(panel, static=np.array(codes, np.int32).T, vocabularies=tuple(vocabularies))


def _constant(panel: Panel, experiment: Experiment) -> Panel:
    train = panel.training_target
    seen = np.isfinite(train).any(axis=1)
    low = np.min(train, axis=1, where=np.isfinite(train), initial=np.inf)
    high = np.max(train, axis=1, where=np.isfinite(train), initial=-np.inf)
    flat = seen & (low == high)
    if not flat.any():
        return panel
    names = ", ".join(panel.series[i] for i in np.flatnonzero(flat)[:5])
    told = f"{int(flat.sum())} series constant over the training span ({names})"
    if experiment.data.constant == "drop":
        if flat.all():
            raise DataError(
                f"data.constant: every series is constant over the training span ({names}); nothing is left"
            )
        kept = panel.take(np.flatnonzero(~flat))
        return replace(kept, notes=(*panel.notes, f"{told}: dropped"))
    return replace(panel, notes=(*panel.notes, f"warning: {told}: kept; data.constant: drop leaves them out"))


def _watched(panel: Panel, experiment: Experiment) -> Panel:
    """A span in which no window has a value of every sensor at each of its steps is refused; labels are told of."""
    panel = _omitted(panel) if experiment.data.labelled == "omit" else panel
    lookback, known = longest_lookback(experiment), np.asarray(panel.observed.all(axis=0, keepdims=True))
    for span in ("train", "validation", "test"):
        start, end = panel.spans[span]
        reach = lookback if span == "validation" else 0
        if not len(windows.origins(known, windows.WindowShape(lookback, 1), (start + reach, end))):
            share = panel.observed[:, start:end].mean(axis=1)
            least = int(np.argmin(share))
            raise DataError(
                f"{experiment.data.source}: no window of the {span} span of {end - start} steps has a value of every "
                f"sensor at each of its steps (lookback {lookback} and the one after); '{panel.series[least]}' has "
                f"{100 * share[least]:.0f} % of its values: leave it out with data.sensors, give a longer table, a "
                "shorter lookback or another split"
            )
    if panel.labels is None:
        return panel
    told = [
        f"{span} {int(panel.labels[slice(*panel.spans[span])].sum()):,}" for span in ("train", "validation", "test")
    ]
    learnt = experiment.data.labelled == "learn"
    ends = "the test alone looks at labels" if learnt else "those before the test are left out (labelled: omit)"
    notes = (*panel.notes, f"steps labelled as anomalous: {', '.join(told)}; {ends}")
    early = int(panel.labels[: panel.spans.validation].sum())
    if early and learnt:
        notes += (f"warning: {early:,} labelled steps lie before the test span: they are learnt as if normal",)
    return replace(panel, notes=notes)


def _omitted(panel: Panel) -> Panel:
    """The panel with gaps in all sensors where steps before the test span are labelled."""
    assert panel.labels is not None
    early = panel.labels & (np.arange(len(panel.times)) < panel.spans.validation)
    return replace(panel, target=np.where(early, np.nan, panel.target), observed=panel.observed & ~early)


def trainable_series(panel: Panel, experiment: Experiment) -> np.ndarray:
    """True (series,) where a series has windows to train and to validate a model of its own, in every fold."""
    window, enough = experiment.window, np.ones(len(panel.series), bool)
    settled = gaps.is_settled(panel.target, panel.observed, experiment.data.gaps)
    for spans in panel.folds:
        for span in ("train", "validation"):
            shape = windows.WindowShape(longest_lookback(experiment), window.horizon, window.stride)
            usable = np.isfinite(panel.target)
            index = windows.origins(usable, shape, spans[span], settled=settled, observed=panel.observed)
            enough &= np.isin(np.arange(len(enough)), index[:, 0])
    return enough


def _apart(panel: Panel, experiment: Experiment) -> Panel:
    """Series with models of their own: those never seen in training go, those too short to train on are told."""
    seen = np.isfinite(panel.training_target).any(axis=1)
    if not seen.all():
        names = ", ".join(panel.series[i] for i in np.flatnonzero(~seen)[:5])
        told = f"warning: {int((~seen).sum())} series without a value in the training span ({names}): left out"
        panel = replace(panel.take(np.flatnonzero(seen)), notes=(*panel.notes, told))
    enough = trainable_series(panel, experiment)
    if not enough.any():
        _together(panel, experiment)
        raise DataError(f"{experiment.data.source}: no series has a window to train and to validate on in every fold")
    if enough.all():
        return panel
    names = ", ".join(panel.series[i] for i in np.flatnonzero(~enough)[:5])
    told = (
        f"warning: {int((~enough).sum())} series too short to train a model of their own (lookback "
        f"{longest_lookback(experiment)} + horizon {experiment.window.horizon}): {names}; the seasonal naive, else "
        "the last value, answers for them"
    )
    return replace(panel, notes=(*panel.notes, told))


def _together(panel: Panel, experiment: Experiment) -> Panel:
    for fold in range(len(panel.folds)):
        panel = _whole_enough(_long_enough(panel.fold(fold), experiment), experiment)
    return panel


def _long_enough(panel: Panel, experiment: Experiment) -> Panel:
    lookback, horizon, spans = longest_lookback(experiment), experiment.window.horizon, panel.spans
    for name, needed in (("train", lookback + horizon), ("validation", horizon), ("test", horizon)):
        start, end = spans[name]
        if name == "test" and panel.spans is not panel.folds[-1]:
            continue
        got = np.isfinite(panel.target[:, start:end]).sum(axis=1)
        short = np.flatnonzero(got < needed)
        if len(short):
            worst = short[np.argmin(got[short])]
            raise DataError(
                f"{experiment.data.source}: {_named(panel, worst, len(short))} too short: {int(got[worst])} observed "
                f"steps in the {name} span of {end - start}, {needed} needed (lookback {lookback} + horizon {horizon}"
                f"{'' if name == 'train' else ', whose inputs may lie in the span before'}); give a longer series, "
                "a shorter window, another split, or leave it out with data.select.only"
            )
    return panel


def _whole_enough(panel: Panel, experiment: Experiment) -> Panel:
    """Filled gaps may leave a series, however long, without a window of some span: told, or refused.

    Refused is a series that could not be trained on, and a span in which no series is left.
    """
    window, policy, usable = experiment.window, experiment.data.gaps, np.isfinite(panel.target)
    if not (usable & ~panel.observed).any():
        return panel
    settled = gaps.is_settled(panel.target, panel.observed, policy)
    notes = panel.notes
    for span in ("train", "validation", "test"):
        if span == "test" and panel.spans is not panel.folds[-1]:
            continue
        shape = windows.WindowShape(longest_lookback(experiment), window.horizon, window.stride)
        whole = windows.origins(usable, shape, panel.spans[span])
        honest = windows.origins(usable, shape, panel.spans[span], settled=settled, observed=panel.observed)
        none = np.setdiff1d(whole[:, 0], honest[:, 0])
        if len(none) and (span == "train" or not len(honest)):
            filled = int((usable & ~panel.observed)[none[0]].sum())
            masked = experiment.data.zero_runs == "mask"
            made_up = f"filled (gaps: {policy}){' or masked (zero_runs: mask)' if masked else ''}"
            told_instead = ", write zero_runs: feature" if masked else ""
            ends = " and whose inputs end on an observed step" if policy == "interpolate" else ""
            raise DataError(
                f"{experiment.data.source}: {_named(panel, none[0], len(none))} too broken: {filled} of its "
                f"{len(panel.times)} steps are {made_up}, which leaves no window in the {span} span "
                f"whose targets (horizon {window.horizon}) were all observed{ends}; give the missing steps, a coarser "
                f"data.frequency or a shorter horizon{told_instead}, write gaps: zero if nothing happened then, or "
                "leave it out with data.select.only"
            )
        if len(none):
            names = ", ".join(panel.series[i] for i in none[:5])
            why = "filled or masked steps" if experiment.data.zero_runs == "mask" else "filled gaps"
            notes += (f"warning: {len(none)} series without a window in the {span} span for {why} ({names})",)
    return replace(panel, notes=tuple(dict.fromkeys(notes)))


def longest_lookback(experiment: Experiment) -> int:
    """The longest of all that the runs of `experiment` read."""
    tried = (c for grid in experiment.grid for c in grid.get("lookback", ()))
    return max([experiment.configuration().lookback, *tried])


def _named(panel: Panel, one: int, several: int) -> str:
    """`series 'pear' and 2 other series`, of the `several` of which the one at position `one` is told."""
    others = f" and {several - 1} other series" if several > 1 else ""
    return ("the series" if panel.series[one] == ONLY_SERIES else f"series '{panel.series[one]}'") + others
