"""The test span, touched once: forecasts beside actual values, and every measure made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import metrics
from gridcast.models import baselines
from gridcast.models.baselines.task import BaselineTask
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.forecaster import Forecaster


@dataclass(frozen=True)
class Forecasts:
    """Forecasts (n, horizon) in data units of the windows `index` (n, 2).

    `quantiles` is (n, horizon, levels), in data units too, where there are `levels`, and `crps` (n, horizon) the
    score of each step where paths were sampled; `notes` tell what a
    reader of the forecasts must know, such as a series that could not be fitted. `importance` is what the
    forecaster leans on, as `training.explanation` tells it; None where nobody asked.
    """

    index: np.ndarray
    forecast: np.ndarray
    levels: tuple[float, ...] = ()
    quantiles: np.ndarray | None = None
    crps: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    importance: dict[str, Any] | None = None


def forecast_windows(
    forecaster: Forecaster, channels: np.ndarray, index: np.ndarray, series: np.ndarray, actual: np.ndarray
) -> Forecasts:
    """What `forecaster` says of the windows `index` (n, 2) on `channels`, of which each row is one of `series`.

    `actual` (n, horizon) is what came, by which sample paths are scored.
    """
    if forecaster.quantiles is None:
        return Forecasts(index, forecaster.forecast(channels, index, series))
    levels, crps = forecaster.quantiles.levels, None
    if forecaster.quantiles.sampled and not forecaster.members:
        drawn = forecaster.samples_of(channels, index, series)
        _, scale = forecaster.units_of(channels, index, series)
        found = forecaster.quantiles.of_samples(drawn, scale, (*levels, 0.5))
        crps = metrics.crps(actual, np.moveaxis(drawn, 1, 2))
    else:
        found = forecaster.quantiles_of(channels, index, series, (*levels, 0.5))
    return Forecasts(index, found[..., -1], levels, found[..., :-1], crps)


def forecast_baseline(name: str, task: BaselineTask) -> Forecasts:
    """What the baseline `name` says of the windows of `task`."""
    found = baselines.BASELINES[name](task)
    return Forecasts(task.index, found.point, task.levels, found.quantiles, notes=found.notes)


def forecast_test_span(forecaster: Forecaster, dataset: Dataset, panel: Panel) -> Forecasts:
    """Forecasts of the test span of `dataset` by a forecaster that was trained on whatever data.

    It reads the panel through its own preprocessing. Raises GridcastError when it
    forecasts something else: other series, another target, horizon, frequency or covariates.
    """
    own, here = forecaster.preprocessing, dataset.preprocessing
    for field in ("target", "frequency", "horizon", "past", "future", "columns"):
        if getattr(own, field) != getattr(here, field):
            raise GridcastError(f"its {field} is {getattr(own, field)!r}, here it is {getattr(here, field)!r}")
    unknown = [series for series in panel.series if series not in own.series]
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise GridcastError(f"it does not know the series '{unknown[0]}'{others}")
    codes = np.array([own.series.index(series) for series in panel.series])
    channels = own.channels(panel.target, panel.covariates, panel.times, codes)
    # A rule that reads little is to be tested on the windows that the baselines have.
    least = here.lookback if forecaster.routes else 1
    index = dataset.origins_by_series("test", np.maximum(forecaster.lookbacks[codes], least))
    return forecast_windows(forecaster, channels, index, codes, dataset.targets(index))
