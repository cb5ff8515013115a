"""The gates that a run has to pass before it becomes champion."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gridcast.evaluation import artifact_files, detection_table, forecast_table
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime.errors import TrackingError
from gridcast.tracking import mlflow_runs, model_loading, ranking, registry
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, KEY_TAG, MODEL_NAME
from gridcast.tracking.store import Store, first_line

if TYPE_CHECKING:
    from gridcast.config import Experiment


EvaluateForecaster = Callable[[dict[str, bytes]], Mapping[str, float]]
"""From the files of a forecaster to its measures on the test span of the challenger."""


@dataclass(frozen=True)
class PromotionCase:
    """All that the gates judge: a finished `run`, the challenger, against the baselines and the `champion`.

    `measures` are the challenger's on the test span, `baseline_measures` those of each baseline by name;
    `champion` is a model version or None, which `evaluate` measures on the same test span.
    """

    experiment: Experiment
    store: Store
    run: Any
    measures: Mapping[str, float]
    baseline_measures: Mapping[str, Mapping[str, float]]
    champion: Any
    evaluate: EvaluateForecaster

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


def _run_is_finished(case: PromotionCase) -> str | None:
    info = case.run.info
    if info.status != "FINISHED" or info.lifecycle_stage != "active":
        state = "deleted" if info.lifecycle_stage != "active" else info.status
        return f"run {info.run_id} is {state}; only a FINISHED run may become champion"
    if registry.logged_model_id(case.store.client, case.run) is None:
        return f"run {info.run_id} has no model '{MODEL_NAME}' that is ready"
    return None


def _metrics_are_finite(case: PromotionCase) -> str | None:
    prefix = artifact_files.TEST_PREFIX
    metric = case.experiment.selection.metric
    values: dict[str, float | None] = {metric: case.run.data.metrics.get(metric)}
    values |= {} if case.is_detector else {f"{prefix}mase": case.measures.get("mase")}
    values |= {prefix + name: value for name, value in case.measures.items()}
    for name, value in values.items():
        if value is None:
            return f"{name} of run {case.run.info.run_id} is missing (a value that is not finite is not recorded)"
        # MLflow's SQL stores record infinity as the largest float.
        if not abs(value) < sys.float_info.max:
            shown = value if math.isnan(value) else math.copysign(math.inf, value)
            return f"{name} of run {case.run.info.run_id} is {shown}, not a finite number"
    return None


def _naive_are_beaten(case: PromotionCase) -> str | None:
    if case.is_unlabelled:
        return None
    if not case.naive_errors:
        return "no naive baseline was tested, so nothing shows that the winner is useful; run again: gridcast run"
    if case.experiment.selection.when_beaten == "warn":
        return None
    margin = case.experiment.selection.margin
    unbeaten = {name: error for name, error in case.naive_errors.items() if not case.error <= (1 - margin) * error}
    if not unbeaten:
        return None
    names = ", ".join(f"{name} ({error:.4g})" for name, error in sorted(unbeaten.items(), key=lambda item: item[1]))
    limit = (1 - margin) * min(unbeaten.values())
    return (
        f"{case.error_name} {case.error:.4g} on the test span does not beat {names}; "
        f"at most {limit:.4g} is needed (selection.margin {margin:g})"
    )


def _champion_is_beaten(case: PromotionCase) -> str | None:
    if case.champion is None or case.is_unlabelled:
        return None
    champion = f"the champion, version {case.champion.version},"
    measures: Mapping[str, float] | None = _recorded_champion_measures(case)
    if measures is None:
        try:
            files = model_loading.download_files(f"models:/{case.champion.name}/{case.champion.version}")
            measures = case.evaluate(files)
        # A champion that fails, for whatever reason, must not be replaced without a comparison.
        except Exception as error:  # noqa: BLE001
            return f"{champion} cannot be evaluated on these data: {first_line(error)}"
    champion_error = ranking.comparable_error(measures)
    if case.error < champion_error or math.isnan(champion_error):
        return None
    return (
        f"{case.error_name} {case.error:.4g} does not beat {champion} with {champion_error:.4g} on the same test span"
    )


GATES: dict[str, Callable[[PromotionCase], str | None]] = {
    "run is finished": _run_is_finished,
    "metrics are finite": _metrics_are_finite,
    "naive baselines are beaten": _naive_are_beaten,
    "champion is beaten": _champion_is_beaten,
}
"""In the order in which they are applied; each returns the reason for a refusal, or None."""


def first_refusal(case: PromotionCase) -> tuple[str, str] | None:
    """Return the name of the first gate that refuses and its reason; None if all gates pass."""
    for name, gate in GATES.items():
        reason = gate(case)
        if reason:
            return name, reason
    return None


def best_baseline_ahead(case: PromotionCase) -> str | None:
    """Return the best baseline that beats the challenger; None if there is none.

    A naive baseline counts as ahead unless the challenger beats it by `selection.margin`.
    """
    if case.is_unlabelled:
        return None
    margin, naive = case.experiment.selection.margin, case.naive_errors
    errors = {name: ranking.comparable_error(measures) for name, measures in case.baseline_measures.items()}
    limits = {name: error * (1 - margin if name in naive else 1) for name, error in errors.items()}
    ahead = [name for name, limit in limits.items() if math.isfinite(limit) and not case.error <= limit]
    return min(ahead, key=lambda name: errors[name], default=None)


def _recorded_champion_measures(case: PromotionCase) -> dict[str, float] | None:
    """Return the recorded measures of the champion if it was tested on the very points of the challenger, else None."""
    store, run, champion = case.store, case.run, case.champion
    from mlflow.exceptions import MlflowException

    try:
        champion_run = store.client.get_run(champion.run_id or "")
        fingerprint = champion_run.data.tags.get(FINGERPRINT_TAG)
        if champion_run.info.experiment_id != store.experiment or fingerprint != run.data.tags[FINGERPRINT_TAG]:
            return None
        keys = run.data.tags[KEY_TAG], champion_run.data.tags.get(KEY_TAG, "")
        tests = mlflow_runs.tested_runs(store, keys)
        if any(key not in tests for key in keys):
            return None
        challenger_test, champion_test = (tests[key] for key in keys)
        if mlflow_runs.tested_run_id(champion_test) != champion.run_id:
            return None
        name = artifact_files.SCORES if case.is_detector else artifact_files.FORECASTS
        challenger_table, champion_table = (
            artifact_files.read_parquet_bytes(mlflow_runs.read_artifact(store, test.info.run_id, name))
            for test in (challenger_test, champion_test)
        )
    except (MlflowException, TrackingError):
        return None
    # The same data can be split in several ways: the tests must agree in points and scales, or in stamps and labels.
    columns = forecast_table.MODEL_INDEPENDENT_COLUMNS
    if case.is_detector:
        columns = [case.experiment.data.time, detection_table.LABELLED]
    same_points = challenger_table[columns].equals(champion_table[columns])
    return ranking.test_measures(champion_test) if same_points else None
