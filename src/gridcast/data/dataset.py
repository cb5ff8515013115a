"""What all runs of a sweep share: made once, sent once to each worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gridcast.config import Anomaly, Configuration, Experiment, Probabilistic, Training
from gridcast.data import series_statistics
from gridcast.data.check_windows import longest_lookback
from gridcast.data.fit_preprocessing import fit_preprocessing
from gridcast.data.panel import Panel
from gridcast.data.splits import Spans
from gridcast.runtime import detector, gaps, windows
from gridcast.runtime.preprocessing import Preprocessing


@dataclass(frozen=True)
class Dataset:
    """The panel in network units, with the windows of each span.

    `channels` (series, steps, channels) float32; `target` (series, steps) in data units, and its
    mask `observed`: False where a value is missing or made up, which is never forecast or scored;
    `category_sizes` counts the codes of each static column, the unseen one included; `times` are the
    stamps of the steps, and `levels` the quantiles that are forecast, if any.
    Where anomalies are looked for, the channels of one row are the sensors, whose windows begin anew `validation_gap` steps
    after training.
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

    def origins(self, span: str, lookback: int, series: str | None = None) -> np.ndarray:
        """Windows (n, 2) whose targets lie in `span`, observed all; their inputs know nothing of their future.

        Those of one `series`, or of all; of sensors, which are read together, those in which all of them are observed.
        """
        own, first = self.preprocessing, 0 if series is None else self.preprocessing.series.index(series)
        shape = windows.WindowShape(lookback, own.horizon, self.stride)
        rows = slice(first, None if series is None else first + 1)
        target, observed = self.target[rows], self.observed[rows]
        if self.anomaly is not None:
            whole, (start, end) = np.asarray(observed.all(axis=0, keepdims=True)), self.spans[span]
            start += self.validation_gap if span == "validation" else 0
            return windows.origins(whole, shape, (start, end))
        index = windows.origins(
            np.isfinite(target),
            shape,
            self.spans[span],
            settled=gaps.is_settled(target, observed, own.gaps),
            observed=observed,
        )
        index[:, 0] += first
        return index

    def origins_by_series(self, span: str, lookbacks: Sequence[int]) -> np.ndarray:
        """Windows (n, 2) of `span`, of each series with as many inputs as its entry in `lookbacks` (series,) says."""
        if len(set(lookbacks)) == 1:
            return self.origins(span, int(lookbacks[0]))
        pairs = zip(lookbacks, self.preprocessing.series, strict=True)
        return np.concatenate([self.origins(span, int(lookback), series) for lookback, series in pairs])

    def preprocessing_for(self, settings: Configuration, series: str | None = None) -> Preprocessing:
        """The preprocessing for a network with these `settings`, of one `series` or of all."""
        own = replace(self.preprocessing, lookback=settings.lookback, centred=settings.centred)
        if settings.detector is not None and settings.scaling == "standard":
            own = replace(
                own, window_spreads=windows.typical_spreads(self.channels[0, : self.spans.train], settings.lookback)
            )
        return own if series is None else own.for_series(series)

    def learning_rate(self, settings: Configuration, epoch: int) -> float:
        """That of `epoch`, from 0. Source of the cosine: Loshchilov and Hutter (2017), "SGDR", without restarts."""
        if self.training.decay == "none":
            return settings.learning_rate
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.training.epochs))

    def targets(self, index: np.ndarray) -> np.ndarray:
        """Targets (n, horizon) of the windows `index`, in data units."""
        return windows.future(self.target, index, self.preprocessing.horizon)

    def scaled_targets(self, index: np.ndarray) -> np.ndarray:
        """Targets (n, horizon) of the windows `index`, in network units."""
        return windows.future(self.channels[:, :, 0], index, self.preprocessing.horizon)

    @property
    def steps_per_day(self) -> float:
        """Steps of a day."""
        return float(86400 / np.median(np.diff(self.times.to_numpy("datetime64[s]")).astype(float)))

    @property
    def series_codes(self) -> np.ndarray:
        """Code of the series in each row (series,)."""
        return np.arange(len(self.channels))


def build_dataset(panel: Panel, experiment: Experiment) -> Dataset:
    """The dataset of `experiment` on `panel`."""
    own, anomaly = fit_preprocessing(panel, experiment, experiment.window.lookback), experiment.task == "anomaly"
    given, frequency = (panel.target, panel.covariates, panel.times), experiment.data.frequency
    period = experiment.data.period or (
        None if anomaly else series_statistics.find_period(panel.training_target, frequency)
    )
    return Dataset(
        preprocessing=own,
        channels=detector.scaled_values(own, panel.target.T)[None] if anomaly else own.channels(*given),
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
        anomaly=experiment.anomaly if anomaly else None,
        validation_gap=longest_lookback(experiment) if anomaly else 0,
    )
