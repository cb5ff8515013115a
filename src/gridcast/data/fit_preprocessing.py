"""Fit the preprocessing of a model on the training span of a panel."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.config import Experiment
from gridcast.data.check_windows import longest_lookback
from gridcast.data.panel import Panel
from gridcast.runtime import lag_features, scaling, time_axis, zero_runs
from gridcast.runtime.calendar_features import TREND
from gridcast.runtime.preprocessing import Preprocessing


def fit_preprocessing(panel: Panel, experiment: Experiment, lookback: int) -> Preprocessing:
    """Everything about `panel` that a model needs in use, fitted on the training span."""
    data, options, train = experiment.data, experiment.transform, slice(*panel.spans["train"])
    columns = panel.covariates[:, train]
    # Covariates are always scaled: `none` speaks of the target.
    method = "standard" if options.scale == "none" else options.scale
    weekdays = time_axis.usual_weekdays(panel.times[train], data.frequency, data.calendar)
    scaler = scaling.fit(panel.training_target, options.scale, options.log1p)
    return Preprocessing(
        time=data.time,
        keys=data.series,
        target=data.target,
        past=data.past,
        future=data.future,
        frequency=data.frequency,
        calendar=data.calendar,
        gaps=data.gaps,
        weekdays=weekdays,
        series=panel.series,
        lookback=lookback,
        horizon=experiment.window.horizon,
        target_scaler=scaler,
        scalers=tuple(scaling.fit(columns[:, :, k], method) for k in range(columns.shape[2])),
        static=tuple(map(tuple, panel.static.tolist())),
        fallback=tuple(map(tuple, np.median(columns, axis=1).tolist())),
        # Where every step is given for every series, each table shows the whole calendar.
        closed_dates=None if data.gaps == "error" else time_axis.closed_dates(panel.times, weekdays),
        marked_days=panel.marked_days,
        training_span=(str(panel.times[train][0]), str(panel.times[train][-1])) if TREND in data.future else None,
        aggregate=data.aggregate,
        categories=tuple(zip(data.static, panel.vocabularies, strict=True)),
        zero_run_limits=tuple(zero_runs.habitual_lengths(panel.training_target).tolist())
        if data.zero_runs == "feature"
        else (),
        **(_lagged(panel, experiment, scaler.scale) if experiment.task == "probabilistic" else {}),
    )


def _lagged(panel: Panel, experiment: Experiment, scale: np.ndarray) -> dict[str, Any]:
    """Settings of the further inputs of a probabilistic network: lags that fit into the training span, and ages."""
    most = panel.spans.train - experiment.window.horizon - longest_lookback(experiment)
    begins = panel.times[np.argmax(np.isfinite(panel.target), axis=1)]
    return {
        "lags": lag_features.useful_lags(experiment.data.frequency, most),
        "series_starts": tuple(map(str, begins)),
        "step_seconds": float(np.median(np.diff(panel.times.to_numpy("datetime64[s]")).astype(float))),
        "typical_scale": float(np.exp(np.log(scale).mean())),
    }
