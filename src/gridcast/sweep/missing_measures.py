"""Measures that recorded runs lack: of a former version, or of a metric of one's own that is new or has changed.

They are computed with the recorded model, and added to the record, so that no run is trained again for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gridcast.config.selection_metrics import DETECTION_METRICS, TRAINED_METRICS, VALIDATION_PREFIX, VARIED_FAULTS
from gridcast.evaluation import artifact_files, forecast_table, own_metrics
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.sweep.plan import Plan
from gridcast.sweep.records import measured_text, own_metric_tags
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import RECALIBRATION, SweepTask
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.tracking.mlflow_runs import MEASURED_TAG, TEST_MEASURED_TAG
from gridcast.tracking.store import Store


def complete_validation(session: SweepSession, finished: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `finished` MLflow runs by run key, all with the metric of the selection where it can be computed.

    Runs of single series, whose models forecast no other, keep what they have.
    """
    plan, store = session.plan, session.store
    metric = plan.experiment.selection.metric
    if metric == VARIED_FAULTS:
        return _with_varied_faults(session, finished)
    if metric in (*TRAINED_METRICS, *DETECTION_METRICS, "best_val_wql"):
        return dict(finished)
    lacking = [key for key, run in finished.items() if _lacks(plan, run, metric) and plan.all_runs[key].series is None]
    tasks = []
    for key in lacking:
        files = mlflow_runs.read_model_files(store, finished[key].info.run_id)
        name = mlflow_runs.run_name(finished[key])
        tasks.append(SweepTask("validation", name, key, run=plan.all_runs[key], files=files))
    for task, forecasts in session.execute(tasks):
        if isinstance(forecasts, TaskFailure):
            continue  # the ranking leaves out runs without the metric
        assert task.run is not None
        dataset = plan.datasets[task.run.fold]
        values = validation_measures(dataset, forecasts.index, forecasts.forecast, forecasts.quantiles)
        _add(store, finished[task.key], values, {MEASURED_TAG: "{}"} | own_metric_tags(plan))
    return dict(finished) | (mlflow_runs.finished_runs(store, lacking) if lacking else {})


def _with_varied_faults(session: SweepSession, finished: Mapping[str, Any]) -> dict[str, Any]:
    """The `finished` runs, of which those that another metric ranked get this one from their detectors."""
    store, runs = session.store, session.plan.all_runs
    tasks = [
        SweepTask(
            RECALIBRATION,
            mlflow_runs.run_name(run),
            key,
            run=runs[key],
            files=mlflow_runs.read_model_files(store, run.info.run_id),
        )
        for key, run in finished.items()
        if VARIED_FAULTS not in run.data.metrics
    ]
    for task, result in session.execute(tasks):
        if not isinstance(result, TaskFailure):  # the ranking leaves out runs without the metric
            _add(store, finished[task.key], {VARIED_FAULTS: result.metrics[VARIED_FAULTS]}, {})
    return dict(finished) | (mlflow_runs.finished_runs(store, [task.key for task in tasks]) if tasks else {})


def complete_tests(plan: Plan, store: Store, runs: Sequence[Any]) -> list[Any]:
    """Return the MLflow `runs` with forecasts of the test span, all with the metrics of one's own as they are now."""
    if not plan.metrics:
        return list(runs)
    changed = []
    for run in runs:
        if run.data.tags.get(TEST_MEASURED_TAG) != measured_text(plan):
            content = mlflow_runs.read_artifact(store, run.info.run_id, artifact_files.FORECASTS)
            table = artifact_files.read_parquet_bytes(content)
            values = own_metrics.evaluate_all(plan.metrics, table, forecast_table.quantile_levels(table))
            values = {TEST_PREFIX + name: value for name, value in values.items()}
            _add(store, run, values, {TEST_MEASURED_TAG: measured_text(plan)})
            changed.append(run.info.run_id)
    return [mlflow_runs.find_run(store, run.info.run_id) if run.info.run_id in changed else run for run in runs]


def _lacks(plan: Plan, run: Any, metric: str) -> bool:
    own = plan.metrics.get(metric.removeprefix(VALIDATION_PREFIX))
    if own is None:
        return metric not in run.data.metrics and MEASURED_TAG not in run.data.tags
    digests = json.loads(run.data.tags.get(MEASURED_TAG, "{}"))
    return digests.get(metric.removeprefix(VALIDATION_PREFIX)) != own_metrics.digest_of(own)


def _add(store: Store, run: Any, values: Mapping[str, float], tags: Mapping[str, str]) -> None:
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    mlflow_runs.log_metrics(store, run.info.run_id, finite)
    for tag, text in tags.items():
        mlflow_runs.set_run_tag(store, run.info.run_id, tag, text)
