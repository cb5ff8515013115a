"""Fit the preprocessing of a model on the training span of a panel."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.config import READING_KEYS, Experiment, Transform
from gridcast.data.check_windows import longest_lookback
from gridcast.data.panel import Panel
from gridcast.runtime import lag_features, local_time, scaling, time_axis, zero_runs
from gridcast.runtime.calendar_features import TREND
from gridcast.runtime.preprocessing import Preprocessing


def fit_preprocessing(panel: Panel, experiment: Experiment, lookback: int) -> Preprocessing:
    """Return everything about `panel` that a model needs in use, fitted on the training span."""
    data, options, train = experiment.data, experiment.transform, slice(*panel.spans["train"])
    training_times, covariates = panel.times[train], panel.covariates[:, train]
    rule = panel.steps
    weekdays = rule.weekdays
    if rule.calendar == "observed":
        weekdays = time_axis.usual_weekdays(training_times, rule.frequency, rule.calendar)
    target_scaler = scaling.fit(panel.training_target, options.scale, options.log1p)
    limits = zero_runs.habitual_lengths(panel.training_target) if data.zero_runs == "feature" else np.zeros(0, int)
    is_probabilistic = experiment.task == "probabilistic"
    return Preprocessing(
        time=data.time,
        keys=data.series,
        target=data.target,
        past=data.past,
        future=data.future,
        frequency=rule.frequency,
        calendar=rule.calendar,
        anchor=rule.anchor,
        phase=rule.phase,
        loose=rule.loose,
        sessions=rule.sessions,
        time_zone=data.time_zone or local_time.OWN_OFFSETS,
        gaps=data.gaps,
        weekdays=weekdays,
        series=panel.series,
        lookback=lookback,
        horizon=experiment.window.horizon,
        target_scaler=target_scaler,
        scalers=tuple(scaling.fit_bounded(column, _covariate_scale(options)) for column in _columns(covariates)),
        static=tuple(map(tuple, panel.static.tolist())),
        fallback=tuple(map(tuple, np.median(covariates, axis=1).tolist())),
        # Where every series has every step, each table in use shows the whole calendar.
        closed_dates=None if data.gaps == "error" else time_axis.closed_dates(panel.times, weekdays),
        marked_days=panel.marked_days,
        training_span=(str(training_times[0]), str(training_times[-1])) if TREND in data.future else None,
        aggregate=data.aggregate,
        categories=tuple(zip(data.static, panel.vocabularies, strict=True)),
        zero_run_limits=tuple(limits.tolist()),
        dialect=panel.dialect,
        reading=data.model_dump(mode="json", include={*READING_KEYS, "query"}, exclude_defaults=True),
        repeated=data.repeated,
        left_out=panel.left_out,
        too_short=panel.too_short,
        floor=_floor(panel, experiment),
        longest_runs=_longest_runs(panel.training_target) if experiment.task == "anomaly" else (),
        **(_probabilistic_fields(panel, experiment, target_scaler.scale) if is_probabilistic else {}),
    )


def bounds_change_covariates(panel: Panel, experiment: Experiment) -> bool:
    """Return whether some covariate is read otherwise than before covariates had bounds and pooled scales.

    Where it is not, runs and baselines of before have the same weights and forecasts.
    """
    method = _covariate_scale(experiment.transform)
    for column in _columns(panel.covariates):
        train = column[:, slice(*panel.spans["train"])]
        scalers = (scaling.fit(train, method), scaling.fit_bounded(train, method))
        before, now = (scaler.transform(column).astype(np.float32) for scaler in scalers)
        if not np.array_equal(before, now, equal_nan=True):
            return True
    return False


def _covariate_scale(options: Transform) -> str:
    """How covariates are scaled, which they always are: `scale: none` is about the target."""
    return "standard" if options.scale == "none" else options.scale


def _columns(covariates: np.ndarray) -> list[np.ndarray]:
    """The columns (series, steps) of `covariates` (series, steps, columns)."""
    return list(np.moveaxis(covariates, 2, 0))


def _floor(panel: Panel, experiment: Experiment) -> float | None:
    """The lowest forecast: 0 where no value before the test span is negative, if the experiment has such a floor."""
    if experiment.task == "anomaly" or experiment.transform.floor == "none":
        return None
    before = slice(0, panel.spans.validation)
    return None if (panel.target[:, before][panel.observed[:, before]] < 0).any() else 0.0


def _longest_runs(values: np.ndarray) -> tuple[int, ...]:
    """The longest run of one value in each row of `values` (series, steps), NaN left out."""
    longest = []
    for row in values:
        present = row[np.isfinite(row)]
        starts = np.flatnonzero(np.diff(present, prepend=np.nan) != 0)
        longest.append(int(np.diff(starts, append=len(present)).max(initial=0)))
    return tuple(longest)


def _probabilistic_fields(panel: Panel, experiment: Experiment, scale: np.ndarray) -> dict[str, Any]:
    """Fields that only probabilistic networks read: lags that fit into the training span, and ages of series."""
    max_lag = panel.spans.train - experiment.window.horizon - longest_lookback(experiment)
    starts = panel.times[np.argmax(np.isfinite(panel.target), axis=1)]
    return {
        "lags": lag_features.useful_lags(panel.steps.frequency, max_lag),
        "series_starts": tuple(map(str, starts)),
        "step_seconds": float(np.median(np.diff(panel.times.to_numpy("datetime64[s]")).astype(float))),
        "typical_scale": float(np.exp(np.log(scale).mean())),
    }
