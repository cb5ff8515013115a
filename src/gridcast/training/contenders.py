"""Baselines as contenders: their measures on the validation span, and the models that are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.evaluation import forecast_results, metrics
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime.baseline_model import BaselineModel
from gridcast.runtime.baselines import FITTED_BASELINES
from gridcast.runtime.baselines.task import BaselineTask
from gridcast.runtime.likelihoods import QUANTILE
from gridcast.runtime.model_files import BASELINE_FILE, SETTINGS_FILE
from gridcast.runtime.quantiles import Quantiles, trained_levels

Name = TypeVar("Name", str, int)


def forecast_contender(name: str, datasets: Sequence[Dataset]) -> Forecasts:
    """Return the forecasts of the test span by the baseline `name`, with its validation measures, means over the folds.

    The test span is that of the last of `datasets`, one for each fold. Each fold is fitted once, for both spans.
    """
    measured, errors = [], []
    for dataset in datasets:
        lookback = dataset.preprocessing.lookback
        spans = ("validation", "test") if dataset is datasets[-1] else ("validation",)
        forecasts = _forecast(name, dataset, *spans)
        count = len(dataset.origins("validation", lookback))
        validation = _rows(forecasts, slice(0, count))
        measured.append(measure_validation(dataset, validation))
        errors.append(_errors_by_series(dataset, validation))
    return replace(
        _floored(datasets[-1], _rows(forecasts, slice(count, None))),
        validation=_means(measured),
        series_errors=tuple(_means(errors).items()),
    )


def forecast_test(name: str, dataset: Dataset) -> Forecasts:
    """Return the forecasts of the test span alone by the baseline `name`: those of `forecast_contender`."""
    return _floored(dataset, _forecast(name, dataset))


def _forecast(name: str, dataset: Dataset, *spans: str) -> Forecasts:
    """The forecasts of `spans`; with quantiles they are the medians, as every model with quantiles answers."""
    forecasts = forecast_results.forecast_baseline(name, _task(dataset, *spans), dataset.plugins)
    if forecasts.quantiles is None:
        return replace(forecasts, levels=dataset.levels)
    levels, quantiles = list(forecasts.levels), forecasts.quantiles
    return replace(
        forecasts,
        forecast=quantiles[..., levels.index(0.5)],
        quantiles=quantiles[..., [levels.index(level) for level in dataset.levels]],
        levels=dataset.levels,
    )


def _task(dataset: Dataset, *spans: str) -> BaselineTask:
    """The task of a baseline that forecasts the quantiles of the experiment, and the median."""
    task = baseline_task(dataset, dataset.preprocessing.lookback, *spans)
    return replace(task, levels=trained_levels(task.levels)) if task.levels else task


def _floored(dataset: Dataset, forecasts: Forecasts) -> Forecasts:
    """The forecasts, those below the floor of the data raised to it."""
    floored, quantiles = dataset.preprocessing.floored, forecasts.quantiles
    return replace(
        forecasts,
        forecast=floored(forecasts.forecast),
        quantiles=None if quantiles is None else floored(quantiles),
    )


def _errors_by_series(dataset: Dataset, forecasts: Forecasts) -> dict[int, float]:
    """The MAE of each series by its row in the panel."""
    rows = forecasts.index[:, 0]
    errors = np.abs(forecasts.forecast - dataset.targets(forecasts.index)).mean(axis=1)
    return {int(row): float(errors[rows == row].mean()) for row in np.unique(rows)}


def _means(by_fold: Sequence[Mapping[Name, float]]) -> dict[Name, float]:
    """The mean over the folds of what all of them have."""
    common = set.intersection(*map(set, by_fold))
    return {key: float(np.mean([values[key] for values in by_fold])) for key in by_fold[-1] if key in common}


def contender_files(name: str, dataset: Dataset) -> dict[str, bytes]:
    """Return the files of the model of the baseline `name`, fitted to what is trained on in `dataset`."""
    preprocessing, horizon = dataset.preprocessing, dataset.preprocessing.horizon
    task = _task(dataset)
    state = FITTED_BASELINES[name].fit(task) if name in FITTED_BASELINES else {}
    model = BaselineModel(name, preprocessing.lookback, dataset.period, state)
    # No series needs more history in use than the shortest one had in training.
    shortest = int(np.isfinite(dataset.target[:, : dataset.training_end]).sum(axis=1).min())
    wanted = model.min_history(horizon, has_quantiles=bool(task.levels))
    history = max(preprocessing.lookback, min(wanted, shortest))
    content = replace(preprocessing, lookback=history).to_json()
    if dataset.levels:
        content["quantiles"] = Quantiles(QUANTILE, dataset.levels, paths=0).to_json()
    return {SETTINGS_FILE: json.dumps(content).encode(), BASELINE_FILE: model.to_bytes()}


def _rows(forecasts: Forecasts, rows: slice) -> Forecasts:
    """The forecasts of some windows alone."""
    quantiles = None if forecasts.quantiles is None else forecasts.quantiles[rows]
    return replace(forecasts, index=forecasts.index[rows], forecast=forecasts.forecast[rows], quantiles=quantiles)


def measure_validation(dataset: Dataset, forecasts: Forecasts) -> dict[str, float]:
    """Return the finite measures of forecasts of the validation span, by the names that runs have for them."""
    actual, index = dataset.targets(forecasts.index), forecasts.index
    measured = {"best_val_mae": metrics.mae(actual, forecasts.forecast)}
    measured |= validation_measures(dataset, index, forecasts.forecast, forecasts.quantiles)
    if forecasts.quantiles is not None:
        measured["best_val_wql"] = metrics.weighted_quantile_loss(actual, forecasts.quantiles, dataset.levels)
    elif dataset.loss:
        scaled = dataset.preprocessing.target_scaler.transform(forecasts.forecast, index[:, 0])
        losses = metrics.point_losses(dataset.loss, dataset.scaled_targets(index), scaled)
        measured["best_val_loss"] = float(losses.mean())
    return {name: value for name, value in measured.items() if np.isfinite(value)}
