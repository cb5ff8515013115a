"""Evaluate a forecaster or a detector on the test span."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import artifact_files, detection_results, forecast_results, forecast_table
from gridcast.evaluation.detection_results import AnomalyScores, detector_scores
from gridcast.evaluation.detection_table import measure_scores, tabulate_scores
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.runtime import loading
from gridcast.runtime.detector import Detector
from gridcast.runtime.errors import GridcastError


def measure_test_span(model: Any, dataset: Dataset, panel: Panel) -> dict[str, float]:
    """Return the measures of a forecaster or detector over the test span of `dataset`, whatever data trained it.

    The model reads `panel` through its own preprocessing. Raises GridcastError for a forecaster of something else:
    other series, another target, horizon, frequency or covariates.
    """
    if dataset.anomaly is not None:
        return _measure_detector(model, dataset, panel)
    forecasts = forecast_results.forecast_test_span(model, dataset, panel)
    measures = forecast_table.measure_forecasts(forecast_table.tabulate_forecasts(forecasts, dataset, panel))
    return {name.removeprefix(artifact_files.TEST_PREFIX): value for name, value in measures.items()}


def predict_span(dataset: Dataset, files: dict[str, bytes], span: str = "test") -> Forecasts | AnomalyScores:
    """Forecasts of the forecaster in `files` over a span; what a detector says of the test span."""
    own = loading.load_from_bytes(files)
    if dataset.anomaly is not None:
        return detection_results.detector_scores(own, dataset)
    # A rule that reads little is to be tested on the windows that the baselines have.
    least = dataset.preprocessing.lookback if own.routes else 1
    index = dataset.origins_by_series(span, np.maximum(own.lookbacks, least))
    return forecast_results.forecast_windows(own, dataset.channels, index, dataset.series_codes, dataset.targets(index))


def _measure_detector(detector: Detector, dataset: Dataset, panel: Panel) -> dict[str, float]:
    """Measures of a detector, trained on whatever data, on the test span. GridcastError where it watches others."""
    for field in ("series", "frequency"):
        own, here = getattr(detector.preprocessing, field), getattr(dataset.preprocessing, field)
        if own != here:
            raise GridcastError(f"its {'sensors are' if field == 'series' else f'{field} is'} {own!r}, here {here!r}")
    assert dataset.anomaly is not None
    return measure_scores(
        tabulate_scores(detector_scores(detector, dataset), panel, detector.time),
        dataset.steps_per_day,
        dataset.anomaly,
    )
