"""MLflow records of the tasks of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gridcast.config.grid import Run
from gridcast.evaluation import artifact_files, detection_table, forecast_results, forecast_table, service_examples
from gridcast.evaluation.detection_results import AnomalyScores
from gridcast.models import baselines
from gridcast.sweep.plan import Plan
from gridcast.sweep.task import SweepTask
from gridcast.tracking import mlflow_runs
from gridcast.tracking.run_recording import RunEntry
from gridcast.training.result import PausedRun, TrainingResult

STOPPED_KIND = "stopped"
"""Kind of the record of a run that the search did not train to its end."""


def run_entry(plan: Plan, task: SweepTask, outcome: TrainingResult) -> RunEntry:
    assert task.run is not None
    curves = {name: list(enumerate(values, start=1)) for name, values in outcome.curves.items()}
    if plan.experiment.mode == "auto" and task.run.series is None:
        curves[mlflow_runs.MAE_BY_SERIES] = list(outcome.series_errors)
    return RunEntry(
        name=task.name,
        kind="run",
        key=task.key,
        tags={**_run_tags(plan, task.run), "gridcast.engine": plan.engine},
        params=plan.run_params(task.run),
        metrics=outcome.metrics,
        curves={**curves, mlflow_runs.LOSS_BY_ORIGIN: list(outcome.origin_losses)},
        files=outcome.files,
        backend=plan.backend,
    )


def _run_tags(plan: Plan, run: Run) -> dict[str, str]:
    """By which runs are told apart and found again."""
    own = {} if run.series is None else {mlflow_runs.SERIES_TAG: run.series}
    own |= {} if plan.experiment.split.folds is None else {mlflow_runs.FOLD_TAG: str(run.fold)}
    return {
        **own,
        mlflow_runs.SEED_TAG: str(run.seed),
        mlflow_runs.CONFIGURATION_TAG: json.dumps(run.configuration.settings(), sort_keys=True),
        mlflow_runs.FINGERPRINT_TAG: plan.fingerprint,
    }


def stopped_entry(plan: Plan, key: str, paused: PausedRun) -> RunEntry:
    run = plan.runs[key]
    losses = paused.curves["val_loss"]
    return RunEntry(
        name=plan.run_name(run),
        kind=STOPPED_KIND,
        key=key,
        tags={
            **_run_tags(plan, run),
            "gridcast.stopped": f"after {len(losses)} epochs, by {plan.experiment.search.strategy}",
        },
        params=plan.run_params(run),
        metrics={
            "best_val_loss": min(losses),
            "best_epoch": losses.index(min(losses)) + 1,
            "epochs_trained": len(losses),
            "fit_seconds": paused.seconds,
        },
        curves={name: list(enumerate(values, start=1)) for name, values in paused.curves.items()},
    )


def failure_entry(plan: Plan, task: SweepTask, reason: str) -> RunEntry:
    return RunEntry(
        name=task.name,
        kind="run" if task.kind == "run" else "baseline",
        key=task.key,
        params=plan.run_params(task.run) if task.run else {},
        error=reason,
    )


def test_entry(plan: Plan, task: SweepTask, kind: str, outcome: Any, tags: Mapping[str, str] | None = None) -> RunEntry:
    told = {"mlflow.note.content": "\n".join(outcome.notes)} if outcome.notes else {}
    measures, artifacts = (_detection_record if isinstance(outcome, AnomalyScores) else _forecast_record)(
        plan, kind, outcome
    )
    return RunEntry(
        name=task.name,
        kind=kind,
        key=task.key,
        tags={mlflow_runs.FINGERPRINT_TAG: plan.fingerprint, **told, **(tags or {})},
        params={"period": plan.dataset.period} if task.name in baselines.SEASONAL else {},
        metrics=measures,
        artifacts=artifacts,
    )


def _forecast_record(
    plan: Plan, kind: str, outcome: forecast_results.Forecasts
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Measures of forecasts, and what is kept of them."""
    table = forecast_table.tabulate_forecasts(outcome, plan.dataset, plan.panel)
    artifacts = {artifact_files.FORECASTS: artifact_files.parquet_bytes(table)}
    if outcome.importance:
        artifacts[artifact_files.IMPORTANCE] = json.dumps(outcome.importance).encode()
    if kind == "test":
        recent = forecast_table.recent_history(plan.panel, plan.experiment.window.horizon)
        artifacts[artifact_files.RECENT_HISTORY] = artifact_files.parquet_bytes(recent)
        lookback = max(run.configuration.lookback for run in plan.runs.values())
        examples = service_examples.request_examples(plan.panel, plan.dataset.preprocessing, lookback)
        artifacts[artifact_files.EXAMPLES] = json.dumps(examples).encode()
    return forecast_table.measure_forecasts(table), artifacts


def _detection_record(plan: Plan, kind: str, outcome: AnomalyScores) -> tuple[dict[str, float], dict[str, bytes]]:
    """The same of what a detector says."""
    time = plan.experiment.data.time
    table = detection_table.tabulate_scores(outcome, plan.panel, time)
    artifacts = {artifact_files.SCORES: artifact_files.parquet_bytes(table)}
    if kind == "test":
        artifacts[artifact_files.SENSOR_VALUES] = artifact_files.parquet_bytes(
            detection_table.sensor_values(plan.panel, time)
        )
    measures = detection_table.measure_scores(table, plan.dataset.per_day, plan.experiment.anomaly)
    return {artifact_files.TEST_PREFIX + name: value for name, value in measures.items()}, artifacts
