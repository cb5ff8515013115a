"""Calibration of a run's best network on the validation span: intervals of a forecaster, threshold of a detector."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.config import Configuration
from gridcast.config.selection_metrics import VARIED_FAULTS
from gridcast.data.dataset import Dataset
from gridcast.evaluation import detection_metrics, metrics
from gridcast.evaluation.detection_results import (
    AnomalyScores,
    detector_scores,
    fit_thresholds,
    simple_detector,
    span_contributions_after,
    untuned_detector,
)
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.runtime import conformal, events, fitted_arrays, loading
from gridcast.runtime.detector import MINIMUM, Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.model_files import BASELINE_FILE, SETTINGS_FILE
from gridcast.runtime.quantiles import Quantiles
from gridcast.training import fault_injection, whitening
from gridcast.training.result import TrainingResult
from gridcast.training.training_series import detector_content

EXTRA_LEVELS = (0.05, 0.25)
"""Levels that are calibrated besides those of the experiment, so that other levels can be requested later."""


def calibrate_quantiles(
    dataset: Dataset, settings: Configuration, network: Any, index: np.ndarray
) -> tuple[dict[str, float], Quantiles]:
    """Return metrics of the uncorrected quantiles on the windows `index`, and how to read quantiles of `network`.

    The latter includes the conformal correction fitted to these windows, unless the experiment switches it off. Early
    stopping and selection have used the same windows, which costs some coverage: see `benchmarks/calibration_span.py`.
    """
    probabilistic = dataset.probabilistic
    levels, level_count = probabilistic.quantiles, len(probabilistic.quantiles)
    uncorrected = Quantiles(settings.likelihood or "", levels, probabilistic.paths)
    lower_levels = conformal.lower_levels((*levels, *EXTRA_LEVELS) if uncorrected.sampled else mirrored_levels(levels))
    forecaster = Forecaster(dataset.preprocessing_for(settings), network, uncorrected)
    every_level = (*levels, 0.5, *lower_levels, *(1 - level for level in lower_levels))
    quantiles = forecaster.quantiles_of(dataset.channels, index, dataset.series_codes, every_level)
    actual = dataset.targets(index)
    measured = {
        "best_val_mae": metrics.mae(actual, quantiles[..., level_count]),
        "best_val_wql": metrics.weighted_quantile_loss(actual, quantiles[..., :level_count], levels),
        **validation_measures(dataset, index, quantiles[..., level_count], quantiles[..., :level_count]),
    }
    # Measures and correction come from quantiles without the floor, as those of earlier runs with the same key do.
    floored = replace(uncorrected, floor=forecaster.preprocessing.floor)
    if not probabilistic.conformal:
        return measured, floored
    low, high = np.split(quantiles[..., level_count + 1 :], 2, axis=-1)
    _, scale = forecaster.units_of(dataset.channels, index, dataset.series_codes)
    correction = conformal.fit(actual, low, high, levels=lower_levels, scale=scale)
    return measured, replace(floored, correction=correction)


def mirrored_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Return those of `levels` whose mirror images (1 - level) are among them."""
    return tuple(level for level in levels if any(abs(level + other - 1) < 1e-9 for other in levels))


def calibrate_detector(dataset: Dataset, settings: Configuration, network: Any) -> tuple[dict[str, float], Detector]:
    """Return the metrics on the validation span of the detector with `network`, and the detector with its threshold.

    Its normal statistics come from training and validation span together: on data that the network was not fitted to
    errors are larger, as they will be in use (as in Malhotra et al., 2016). Its metrics on the validation span are
    therefore too good, but for all runs alike. A conformal threshold guarantees a share of false alarms by scores that
    nothing was fitted to; with that rule the statistics come from the training span alone.
    """
    assert dataset.anomaly is not None
    assert settings.detector is not None
    detector = untuned_detector(dataset, dataset.preprocessing_for(settings), network, settings.detector)
    end = dataset.spans.train if dataset.anomaly.threshold == "conformal" else dataset.spans.validation
    statistics = whitening.error_statistics(detector, dataset.channels[0, :end])
    return calibrate_threshold(dataset, replace(detector, usual=statistics))


def recalibrate_run(dataset: Dataset, settings: Configuration, files: dict[str, bytes]) -> TrainingResult:
    """Return the trained detector in `files` with statistics and thresholds as the dataset's experiment wants them."""
    measured, detector = calibrate_detector(dataset, settings, loading.load_from_bytes(files).network)
    content = json.dumps(detector_content(detector, dataset)).encode()
    return TrainingResult(curves={}, metrics=measured, origin_losses=(), files=files | {SETTINGS_FILE: content})


def calibrate_threshold(dataset: Dataset, detector: Detector) -> tuple[dict[str, float], Detector]:
    """Return the metrics on the validation span of `detector`, and the detector with its thresholds fitted.

    Metrics of the scores that a follower of a stream has carry `online` in their names, the others are in hindsight.
    An ensemble that combines scores by their minimum has the threshold 1: those of its members decide.
    """
    anomaly, values = dataset.anomaly, dataset.channels[0]
    assert anomaly is not None
    if detector.combine == MINIMUM:
        fitted = replace(detector, threshold=1.0, seen=None, online=())
    else:
        fitted = fit_thresholds(detector, dataset)
    views: dict[str, int | None] = {"": None, "online_": detector.wait}
    scores = _validation_scores(fitted, dataset, values, tuple(views.values()))
    missed = _faults_missed(fitted, dataset, tuple(views.values()))
    measured: dict[str, float] = {}
    for (name, wait), score, missed_in_view in zip(views.items(), scores, missed, strict=True):
        # A running threshold counts here as it is right after training, as it always has.
        threshold = fitted.threshold_after(wait).threshold
        alarms = len(events.spans(score > threshold, anomaly.min_steps, anomaly.merge_gap))
        if dataset.promise is not None:
            days = np.isfinite(score).sum() / dataset.steps_per_day
            measured |= {f"val_{name}alarms": float(alarms), f"val_{name}days": float(days)}
        measured |= {
            f"{name}threshold": threshold,
            f"val_{name}false_alarms_per_day": alarms * dataset.steps_per_day / np.isfinite(score).sum(),
            f"val_{name}faults_missed": missed_in_view,
        }
    if dataset.selected_by == VARIED_FAULTS:
        measured[VARIED_FAULTS] = _varied_faults_missed(fitted, dataset)
    return measured, fitted


def simple_detector_scores(name: str, dataset: Dataset) -> AnomalyScores:
    """Return the scores of the test span by the simple detector `name`, with its metrics on the validation span.

    Its thresholds follow the same rule as those of networks, from its own scores. One that reads windows waits as long
    as a network that reads the same windows.
    """
    measured, detector = calibrate_threshold(dataset, simple_detector(name, dataset))
    return replace(detector_scores(detector, dataset), validation=measured)


def fit_simple_detector(dataset: Dataset, name: str) -> TrainingResult:
    """Return the simple detector `name`, fitted to the training span, with thresholds, metrics and model files.

    It has no loss, and so no curves: `val_online_faults_missed` and the others of `calibrate_threshold` compare it with
    networks.
    """
    started = time.perf_counter()
    measured, detector = calibrate_threshold(dataset, simple_detector(name, dataset))
    measured |= {
        "fit_seconds": time.perf_counter() - started,
        "parameters": float(sum(array.size for array in detector.network.values())),
    }
    files = {
        BASELINE_FILE: fitted_arrays.to_bytes(detector.network),
        SETTINGS_FILE: json.dumps(detector_content(detector, dataset)).encode(),
    }
    return TrainingResult(curves={}, metrics=measured, origin_losses=(), files=files)


def calibrate_ensemble(dataset: Dataset, files: dict[str, bytes]) -> TrainingResult:
    """Return the ensemble of detectors in `files` with a threshold fitted to its own scores."""
    measured, detector = calibrate_threshold(dataset, loading.load_from_bytes(files))
    content = json.dumps(detector_content(detector, dataset)).encode()
    return TrainingResult(curves={}, metrics=measured, origin_losses=(), files=files | {SETTINGS_FILE: content})


def _faults_missed(detector: Detector, dataset: Dataset, waits: Sequence[int | None]) -> list[float]:
    """1 - AUC-PR of the scores of the validation span with artificial faults in it, the same ones for every run."""
    start, end = dataset.spans["validation"]
    values = dataset.channels[0, :end].copy()
    values[start:], labels = fault_injection.inject_faults(values[start:])
    scores = _validation_scores(detector, dataset, values, waits)
    return [1 - detection_metrics.auc_pr(np.where(np.isfinite(score), score, -np.inf), labels) for score in scores]


def _varied_faults_missed(detector: Detector, dataset: Dataset) -> float:
    """The mean of 1 - AUC-PR of live scores over copies of the last validation steps with a fault each, NaN without."""
    start, end = dataset.spans["validation"]
    start = max(start, end - fault_injection.MAX_SCENARIO_STEPS)
    values, missed = dataset.channels[0, :end].copy(), []
    for changed, labels in fault_injection.fault_scenarios(dataset.channels[0, start:end]):
        values[start:] = changed
        (contributions,) = span_contributions_after(
            detector.contributions_after, values, (start, end), lookback=detector.lookback, waits=(detector.wait,)
        )
        score = events.anomaly_score(contributions)
        missed.append(1 - detection_metrics.auc_pr(np.where(np.isfinite(score), score, -np.inf), labels))
    return float(np.mean(missed)) if missed else float("nan")


def _validation_scores(
    detector: Detector, dataset: Dataset, values: np.ndarray, waits: Sequence[int | None]
) -> list[np.ndarray]:
    """Scores (steps,) of the validation span of `values`, known after each of `waits`."""
    contributions = span_contributions_after(
        detector.contributions_after, values, dataset.spans["validation"], lookback=detector.lookback, waits=waits
    )
    return [events.anomaly_score(of_wait) for of_wait in contributions]
