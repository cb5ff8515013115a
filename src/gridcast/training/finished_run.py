"""The result of a run that has been trained to its end, the same for both training engines."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from gridcast.config import Configuration, Plugin
from gridcast.config.grid import Run
from gridcast.config.selection_metrics import curve_name
from gridcast.data.dataset import Dataset
from gridcast.evaluation import metrics
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.models.recurrent import NetworkShape
from gridcast.runtime.model_files import NETWORK_FILE, SETTINGS_FILE
from gridcast.training import calibration, objectives
from gridcast.training.carried_code import carried_code
from gridcast.training.result import TrainingResult
from gridcast.training.run_state import CURVES
from gridcast.training.training_series import detector_content


@dataclass(frozen=True)
class FinishedTraining:
    """The outcome of training by either engine: `curves` by epoch, `seconds`, `times`, and the epoch that was best.

    Of that epoch come the `best_weights`, see `objectives.final_weights`, and the `validation_output` (n, horizon) of
    the run's objective for each window of the validation span.
    """

    best_weights: Sequence[np.ndarray]
    validation_output: np.ndarray
    curves: dict[str, tuple[float, ...]]
    seconds: float
    times: tuple[float, ...]


def curve_names(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the curves by epoch that a run on `dataset` leaves."""
    return (*CURVES, curve_name(dataset.followed_metric)) if dataset.followed_metric else CURVES


def followed_value(dataset: Dataset, run: Run, output: np.ndarray) -> float:
    """Return the followed metric of a point forecaster whose `output` (n, horizon) is of the validation span.

    NaN where it is not finite, and where none is followed.
    """
    if not dataset.followed_metric:
        return float("nan")
    index = dataset.origins("validation", run.configuration.lookback, run.series)
    forecast = dataset.preprocessing.target_scaler.inverse(np.asarray(output, float), index[:, 0])
    return validation_measures(dataset, index, forecast).get(dataset.followed_metric, float("nan"))


def training_result(dataset: Dataset, run: Run, finished: FinishedTraining) -> TrainingResult:
    """Return metrics, validation losses and model files of `run`; quantiles and thresholds are calibrated here."""
    settings, curves = run.configuration, finished.curves
    index = dataset.origins("validation", settings.lookback, run.series)
    objective = objectives.objective_of(dataset, run)
    network = _portable_network(objective)
    for variable, value in zip(objectives.final_weights(objective, network), finished.best_weights, strict=True):
        variable.assign(value)
    content = dataset.preprocessing_for(settings, run.series).to_json()
    best_epoch, steps = int(np.argmin(curves["val_loss"])), np.unique(index[:, 1])
    series_errors: dict[int, float] = {}
    if settings.detector is not None:
        losses = finished.validation_output.mean(axis=1)
        measured, detector = calibration.calibrate_detector(dataset, settings, network)
        measured["best_val_mae"] = curves["val_mae"][best_epoch]
        content = detector_content(detector, dataset)
        steps = steps[steps % dataset.preprocessing.lookback == 0]  # of windows that share no step
    elif settings.likelihood is None:
        scaled = finished.validation_output
        forecast = dataset.preprocessing.target_scaler.inverse(np.asarray(scaled, float), index[:, 0])
        losses = metrics.point_losses(settings.loss, dataset.scaled_targets(index), scaled).mean(axis=1)
        errors = np.abs(forecast - dataset.targets(index)).mean(axis=1)
        measured = {"best_val_mae": float(errors.mean())} | validation_measures(dataset, index, forecast)
        series_errors = {int(row): float(errors[index[:, 0] == row].mean()) for row in np.unique(index[:, 0])}
    else:
        losses = finished.validation_output.mean(axis=1)
        measured, quantiles = calibration.calibrate_quantiles(dataset, settings, network, index)
        content["quantiles"] = quantiles.to_json()
    return TrainingResult(
        curves=curves,
        metrics={
            "best_val_loss": curves["val_loss"][best_epoch],
            **measured,
            "best_epoch": best_epoch + 1,
            "epochs_trained": len(curves["loss"]),
            "fit_seconds": finished.seconds,
            "parameters": network.count_params(),
        },
        origin_losses=tuple((int(step), float(losses[index[:, 1] == step].mean())) for step in steps),
        files={
            NETWORK_FILE: _saved_network(network),
            SETTINGS_FILE: json.dumps(content).encode(),
            **carried_code(network, objective.plugin),
        },
        series_errors=tuple(series_errors.items()),
        times=finished.times,
    )


def _portable_network(objective: objectives.Objective) -> keras.Model:
    """A network that can be saved, for its weights to be set."""
    if isinstance(objective, objectives.PointObjective):
        return _point_network(objective.configuration, objective.shape, objective.plugin)
    return objective.build(0, portable=True)


@functools.lru_cache(maxsize=8)
def _point_network(configuration: Configuration, shape: NetworkShape, plugin: Plugin | None) -> keras.Model:
    """The network of a point forecaster; built once for the many runs of single series that share its shape."""
    return objectives.build_point_network(configuration, shape, plugin=plugin, portable=True)


def _saved_network(network: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NETWORK_FILE)
        network.save(path)
        return path.read_bytes()
