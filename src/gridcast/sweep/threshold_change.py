"""Detectors that were trained under other threshold settings: their networks get the new threshold, untrained.

A run key contains the settings of `anomaly`, but no weight depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gridcast.config import Anomaly
from gridcast.evaluation import artifact_files
from gridcast.runtime.errors import ConfigError
from gridcast.sweep import records
from gridcast.sweep.plan import OWN_SETTINGS, Plan
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import RECALIBRATION, SweepTask
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store
from gridcast.training.result import PausedRun, TrainingResult
from gridcast.training.run_state import CURVES

OF_VALIDATION = ("val_alarms", "val_days", "val_online_alarms", "val_online_days")
"""Metrics that only detectors with a promise have."""


def with_recalibrated(session: SweepSession, finished: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `finished` MLflow runs by run key, and those that only lacked the plan's threshold, recorded with it.

    A run that another search stopped early is recorded as such. Where recalibration fails, a run is left to training.
    """
    plan, store = session.plan, session.store
    missing = {key: run for key, run in plan.all_runs.items() if key not in finished}
    if plan.experiment.task != "anomaly" or not missing:
        return dict(finished)
    former: dict[str, Any] = {}
    for other in _former_plans(plan, store):
        keys = {other.run_key(run): key for key, run in missing.items() if key not in former}
        trained = mlflow_runs.finished_runs(store, keys)
        former |= {keys[key]: run for key, run in trained.items()}
        for key, run in mlflow_runs.finished_runs(store, keys, mlflow_runs.STOPPED_KIND).items():
            if key not in trained:
                paused = PausedRun(_curves(store, run), run.data.metrics["fit_seconds"], ())
                session.recorder.add(records.stopped_entry(plan, keys[key], paused))
    tasks = [
        SweepTask(
            RECALIBRATION,
            plan.run_name(missing[key]),
            key,
            run=missing[key],
            files=mlflow_runs.read_model_files(store, run.info.run_id),
        )
        for key, run in former.items()
    ]
    for task, result in session.execute(tasks):
        if not isinstance(result, TaskFailure):
            entry = records.run_entry(plan, task, _whole_result(store, former[task.key], result))
            tags = {**entry.tags, mlflow_runs.TRAINED_BY_TAG: mlflow_runs.trained_by(former[task.key])}
            session.recorder.add(replace(entry, tags=tags))
    session.recorder.flush()
    return dict(finished) | (mlflow_runs.finished_runs(store, missing) if tasks else {})


def recalibrated_reference(session: SweepSession) -> TrainingResult | None:
    """Return the run of the experiment's own settings with the plan's threshold; None where it has to be trained."""
    plan, store = session.plan, session.store
    for other in _former_plans(plan, store) if plan.experiment.task == "anomaly" else ():
        files = _reference_files(other, store)
        if files is None:
            continue
        task = SweepTask(RECALIBRATION, OWN_SETTINGS, plan.reference_key, run=plan.reference_run, files=files)
        ((_, result),) = session.execute([task])
        if isinstance(result, TrainingResult):
            return result
    return None


def _reference_files(plan: Plan, store: Store) -> dict[str, bytes] | None:
    """The model files of the own settings of `plan`, which may be a run of the grid; None where there are none."""
    key, baseline_key = plan.reference_key, plan.baseline_keys[OWN_SETTINGS]
    if run := mlflow_runs.finished_runs(store, [key]).get(key):
        return mlflow_runs.read_model_files(store, run.info.run_id)
    run = mlflow_runs.finished_runs(store, [baseline_key], "baseline").get(baseline_key)
    if run is None or artifact_files.OWN_MODEL not in mlflow_runs.artifact_names(store, run.info.run_id):
        return None
    return artifact_files.read_zip_bytes(mlflow_runs.read_artifact(store, run.info.run_id, artifact_files.OWN_MODEL))


def _former_plans(plan: Plan, store: Store) -> Iterator[Plan]:
    """The plan under the other settings of `anomaly` that the finished runs in the store have."""
    runs = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run' and attributes.status = 'FINISHED'")
    settings = dict.fromkeys(_settings_of(run) for run in runs)
    for anomaly in settings.keys() - {None, plan.experiment.anomaly}:
        experiment = plan.experiment.model_copy(update={"anomaly": anomaly})
        other = replace(plan, experiment=experiment)
        yield replace(other, reference_key=other.run_key(plan.reference_run))


def _settings_of(run: Any) -> Anomaly | None:
    params = run.data.params
    try:
        return Anomaly(
            threshold=params["threshold"],
            level=float(params["level"]) if "level" in params else None,
            false_alarms=params.get("false_alarms"),
            min_steps=int(params["least"]),
            merge_gap=int(params["gap"]),
        )
    except (KeyError, ValueError, ConfigError):  # of a task without thresholds, or of a version to come
        return None


def _whole_result(store: Store, former: Any, recalibrated: TrainingResult) -> TrainingResult:
    """The `recalibrated` detector with what the MLflow run `former` has of its training."""
    kept = {
        name: value
        for name, value in former.data.metrics.items()
        if not name.startswith(artifact_files.TEST_PREFIX) and name not in (*OF_VALIDATION, *CURVES)
    }
    losses = mlflow_runs.validation_errors(store, former.info.run_id, mlflow_runs.LOSS_BY_ORIGIN)
    return replace(
        recalibrated,
        curves=_curves(store, former),
        metrics={**kept, **recalibrated.metrics},
        origin_losses=tuple((int(step), loss) for step, loss in losses.items()),
    )


def _curves(store: Store, run: Any) -> dict[str, tuple[float, ...]]:
    histories = {name: mlflow_runs.metric_history(store, run.info.run_id, name) for name in CURVES}
    return {name: tuple(history[epoch] for epoch in sorted(history)) for name, history in histories.items()}
