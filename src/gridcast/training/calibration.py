"""How the best network of a run does on the validation span, and the correction that follows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.config import Configuration, threshold_rules
from gridcast.data.dataset import Dataset
from gridcast.evaluation import detection_metrics, detection_results, metrics
from gridcast.runtime import conformal, events, loading
from gridcast.runtime.detector import MINIMUM, Detector
from gridcast.runtime.forecaster import SETTINGS_FILE, Forecaster
from gridcast.runtime.quantiles import Quantiles
from gridcast.training import fault_injection, whitening
from gridcast.training.result import TrainingResult

EXTRA_LEVELS = (0.05, 0.25)
"""Levels that are calibrated whether asked for or not, so that others can be had later."""


def calibrate_quantiles(
    dataset: Dataset, settings: Configuration, network: Any, index: np.ndarray
) -> tuple[dict[str, float], Quantiles]:
    """Metrics of the windows `index` from quantiles as they come, and how to read those of `network` from now on."""
    chosen = dataset.probabilistic
    plain = Quantiles(settings.likelihood or "", chosen.quantiles, chosen.paths)
    wanted = conformal.lower_levels(
        (*chosen.quantiles, *EXTRA_LEVELS) if plain.sampled else mirrored_levels(chosen.quantiles)
    )
    own = Forecaster(dataset.preprocessing_for(settings), network, plain)
    levels = (*chosen.quantiles, 0.5, *wanted, *(1 - level for level in wanted))
    found = own.quantiles_of(dataset.channels, index, dataset.series_codes, levels)
    actual, asked = dataset.targets(index), len(chosen.quantiles)
    told = {
        "best_val_mae": metrics.mae(actual, found[..., asked]),
        "best_val_wql": metrics.weighted_quantile_loss(actual, found[..., :asked], chosen.quantiles),
    }
    if not chosen.conformal:
        return told, plain
    low, high = np.split(found[..., asked + 1 :], 2, axis=-1)
    _, scale = own.units_of(dataset.channels, index, dataset.series_codes)
    return told, replace(plain, correction=conformal.fit(actual, low, high, levels=wanted, scale=scale))


def calibrate_detector(dataset: Dataset, settings: Configuration, network: Any) -> tuple[dict[str, float], Detector]:
    """Metrics of a detector on the validation span, and the detector itself, its threshold fitted.

    What is usual it takes from that span too: errors are larger where the network was not fitted to, and so they will
    be in use (as in Malhotra et al., 2016). Its figures there are better than they will be, alike for every run. A
    conformal threshold promises a share of false alarms by scores that nothing was fitted to, so it keeps the span.
    """
    chosen = dataset.anomaly
    assert chosen is not None
    assert settings.detector is not None
    own = Detector(
        dataset.preprocessing_for(settings),
        network,
        settings.detector,
        math.inf,
        chosen.threshold,
        threshold_rules.checked_level(chosen.threshold, chosen.level),
        (),
        chosen.min_steps,
        chosen.merge_gap,
    )
    end = dataset.spans.train if chosen.threshold == "conformal" else dataset.spans.validation
    return calibrate_threshold(dataset, replace(own, usual=whitening.usual_errors(own, dataset.channels[0, :end])))


def calibrate_threshold(dataset: Dataset, own: Detector) -> tuple[dict[str, float], Detector]:
    """The same of a detector that lacks nothing but its threshold: 1 where its members' thresholds decide."""
    chosen, values, spans = dataset.anomaly, dataset.channels[0], dataset.spans
    assert chosen is not None
    limit, seen = 1.0, None
    if own.combine != MINIMUM:
        limit, seen = detection_results.threshold_before_test(
            own.contributions, values, spans, lookback=own.lookback, anomaly=chosen
        )
    normal = detection_results.span_contributions(own.contributions, values, spans["validation"], own.lookback).mean(
        axis=1
    )
    alarms = len(events.spans(normal > limit, chosen.min_steps, chosen.merge_gap))
    told = {"threshold": limit, "val_false_alarms_per_day": alarms * dataset.steps_per_day / np.isfinite(normal).sum()}
    told["val_faults_missed"] = 1 - _faults_found(own, dataset)
    return told, replace(own, threshold=limit, seen=seen)


def _faults_found(own: Detector, dataset: Dataset) -> float:
    """AUC-PR of the scores of the validation span, once faults are put into it: the same ones for every run."""
    start, end = dataset.spans["validation"]
    values = dataset.channels[0, :end].copy()
    values[start:], labels = fault_injection.inject_faults(values[start:])
    score = detection_results.span_contributions(own.contributions, values, (start, end), own.lookback).mean(axis=1)
    return detection_metrics.auc_pr(np.where(np.isfinite(score), score, -np.inf), labels)


def mirrored_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Those of `levels` whose mirror images are among them."""
    return tuple(q for q in levels if any(abs(q + other - 1) < 1e-9 for other in levels))


def calibrate_ensemble(dataset: Dataset, files: dict[str, bytes]) -> TrainingResult:
    """The ensemble of detectors in `files`, its threshold fitted, as its scores are those of no member."""
    measured, own = calibrate_threshold(dataset, loading.load_from_bytes(files))
    return TrainingResult({}, measured, (), files | {SETTINGS_FILE: json.dumps(own.to_json()).encode()})
