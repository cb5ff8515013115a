"""The gates that a run has to pass before it becomes champion."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gridcast.evaluation import artifact_files, detection_table, forecast_table
from gridcast.models.baselines import NAIVE
from gridcast.models.baselines.detectors import DETECTORS
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
    """What the gates judge: `own` are the measures of `run` on the test span, `baselines` those of the others."""

    experiment: Experiment
    store: Store
    run: Any
    own: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    champion: Any
    evaluate: EvaluateForecaster

    @property
    def error(self) -> float:
        return comparable_error(self.own)

    @property
    def detects(self) -> bool:
        return self.experiment.task == "anomaly"

    @property
    def measure(self) -> str:
        return "1 - AUC-PR" if self.detects else "MASE"

    @property
    def rivals(self) -> dict[str, float]:
        """Errors of the baselines that a winner has to beat."""
        names = DETECTORS if self.detects else NAIVE
        found = {name: comparable_error(self.baselines[name]) for name in names if name in self.baselines}
        return {name: error for name, error in found.items() if not math.isnan(error)}

    @property
    def untold(self) -> bool:
        """Whether there are no labels, by which alone detectors compare."""
        return self.detects and math.isnan(self.error)


def _run_is_finished(case: PromotionCase) -> str | None:
    info = case.run.info
    if info.status != "FINISHED" or info.lifecycle_stage != "active":
        state = "deleted" if info.lifecycle_stage != "active" else info.status
        return f"run {info.run_id} is {state}; only a FINISHED run may become champion"
    if registry.logged_model_id(case.store.client, case.run) is None:
        return f"run {info.run_id} has no model '{MODEL_NAME}' that is ready"
    return None


def _metrics_are_finite(case: PromotionCase) -> str | None:
    metric = case.experiment.selection.metric
    metrics: dict[str, float | None] = {metric: case.run.data.metrics.get(metric)}
    metrics |= {} if case.detects else {f"{artifact_files.TEST_PREFIX}mase": case.own.get("mase")}
    metrics |= {artifact_files.TEST_PREFIX + name: value for name, value in case.own.items()}
    for name, value in metrics.items():
        if value is None:
            return f"{name} of run {case.run.info.run_id} is missing (a value that is not finite is not recorded)"
        # MLflow's SQL stores keep infinity as the largest float.
        if not abs(value) < sys.float_info.max:
            shown = value if math.isnan(value) else math.copysign(math.inf, value)
            return f"{name} of run {case.run.info.run_id} is {shown}, not a finite number"
    return None


def _naive_are_beaten(case: PromotionCase) -> str | None:
    if case.untold:
        return None
    known = case.rivals
    if not known:
        return (
            "no naive baseline was tested, so nothing shows that the winner is worth its keep; run again: gridcast run"
        )
    if case.experiment.selection.when_beaten == "warn":
        return None
    margin = case.experiment.selection.margin
    lost = {name: error for name, error in known.items() if not case.error <= (1 - margin) * error}
    if not lost:
        return None
    told = ", ".join(f"{name} ({error:.4g})" for name, error in sorted(lost.items(), key=lambda item: item[1]))
    needed = f"at most {(1 - margin) * min(lost.values()):.4g} is needed"
    return (
        f"{case.measure} {case.error:.4g} on the test span does not beat {told}; {needed} (selection.margin {margin:g})"
    )


def _champion_is_beaten(case: PromotionCase) -> str | None:
    if case.champion is None or case.untold:
        return None
    named = f"the champion, version {case.champion.version},"
    measures: Mapping[str, float] | None = _recorded_measures(case)
    if measures is None:
        try:
            measures = case.evaluate(
                model_loading.download_files(f"models:/{case.champion.name}/{case.champion.version}")
            )
        except Exception as error:  # noqa: BLE001 - whatever an old model has, it is no reason to replace it unseen
            return f"{named} cannot be evaluated on these data: {first_line(error)}"
    their_error = comparable_error(measures)
    if case.error < their_error or math.isnan(their_error):
        return None
    return f"{case.measure} {case.error:.4g} does not beat {named} with {their_error:.4g} on the same test span"


GATES: dict[str, Callable[[PromotionCase], str | None]] = {
    "run is finished": _run_is_finished,
    "metrics are finite": _metrics_are_finite,
    "naive baselines are beaten": _naive_are_beaten,
    "champion is beaten": _champion_is_beaten,
}
"""In their order; each tells why it refuses, or gives None."""


def first_refusal(case: PromotionCase) -> tuple[str, str]:
    for name, gate in GATES.items():
        refusal = gate(case)
        if refusal:
            return name, refusal
    return "", ""


def best_baseline_ahead(case: PromotionCase) -> str | None:
    """The best baseline that beats the winner; a naive one does so unless the winner keeps the margin."""
    margin = case.experiment.selection.margin
    limits = {
        name: comparable_error(m) * (1 - margin if name in case.rivals else 1) for name, m in case.baselines.items()
    }
    if case.untold:
        return None
    ahead = [name for name, limit in limits.items() if math.isfinite(limit) and not case.error <= limit]
    return min(ahead, key=lambda name: comparable_error(case.baselines[name]), default=None)


def _recorded_measures(case: PromotionCase) -> dict[str, float] | None:
    """What the record says of the champion, if it was tested on the very points that the winner was."""
    store, run, champion = case.store, case.run, case.champion
    from mlflow.exceptions import MlflowException

    try:
        old = store.client.get_run(champion.run_id or "")
        if (
            old.info.experiment_id != store.experiment
            or old.data.tags.get(FINGERPRINT_TAG) != run.data.tags[FINGERPRINT_TAG]
        ):
            return None
        keys = run.data.tags[KEY_TAG], old.data.tags.get(KEY_TAG, "")
        records = mlflow_runs.finished_runs(store, keys, "test")
        if any(key not in records for key in keys):
            return None
        own, theirs = (records[key] for key in keys)
        if theirs.data.tags.get("gridcast.winner") != champion.run_id:
            return None
        kept = artifact_files.SCORES if case.detects else artifact_files.FORECASTS
        tables = [
            artifact_files.read_parquet_bytes(mlflow_runs.read_artifact(store, record.info.run_id, kept))
            for record in (own, theirs)
        ]
    except (MlflowException, TrackingError):
        return None
    # One fingerprint can be split in many ways: the same data means the same points and scales, or stamps and labels.
    points = (
        [case.experiment.data.time, detection_table.LABELLED]
        if case.detects
        else forecast_table.MODEL_INDEPENDENT_COLUMNS
    )
    same = tables[0][points].equals(tables[1][points])
    return ranking.test_measures(theirs) if same else None


def comparable_error(measures: Mapping[str, float]) -> float:
    """What gates compare, the lower the better: MASE, or what the AUC-PR of a detector lacks of 1."""
    return measures["mase"] if "mase" in measures else 1 - measures.get("auc_pr", math.nan)
