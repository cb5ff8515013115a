"""Forecasts of a span, by a forecaster or a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridcast.config import NO_PLUGINS, Plugins
from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import metrics
from gridcast.models import baselines
from gridcast.models.baselines.plugin_forecast import plugin_forecast
from gridcast.runtime.baseline_model import TargetHistory
from gridcast.runtime.baselines.task import BaselineTask
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.series_ids import find_id

MUST_AGREE = ("target", "frequency", "horizon", "past", "future", "columns")
"""Fields of the preprocessing in which a forecaster must agree with the data that it is tested on."""


@dataclass(frozen=True)
class Forecasts:
    """Forecasts (n, horizon) in data units of the windows `index` (n, 2).

    `quantiles` is (n, horizon, levels), in data units too, where there are `levels`, and `crps` (n, horizon) the
    score of each step where paths were sampled; `notes` are for readers of the forecasts, such as a series that could
    not be fitted. `importance` is what `explanation.explain_forecaster` returns; None where it was not computed.
    `started` is when the work began, in seconds since 1970; 0 where that is unknown. `validation` are measures of the
    validation span, by the names that runs have for them; `series_errors` pairs of a row of the panel and the MAE of
    that series there.
    """

    index: np.ndarray
    forecast: np.ndarray
    levels: tuple[float, ...] = ()
    quantiles: np.ndarray | None = None
    crps: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    importance: dict[str, Any] | None = None
    started: float = 0.0
    validation: Mapping[str, float] = field(default_factory=dict)
    series_errors: tuple[tuple[int, float], ...] = ()


def forecast_span(forecaster: Forecaster, dataset: Dataset, span: str) -> Forecasts:
    """Return the forecasts of `span` by a forecaster that was trained on this `dataset`."""
    history = TargetHistory(dataset.target, dataset.times)
    return _forecast(forecaster, dataset, span, channels=dataset.channels, codes=dataset.series_codes, history=history)


def forecast_test_span(forecaster: Forecaster, dataset: Dataset, panel: Panel) -> Forecasts:
    """Return the forecasts of the test span of `dataset` by a forecaster that was trained on any data.

    It reads the panel through its own preprocessing. Raises GridcastError when it
    forecasts something else: other series, another target, horizon, frequency or covariates.
    """
    theirs, ours = forecaster.preprocessing, dataset.preprocessing
    for name in MUST_AGREE:
        if getattr(theirs, name) != getattr(ours, name):
            raise GridcastError(f"its {name} is {getattr(theirs, name)!r}, here it is {getattr(ours, name)!r}")
    names = [find_id(series, theirs.codes, len(theirs.keys)) for series in panel.series]
    unknown = [series for series, name in zip(panel.series, names, strict=True) if name is None]
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise GridcastError(f"it does not know the series '{unknown[0]}'{others}")
    codes = np.array([theirs.codes[name] for name in names if name is not None])
    channels = theirs.channels(panel.target, panel.covariates, panel.times, codes)
    history = TargetHistory(panel.target, panel.times)
    return _forecast(forecaster, dataset, "test", channels=channels, codes=codes, history=history)


def forecast_baseline(name: str, task: BaselineTask, plugins: Plugins = NO_PLUGINS) -> Forecasts:
    """Return the forecasts of the baseline `name`, gridcast's own or one of `plugins`, for the windows of `task`."""
    plugin = plugins.baselines.get(name)
    forecast = plugin_forecast(plugin, task) if plugin else baselines.BASELINES[name](task)
    return Forecasts(task.index, forecast.point, task.levels, forecast.quantiles, notes=forecast.notes)


def _forecast(
    forecaster: Forecaster,
    dataset: Dataset,
    span: str,
    *,
    channels: np.ndarray,
    codes: np.ndarray,
    history: TargetHistory,
) -> Forecasts:
    """Forecasts of `span` on `channels`, each row of which is the series with that one of the forecaster's `codes`."""
    # A model of a series may read fewer steps than the experiment's lookback. It is still tested on the windows that
    # the baselines have.
    min_lookback = dataset.preprocessing.lookback if forecaster.routes else 1
    index = dataset.origins_by_series(span, np.maximum(forecaster.lookbacks[codes], min_lookback))
    levels = () if forecaster.quantiles is None else forecaster.quantiles.levels
    if getattr(forecaster, "reads_history", False):  # code that an older model carries does not
        answer = forecaster.with_quantiles(channels, index, codes, levels, history=history)
        return Forecasts(index, answer[..., 0], levels, answer[..., 1:] if levels else None)
    if forecaster.quantiles is None:
        return Forecasts(index, forecaster.forecast(channels, index, codes))
    crps = None
    if forecaster.quantiles.sampled and not forecaster.members:
        paths = forecaster.samples_of(channels, index, codes)
        _, scale = forecaster.units_of(channels, index, codes)
        quantiles = forecaster.quantiles.of_samples(paths, scale, (*levels, 0.5))
        crps = metrics.crps(dataset.targets(index), np.moveaxis(paths, 1, 2))
    else:
        quantiles = forecaster.quantiles_of(channels, index, codes, (*levels, 0.5))
    return Forecasts(index, quantiles[..., -1], levels, quantiles[..., :-1], crps)
