"""All that the gates judge before a run becomes champion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridcast.evaluation.origin_losses import MASE, Measure, measure_of, value_of
from gridcast.evaluation.paired_comparison import DETECTION_ERROR
from gridcast.evaluation.promised_threshold import is_broken, promise_sentence
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.tracking import ranking
from gridcast.tracking.store import Store

if TYPE_CHECKING:
    from gridcast.config import Experiment, Metric


EvaluateForecaster = Callable[[dict[str, bytes]], pd.DataFrame]
"""From the files of a model to the table of its results on the test span of the challenger."""


@dataclass(frozen=True)
class PromotionCase:
    """All that the gates judge: a finished `run`, the challenger, against the baselines and the `champion`.

    `measures` are the challenger's on the test span, `baseline_measures` those of each baseline by name;
    `champion` is a model version or None, which `evaluate` applies to the same test span. With `if_not_worse` it is
    replaced by a challenger that it cannot be told apart from. `metrics` are those of one's own, by name.
    """

    experiment: Experiment
    store: Store
    run: Any
    measures: Mapping[str, float]
    baseline_measures: Mapping[str, Mapping[str, float]]
    champion: Any
    evaluate: EvaluateForecaster
    if_not_worse: bool = False
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    @property
    def is_detector(self) -> bool:
        """Whether the run detects anomalies instead of forecasting."""
        return self.experiment.task == "anomaly"

    @property
    def broken_promise(self) -> str:
        """How the detector breaks its promise of few false alarms on the validation span; empty if it does not."""
        anomaly, measured = self.experiment.anomaly, self.run.data.metrics
        if anomaly.false_alarms is None or anomaly.promised_per_day is None or not measured.get("val_online_days"):
            return ""
        alarms, days = int(measured["val_online_alarms"]), measured["val_online_days"]
        if not is_broken(alarms, days, anomaly.promised_per_day):
            return ""
        return promise_sentence(anomaly.false_alarms, anomaly.promised_per_day, alarms, days)

    @property
    def measure(self) -> Measure:
        """The measure of forecasts that corresponds to the metric of the selection, as in the report."""
        experiment = self.experiment
        levels = experiment.probabilistic.quantiles if experiment.task == "probabilistic" else ()
        losses, log1p = experiment.trained_values("loss"), experiment.transform.log1p
        return measure_of(experiment.selection.metric, losses, levels, self.metrics, log1p=log1p)

    @property
    def recorded_measure(self) -> Measure:
        """`measure` where challenger and naive baselines have it, else MASE, which records of version 0.1 have."""
        naive = [self.baseline_measures[name] for name in NAIVE_BASELINES if name in self.baseline_measures]
        has_measure = not any(math.isnan(value_of(self.measure, measures)) for measures in (self.measures, *naive))
        return self.measure if has_measure else MASE

    @property
    def error_name(self) -> str:
        """Name of the error that is compared with baselines."""
        return DETECTION_ERROR if self.is_detector else self.recorded_measure.title

    @property
    def error(self) -> float:
        """Error of the challenger on the test span, the lower the better."""
        return self.error_of(self.measures)

    @property
    def naive_errors(self) -> dict[str, float]:
        """Errors of the baselines that the challenger has to beat, without those that are NaN."""
        names = DETECTOR_BASELINES if self.is_detector else NAIVE_BASELINES
        errors = {name: self.error_of(self.baseline_measures[name]) for name in names if name in self.baseline_measures}
        return {name: error for name, error in errors.items() if not math.isnan(error)}

    def error_of(self, measures: Mapping[str, float]) -> float:
        """Return the error that is compared with baselines; NaN where `measures` lack it."""
        if self.is_detector:
            return ranking.comparable_error(measures)
        return value_of(self.recorded_measure, measures)

    @property
    def is_unlabelled(self) -> bool:
        """Whether the test span has no labels, without which detectors cannot be compared."""
        return self.is_detector and math.isnan(self.error)
