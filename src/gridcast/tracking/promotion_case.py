"""All that the gates judge before a run becomes champion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.tracking import ranking
from gridcast.tracking.store import Store

if TYPE_CHECKING:
    from gridcast.config import Experiment


EvaluateForecaster = Callable[[dict[str, bytes]], pd.DataFrame]
"""From the files of a model to the table of its results on the test span of the challenger."""


@dataclass(frozen=True)
class PromotionCase:
    """All that the gates judge: a finished `run`, the challenger, against the baselines and the `champion`.

    `measures` are the challenger's on the test span, `baseline_measures` those of each baseline by name;
    `champion` is a model version or None, which `evaluate` applies to the same test span. With `if_not_worse` it is
    replaced by a challenger that it cannot be told apart from.
    """

    experiment: Experiment
    store: Store
    run: Any
    measures: Mapping[str, float]
    baseline_measures: Mapping[str, Mapping[str, float]]
    champion: Any
    evaluate: EvaluateForecaster
    if_not_worse: bool = False

    @property
    def is_detector(self) -> bool:
        """Whether the run detects anomalies instead of forecasting."""
        return self.experiment.task == "anomaly"

    @property
    def error_name(self) -> str:
        """Name of the error that is compared."""
        return "1 - AUC-PR" if self.is_detector else "MASE"

    @property
    def error(self) -> float:
        """Error of the challenger on the test span, the lower the better."""
        return ranking.comparable_error(self.measures)

    @property
    def naive_errors(self) -> dict[str, float]:
        """Errors of the baselines that the challenger has to beat, without those that are NaN."""
        names = DETECTOR_BASELINES if self.is_detector else NAIVE_BASELINES
        errors = {
            name: ranking.comparable_error(self.baseline_measures[name])
            for name in names
            if name in self.baseline_measures
        }
        return {name: error for name, error in errors.items() if not math.isnan(error)}

    @property
    def is_unlabelled(self) -> bool:
        """Whether the test span has no labels, without which detectors cannot be compared."""
        return self.is_detector and math.isnan(self.error)
