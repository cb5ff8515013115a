"""Baselines as contenders: their measures on the validation span, and the models that are made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.evaluation import forecast_results, metrics
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime.baseline_model import BASELINE_KEY, BaselineModel
from gridcast.runtime.baselines import FITTED_BASELINES
from gridcast.runtime.likelihoods import QUANTILE
from gridcast.runtime.model_files import BASELINE_FILE, SETTINGS_FILE
from gridcast.runtime.quantiles import Quantiles, trained_levels


def forecast_contender(name: str, datasets: Sequence[Dataset]) -> Forecasts:
    """Return the forecasts of the test span by the baseline `name`, with its validation measures, means over the folds.

    The test span is that of the last of `datasets`, one for each fold. Each fold is fitted once, for both spans.
    """
    measured = []
    for dataset in datasets:
        lookback = dataset.preprocessing.lookback
        spans = ("validation", "test") if dataset is datasets[-1] else ("validation",)
        forecasts = forecast_results.forecast_baseline(name, baseline_task(dataset, lookback, *spans), dataset.plugins)
        count = len(dataset.origins("validation", lookback))
        measured.append(_measures(dataset, _rows(forecasts, slice(0, count))))
    common = set.intersection(*map(set, measured))
    means = {key: float(np.mean([measures[key] for measures in measured])) for key in measured[-1] if key in common}
    return replace(_rows(forecasts, slice(count, None)), validation=means)


def contender_files(name: str, dataset: Dataset) -> dict[str, bytes]:
    """Return the files of the model of the baseline `name`, fitted to the training span of `dataset`."""
    preprocessing, horizon = dataset.preprocessing, dataset.preprocessing.horizon
    task = baseline_task(dataset, preprocessing.lookback)
    if task.levels:
        task = replace(task, levels=trained_levels(task.levels))
    state = FITTED_BASELINES[name].fit(task) if name in FITTED_BASELINES else {}
    model = BaselineModel(name, preprocessing.lookback, dataset.period, state)
    # No series needs more history in use than the shortest one had in training.
    shortest = int(np.isfinite(dataset.target[:, : dataset.spans.train]).sum(axis=1).min())
    wanted = model.min_history(horizon, has_quantiles=bool(task.levels))
    history = max(preprocessing.lookback, min(wanted, shortest))
    content = replace(preprocessing, lookback=history).to_json() | {BASELINE_KEY: model.to_json()}
    if dataset.levels:
        content["quantiles"] = Quantiles(QUANTILE, dataset.levels, paths=0).to_json()
    return {SETTINGS_FILE: json.dumps(content).encode(), BASELINE_FILE: model.to_bytes()}


def _rows(forecasts: Forecasts, rows: slice) -> Forecasts:
    """The forecasts of some windows alone."""
    quantiles = None if forecasts.quantiles is None else forecasts.quantiles[rows]
    return replace(forecasts, index=forecasts.index[rows], forecast=forecasts.forecast[rows], quantiles=quantiles)


def _measures(dataset: Dataset, forecasts: Forecasts) -> dict[str, float]:
    """The measures of forecasts of the validation span by the names that runs have for them, where they are finite."""
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
