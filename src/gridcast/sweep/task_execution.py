"""The execution of a group of tasks by a worker: training, baselines, tests.

A cluster's worker imports this module by its name, so it must be the same version of gridcast as in the sweep
(`worker_process` checks that). Keras is imported inside the functions, never in a parent that has workers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gridcast.data.dataset import Dataset
from gridcast.runtime.baseline_model import baseline_of
from gridcast.runtime.errors import GridcastError
from gridcast.sweep.task import RECALIBRATION, SweepTask, TaskGroup
from gridcast.sweep.worker_job import TaskContext, TaskFailure
from gridcast.training.progress import ProgressReporter
from gridcast.training.refit import refit_dataset
from gridcast.training.result import TrainingResult


def execute_group(datasets: Sequence[Dataset], group: TaskGroup, context: TaskContext) -> list[Any]:
    """Return the result of each task of `group`, or a TaskFailure.

    `datasets` are those of each fold: a run uses its own, every other task the last one.
    """
    run = group.tasks[0].run
    dataset = datasets[run.fold if run else -1]
    if group.tasks[0].kind in ("refit", "refit contender"):
        dataset = refit_dataset(dataset)
    if group.engine != "fused":
        return [_execute_or_fail(datasets, dataset, task, context) for task in group.tasks]
    from gridcast.training import fused_fit

    results = fused_fit.train(
        dataset,
        [task.run for task in group.tasks if task.run is not None],
        state_paths=[_checkpoint_path(task, context.cache) for task in group.tasks],
        siblings=group.siblings,
        until=group.tasks[0].until,
        reporters=[_reporter(task, context) for task in group.tasks],
    )
    return [TaskFailure(str(result)) if isinstance(result, GridcastError) else result for result in results]


def _execute_or_fail(datasets: Sequence[Dataset], dataset: Dataset, task: SweepTask, context: TaskContext) -> Any:
    """Return the result of a task; a failure is returned as well, so that the rest of the group goes on."""
    try:
        return _execute(datasets, dataset, task, context)
    except GridcastError as error:
        return TaskFailure(str(error))


def _execute(datasets: Sequence[Dataset], dataset: Dataset, task: SweepTask, context: TaskContext) -> Any:
    if task.is_training:
        from gridcast.training import keras_fit

        assert task.run is not None

        return keras_fit.train(
            dataset,
            task.run,
            state_path=_checkpoint_path(task, context.cache),
            until=task.until,
            reporter=_reporter(task, context),
        )
    started = time.time()
    result = _predict_span(datasets, dataset, task)
    return result if isinstance(result, TrainingResult) else replace(result, started=started)


def _predict_span(datasets: Sequence[Dataset], dataset: Dataset, task: SweepTask) -> Any:
    """Return what a forecaster, a detector or a baseline predicts; of a contender, its model."""
    from gridcast.training import calibration, contenders

    if task.kind in ("contender", "refit contender"):
        if dataset.anomaly is not None:
            return calibration.fit_simple_detector(dataset, task.name)
        files = contenders.contender_files(task.name, dataset)
        return TrainingResult(curves={}, metrics={}, origin_losses=(), files=files)
    if task.kind == "greedy":
        from gridcast.training import greedy_ensemble

        assert task.files is not None
        return greedy_ensemble.select_members(dataset, task.files, task.metric)
    if task.kind == RECALIBRATION:
        assert task.run is not None
        assert task.files is not None
        return calibration.recalibrate_run(dataset, task.run.configuration, task.files)
    if task.files is not None:
        return _evaluate(dataset, task.kind, task.files)
    if dataset.anomaly is not None:
        return calibration.simple_detector_scores(task.name, dataset)
    return contenders.forecast_contender(task.name, datasets)


def _evaluate(dataset: Dataset, kind: str, files: dict[str, bytes]) -> Any:
    """Return what the forecaster or detector in `files` predicts for the span that the kind of the task names."""
    from gridcast.evaluation import explanation, span_evaluation
    from gridcast.training import calibration, contenders

    if kind == "validation" and dataset.anomaly is not None:
        return calibration.calibrate_ensemble(dataset, files)
    baseline = "" if dataset.anomaly is not None else baseline_of(files)
    if kind == "test" and baseline:  # the same forecasts as those that the networks are compared with
        return contenders.forecast_test(baseline, dataset)
    results: Any = span_evaluation.predict_span(dataset, files, "validation" if kind == "validation" else "test")
    if kind != "test" or dataset.anomaly is not None:
        return results
    return replace(results, importance=explanation.explain_forecaster(dataset, files))


def _reporter(task: SweepTask, context: TaskContext) -> ProgressReporter | None:
    """Return who reports the epochs of a run of the grid; nobody those of other tasks."""
    return ProgressReporter(task.key, context.report) if task.kind == "run" else None


def _checkpoint_path(task: SweepTask, cache: Path) -> Path:
    """Return where a run saves its state; the reference run may train beside a run of the grid with the same key."""
    return cache / "checkpoints" / (f"own-{task.key}" if task.kind == "reference" else task.key)
