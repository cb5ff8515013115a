"""Evaluate a forecaster or a detector on the test span."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import detections, forecast_results
from gridcast.evaluation.detections import Detection
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.runtime import loading


def on_test_span(model: Any, dataset: Dataset, panel: Panel) -> dict[str, float]:
    """Return the measures of a forecaster or detector over the test span of `dataset`, whatever data trained it.

    The model reads `panel` through its own preprocessing. Raises GridcastError for a forecaster of something else:
    other series, another target, horizon, frequency or covariates.
    """
    if dataset.anomaly is not None:
        return detections.on_test_span(model, dataset, panel)
    forecasts = forecast_results.forecasts(model, dataset, panel)
    measures = forecast_results.measures(forecast_results.table(forecasts, dataset, panel))
    return {name.removeprefix(forecast_results.PREFIX): value for name, value in measures.items()}


def evaluate(dataset: Dataset, files: dict[str, bytes], span: str = "test") -> Forecasts | Detection:
    """Forecasts of the forecaster in `files` over a span; what a detector says of the test span."""
    own = loading.load_from_bytes(files)
    if dataset.anomaly is not None:
        return detections.answers(own, dataset)
    # A rule that reads little is to be tested on the windows that the baselines have.
    least = dataset.preprocessing.lookback if own.routes else 1
    index = dataset.each(span, np.maximum(own.lookbacks, least))
    return forecast_results.answers(own, dataset.channels, index, dataset.codes, dataset.actual(index))
