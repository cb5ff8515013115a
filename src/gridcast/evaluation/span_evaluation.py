"""Predictions of a forecaster or a detector on a span, usually the test span."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation.detection_results import AnomalyScores, detector_scores
from gridcast.evaluation.detection_table import tabulate_scores
from gridcast.evaluation.forecast_results import Forecasts, forecast_span, forecast_test_span
from gridcast.evaluation.forecast_table import tabulate_forecasts
from gridcast.runtime import loading
from gridcast.runtime.detector import Detector
from gridcast.runtime.errors import GridcastError


def predict_span(dataset: Dataset, files: dict[str, bytes], span: str = "test") -> Forecasts | AnomalyScores:
    """Return the forecasts of `span` by the forecaster in `files`, trained on this `dataset`.

    For a detector, return its anomaly scores of the test span.
    """
    model = loading.load_from_bytes(files)
    return forecast_span(model, dataset, span) if dataset.anomaly is None else detector_scores(model, dataset)


def tabulate_test_span(model: Any, dataset: Dataset, panel: Panel) -> pd.DataFrame:
    """Return the results on the test span of `dataset` of a forecaster or detector that was trained on any data.

    It is a table of `forecast_table` or `detection_table`. The model reads `panel` through its own preprocessing.
    Raises GridcastError for a model of something else: other series or sensors, another target, horizon, frequency or
    covariates.
    """
    if dataset.anomaly is not None:
        _check_detector(model, dataset)
        return tabulate_scores(detector_scores(model, dataset), panel, dataset.preprocessing.time)
    return tabulate_forecasts(forecast_test_span(model, dataset, panel), dataset, panel)


def _check_detector(detector: Detector, dataset: Dataset) -> None:
    for field, subject in {"series": "sensors are", "frequency": "frequency is"}.items():
        theirs, ours = getattr(detector.preprocessing, field), getattr(dataset.preprocessing, field)
        if theirs != ours:
            raise GridcastError(f"its {subject} {theirs!r}, here {ours!r}")
