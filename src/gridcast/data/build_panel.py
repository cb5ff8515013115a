"""Build the panel of an experiment from its table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridcast.config import Experiment
from gridcast.data import holidays
from gridcast.data.answer_names import check_answer_names
from gridcast.data.check_covariates import with_constant_covariate_notes
from gridcast.data.check_sensors import check_sensors
from gridcast.data.check_spreads import with_spread_warning
from gridcast.data.check_windows import check_series, check_series_with_own_models, without_short_series
from gridcast.data.fill_gaps import fill_covariates, fill_gaps, treat_zero_runs
from gridcast.data.panel import Panel
from gridcast.data.place_rows import place_rows
from gridcast.data.table import SERIES, Table
from gridcast.runtime import calendar_features, local_time
from gridcast.runtime.errors import ConfigError, DataError
from gridcast.runtime.target_range import COUNTS, LOGARITHM, TargetRange


def build_panel(table: Table, experiment: Experiment) -> Panel:
    """Return the panel of `table`: on its axis, with gaps filled and series selected as the experiment says, checked.

    Everything estimated here, once for all folds, uses the training span of the first fold: it lies within those of
    the others where folds are `expanding`, and before them otherwise.

    Raises DataError that names file, line and remedy: a (series, time) that occurs twice, a stamp off a regular axis, a
    missing step under `gaps: error`, a series too short for its windows.
    """
    data = experiment.data
    check_answer_names(experiment)
    _check_calendar_names(experiment)
    panel = _with_marked_days(place_rows(table, experiment), experiment)
    if data.select.top is not None:
        panel = _select_top(panel, data.select.top, data.source)
    panel = fill_covariates(fill_gaps(panel, table, data.gaps))
    panel = treat_zero_runs(panel, data.zero_runs)
    panel = _with_static_codes(panel, table, data.static)
    panel = with_spread_warning(_treat_constant_series(panel, data.constant), experiment.transform)
    panel = replace(panel, spans=panel.folds[-1])
    if data.short == "drop":
        panel = without_short_series(panel, experiment)
    if experiment.mode == "global":
        panel = check_series(panel, experiment)
    else:
        panel = check_series_with_own_models(panel, experiment)
    panel = with_constant_covariate_notes(panel, data)
    if experiment.task == "anomaly":
        panel = check_sensors(panel, experiment)
    if "negative-binomial" in experiment.axis_values("likelihood"):
        _check_range(panel, COUNTS, "likelihood", "likelihood: student-t")
    if experiment.transform.log1p:
        _check_range(panel, LOGARITHM, "transform.log1p", "log1p: false")
    return panel


def _check_calendar_names(experiment: Experiment) -> None:
    try:
        calendar_features.check_names(experiment.data.future)
    except ValueError as error:
        raise ConfigError(f"data.future: {error}") from None


def _with_marked_days(panel: Panel, experiment: Experiment) -> Panel:
    """The panel with the days of holidays and events."""
    data, times = experiment.data, panel.times
    if local_time.has_zoned_axis(data.time_zone or local_time.OWN_OFFSETS, panel.steps.frequency):
        times = local_time.wall_clock(times, data.time_zone or local_time.OWN_OFFSETS)
    marked_days = holidays.find_marked_days(data.future, times)
    notes = holidays.coverage_notes(marked_days, times[: panel.spans.train], panel.steps.frequency)
    return replace(panel, marked_days=marked_days, notes=(*panel.notes, *notes))


def _select_top(panel: Panel, top: int, source: str) -> Panel:
    """The `top` series by their total over the training span: a ranking over all steps would look ahead."""
    if top > len(panel.series):
        raise DataError(f"data.select.top: {top} series requested, {source} has {len(panel.series)}")
    totals = np.nansum(panel.training_target, axis=1)
    return panel.take(np.argsort(-totals, kind="stable")[:top])


def _with_static_codes(panel: Panel, table: Table, columns: tuple[str, ...]) -> Panel:
    """The panel with the code of each series' category in each of `columns`; 0 is for categories unseen in training."""
    if not columns:
        return panel
    codes, vocabularies = [], []
    for column in columns:
        by_series = table.rows.groupby(SERIES)[column].first().astype(str)
        categories = by_series[list(panel.series)]
        vocabulary = tuple(sorted(set(categories)))
        vocabularies.append(vocabulary)
        codes.append([vocabulary.index(category) + 1 for category in categories])
    return replace(panel, static=np.array(codes, np.int32).T, vocabularies=tuple(vocabularies))


def _treat_constant_series(panel: Panel, treatment: str) -> Panel:
    """The panel without series constant over the training span, or with a warning about them."""
    training = panel.training_target
    is_finite = np.isfinite(training)
    low = np.min(training, axis=1, where=is_finite, initial=np.inf)
    high = np.max(training, axis=1, where=is_finite, initial=-np.inf)
    is_constant = is_finite.any(axis=1) & (low == high)
    if not is_constant.any():
        return panel
    names = ", ".join(panel.series[i] for i in np.flatnonzero(is_constant)[:5])
    note = f"{int(is_constant.sum())} series constant over the training span ({names})"
    if treatment == "keep":
        return replace(panel, notes=(*panel.notes, f"warning: {note}: kept; data.constant: drop leaves them out"))
    if is_constant.all():
        raise DataError(f"data.constant: every series is constant over the training span ({names}); nothing is left")
    return replace(panel.take(np.flatnonzero(~is_constant)), notes=(*panel.notes, f"{note}: dropped"))


def _check_range(panel: Panel, needed: TargetRange, setting: str, remedy: str) -> None:
    """Raise DataError where an observed value cannot be read; a filled one need not be, as it is never scored."""
    values = np.where(panel.observed, panel.target, np.nan).ravel()
    outside = needed.outside(values)
    if len(outside):
        series, step = divmod(int(outside[0]), len(panel.times))
        count = f" ({len(outside):,} such values in all)" if len(outside) > 1 else ""
        raise DataError(
            f"{setting}: {_value_at(panel, series, step)}, and {needed.reader} needs {needed.needed}{count}; write "
            f"{remedy}"
        )


def _value_at(panel: Panel, series: int, step: int) -> str:
    value, time = panel.target[series, step], panel.times[step]
    return f"series '{panel.series[series]}' is {value:g} at {time:%Y-%m-%d %H:%M}"
