"""A sweep under way: its plan and store, the workers, and the recorder of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gridcast.sweep.live_runs import LiveRuns
from gridcast.sweep.outbox import Recorder
from gridcast.sweep.plan import Plan
from gridcast.sweep.records import sweep_files
from gridcast.sweep.task import SweepTask, TaskGroup, group_tasks
from gridcast.sweep.task_execution import execute_group
from gridcast.sweep.worker_job import TaskFailure
from gridcast.sweep.worker_pool import WorkerPool
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store


@dataclass
class SweepSession:
    """A sweep under way; `sweep_id` is its MLflow run, `finished_keys` are the run keys trained to their end."""

    plan: Plan
    store: Store
    sweep_id: str
    pool: WorkerPool
    recorder: Recorder
    live_runs: LiveRuns
    finished_keys: set[str] = field(default_factory=set)

    def set_plan(self, plan: Plan) -> None:
        """Continue with a plan that has more runs, which is recorded before any of them begins."""
        self.plan = self.live_runs.plan = plan
        mlflow_runs.log_texts(self.store, self.sweep_id, sweep_files(plan))

    def reopen(self) -> None:
        """Clear promotion and verdict of an earlier end: more is trained, whatever becomes of this start."""
        for tag in (mlflow_runs.PROMOTION_TAG, mlflow_runs.VERDICT_TAG):
            mlflow_runs.set_run_tag(self.store, self.sweep_id, tag, "")

    def execute(
        self, tasks: Sequence[SweepTask], keep_going: Callable[[], bool] = lambda: True
    ) -> Iterator[tuple[SweepTask, Any]]:
        """Yield each of `tasks` with its result or TaskFailure as it ends; begin no more once `keep_going` is False.

        If the worker of a group dies too often, the tasks of the group are tried one by one, so that only the
        one that kills its worker fails.
        """
        retries = self.plan.experiment.training.retries
        waiting = group_tasks(self.plan, tasks, self.pool.settings.workers)
        while waiting:
            single: list[TaskGroup] = []
            for position, results in self.pool.execute(
                execute_group,
                waiting,
                retries=retries,
                check=self.recorder.check,
                report=self.recorder.report,
                keep_going=keep_going,
            ):
                group = waiting[position]
                if not isinstance(results, TaskFailure):
                    yield from zip(group.tasks, results, strict=True)
                elif len(group.tasks) == 1:
                    yield group.tasks[0], results
                else:
                    single += [replace(group, tasks=(task,)) for task in group.tasks]
            waiting = single
