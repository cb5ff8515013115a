"""The dataset that all runs of a sweep share: built once, sent once to each worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from gridcast.config import NO_PLUGINS, Anomaly, Configuration, Experiment, Metric, Plugins, Probabilistic, Training
from gridcast.config.selection_metrics import followed_metric
from gridcast.data import series_statistics
from gridcast.data.check_windows import longest_lookback
from gridcast.data.fit_preprocessing import fit_preprocessing
from gridcast.data.panel import Panel
from gridcast.data.splits import Spans
from gridcast.runtime import detector, gaps, windows
from gridcast.runtime.naive_scale import naive_scale
from gridcast.runtime.preprocessing import Preprocessing


@dataclass(frozen=True)
class Dataset:
    """The panel in network units, with the windows of each span.

    - `channels` (series, steps, channels), float32, in network units; of a detector, the one row has a channel for
      each sensor.
    - `target` (series, steps) in data units, and its mask `observed`: False where a value is missing or made up; such a
      step is never forecast or scored.
    - `times`: the stamps of the steps. `levels`: the quantiles to forecast, if any.
    - `category_sizes`: the number of codes of each static column, with the one for unseen categories.
    - `period`: the seasonal period in steps that baselines use, if there is one.
    - `validation_gap`: steps between the training span and the first validation window of a detector, so that no
      window reaches back into training; 0 for forecasts, whose inputs may.
    - `followed_metric`: the metric that is computed after every epoch, because the search compares runs before their
      end by it; empty where it is the loss or the MAE of training.
    - `selected_by`: the metric by which runs are ranked.
    - `is_refit`: whether the validation span is trained on too; scalers are those of the training span still.
    - `loss`: that by which all networks of values are trained; empty where they differ in it, or have likelihoods.
    - `training`, `probabilistic`, `anomaly`: these sections of the experiment. `plugins`: those that it may name.
    """

    preprocessing: Preprocessing
    channels: np.ndarray
    target: np.ndarray
    observed: np.ndarray
    times: pd.DatetimeIndex
    levels: tuple[float, ...]
    spans: Spans
    stride: int
    period: int | None
    category_sizes: tuple[int, ...]
    training: Training
    probabilistic: Probabilistic
    anomaly: Anomaly | None = None
    validation_gap: int = 0
    followed_metric: str = ""
    selected_by: str = ""
    loss: str = ""
    is_refit: bool = False
    plugins: Plugins = NO_PLUGINS

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of one's own by name, which every run is measured by on the validation span."""
        return self.plugins.metric_functions

    @cached_property
    def naive_scales(self) -> np.ndarray:
        """The unit of MASE of each series (series,), from its training span."""
        train = slice(0, self.spans.train)
        return naive_scale(np.where(self.observed[:, train], self.target[:, train], np.nan))

    @property
    def training_end(self) -> int:
        """The step after the last one that is trained on."""
        return self.spans.validation if self.is_refit else self.spans.train

    def origins(self, span: str, lookback: int, series: str | None = None) -> np.ndarray:
        """Return the windows (n, 2), pairs of series and origin, whose targets lie in `span` and are all observed.

        No input depends on a step at or after the origin. The windows are those of one `series`, or of all. A detector
        reads all sensors together: its windows are those in which each of them is observed at every step.
        """
        preprocessing = self.preprocessing
        first = 0 if series is None else preprocessing.series.index(series)
        rows = slice(first, None if series is None else first + 1)
        target, observed = self.target[rows], self.observed[rows]
        shape = windows.WindowShape(lookback, preprocessing.horizon, self.stride)
        start, end = self.spans[span]
        if span == "train":
            end = self.training_end
        if self.anomaly is not None:
            is_complete = np.asarray(observed.all(axis=0, keepdims=True))
            start += self.validation_gap if span == "validation" else 0
            return windows.origins(is_complete, shape, (start, end))
        settled = gaps.is_settled(target, observed, preprocessing.gaps)
        index = windows.origins(np.isfinite(target), shape, (start, end), settled=settled, observed=observed)
        index[:, 0] += first
        return index

    def origins_by_series(self, span: str, lookbacks: Sequence[int]) -> np.ndarray:
        """Return the windows (n, 2) of `span`; those of each series read its number of steps in `lookbacks` (series,).

        Ordered by series, then by time.
        """
        if len(set(lookbacks)) == 1:
            return self.origins(span, int(lookbacks[0]))
        pairs = zip(lookbacks, self.preprocessing.series, strict=True)
        return np.concatenate([self.origins(span, int(lookback), series) for lookback, series in pairs])

    def preprocessing_for(self, settings: Configuration, series: str | None = None) -> Preprocessing:
        """Return the preprocessing of a network with these `settings`, for one `series` or for all."""
        preprocessing = replace(self.preprocessing, lookback=settings.lookback, centred=settings.centred)
        if settings.detector is not None and settings.scaling == "standard":
            spreads = windows.typical_spreads(self.channels[0, : self.spans.train], settings.lookback)
            preprocessing = replace(preprocessing, window_spreads=spreads)
        if settings.window_scaling != "none":
            preprocessing = replace(preprocessing, window_spreads=(self._usual_spread(settings.lookback),))
        return preprocessing if series is None else preprocessing.for_series(series)

    def _usual_spread(self, lookback: int) -> float:
        """The usual spread of windows of the target, in scaled units: one for all series, which share programs."""
        if lookback not in self._usual_spreads:
            spreads = windows.typical_spreads(self.channels[:, : self.spans.train, 0].T, lookback)
            self._usual_spreads[lookback] = float(np.median(spreads))
        return self._usual_spreads[lookback]

    @cached_property
    def _usual_spreads(self) -> dict[int, float]:
        """Those of each lookback that were computed before."""
        return {}

    def epochs_of(self, settings: Configuration) -> int:
        """Return the most epochs that a network with these `settings` is trained."""
        return settings.epochs or self.training.epochs

    def learning_rate(self, settings: Configuration, epoch: int) -> float:
        """Return the learning rate of `epoch`, counted from 0.

        Source of the cosine: Loshchilov and Hutter (2017), "SGDR", without restarts.
        """
        if self.training.decay == "none":
            return settings.learning_rate
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs_of(settings)))

    def targets(self, index: np.ndarray) -> np.ndarray:
        """Return the targets (n, horizon) of the windows `index` (n, 2), in data units."""
        return windows.future(self.target, index, self.preprocessing.horizon)

    def scaled_targets(self, index: np.ndarray) -> np.ndarray:
        """Return the targets (n, horizon) of the windows `index` (n, 2), in network units."""
        return windows.future(self.channels[:, :, 0], index, self.preprocessing.horizon)

    @property
    def steps_per_day(self) -> float:
        """Number of steps in a day, from the median distance of two steps."""
        return float(86400 / np.median(np.diff(self.times.to_numpy("datetime64[s]")).astype(float)))

    @property
    def promise(self) -> float | None:
        """The false alarms per step that a detector promises, None without a promise."""
        per_day = None if self.anomaly is None else self.anomaly.promised_per_day
        return None if per_day is None else per_day / self.steps_per_day

    @property
    def series_codes(self) -> np.ndarray:
        """Code of the series in each row of `channels` (series,)."""
        return np.arange(len(self.channels))


def build_dataset(panel: Panel, experiment: Experiment) -> Dataset:
    """Return the dataset of `experiment` on `panel`."""
    preprocessing = fit_preprocessing(panel, experiment, experiment.window.lookback)
    is_anomaly = experiment.task == "anomaly"
    if is_anomaly:
        channels = detector.scaled_values(preprocessing, panel.target.T)[None]
        period = experiment.data.period
    else:
        channels = preprocessing.channels(panel.target, panel.covariates, panel.times)
        period = experiment.data.period or series_statistics.find_period(panel.training_target, panel.steps.frequency)
    return Dataset(
        preprocessing=preprocessing,
        channels=channels,
        target=panel.target,
        observed=panel.observed,
        times=panel.times,
        levels=experiment.probabilistic.quantiles if experiment.task == "probabilistic" else (),
        spans=panel.spans,
        stride=experiment.window.stride,
        period=period,
        category_sizes=tuple(len(vocabulary) + 1 for vocabulary in panel.vocabularies),
        training=experiment.training,
        probabilistic=experiment.probabilistic,
        anomaly=experiment.anomaly if is_anomaly else None,
        validation_gap=longest_lookback(experiment) if is_anomaly else 0,
        loss=_common_loss(experiment),
        selected_by=experiment.selection.metric,
        followed_metric=followed_metric(experiment.selection.metric, experiment.task, experiment.search.strategy),
        plugins=experiment.plugins,
    )


def _common_loss(experiment: Experiment) -> str:
    losses = experiment.trained_values("loss") if experiment.task == "forecast" else ()
    return str(*losses) if len(losses) == 1 else ""
