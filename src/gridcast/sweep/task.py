"""The pieces of work of a sweep: which there are, which go together, and what a worker does with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gridcast.config import grid
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.evaluation import detection_results, forecast_results
from gridcast.models.baselines.task import task_of
from gridcast.runtime.errors import GridcastError
from gridcast.sweep import worker_pool, worker_process
from gridcast.sweep.plan import OWN_SETTINGS, Plan, epoch_cost
from gridcast.training.lane_count import lane_count

RUNS_PER_LANE, LOCAL_RUNS_PER_LANE = 2, 8
"""Runs of a group for each lane, where runs train abreast: one that stops early leaves its lane to the next.

Runs of single series are short: so many go to a worker together, or to each of its lanes."""


@dataclass(frozen=True)
class SweepTask:
    """One piece of work: a grid `run`, the `own` settings, a `baseline`, the `test` or `validation` of a forecaster."""

    kind: str
    name: str
    key: str
    run: Run | None = None
    files: dict[str, bytes] | None = None
    until: int | None = None
    cost: float = 0.01


@dataclass(frozen=True)
class TaskGroup:
    """Tasks that one worker does together; `engine` is how their runs train, `siblings` how many the plan has.

    A worker that did one group of a `family` does the next one sooner: it has the compiled program.
    """

    tasks: tuple[SweepTask, ...]
    engine: str
    siblings: int
    family: Any = None

    @property
    def name(self) -> str:
        """What warnings call it."""
        more = f" and {len(self.tasks) - 1} siblings" if len(self.tasks) > 1 else ""
        return self.tasks[0].name + more

    @property
    def cost(self) -> float:
        """Relative time of all."""
        return sum(task.cost for task in self.tasks)


def run_tasks(plan: Plan, keys: Iterable[str], until: int) -> list[SweepTask]:
    """The runs with these `keys`, to be trained up to the epoch `until`."""
    index = plan.dataset.origins("train", plan.experiment.window.lookback)
    windows: dict[str | None, int] = {None: len(index)}
    windows |= zip(plan.panel.series, np.bincount(index[:, 0], minlength=len(plan.panel.series)).tolist(), strict=True)
    chosen, steps = {key: plan.runs[key] for key in keys}, plan.experiment.training.steps
    return [
        SweepTask(
            "run",
            plan.run_name(run),
            key,
            run,
            until=until,
            cost=epoch_cost(run.configuration, windows[run.series], steps),
        )
        for key, run in chosen.items()
    ]


def baseline_tasks(plan: Plan, done: Container[str], known: Container[str]) -> list[SweepTask]:
    """Baselines whose keys are not `known` yet; the own settings among them, unless a run of the grid stands for them.

    A run does that which is `done`, or which the search trains to its end in any case. Networks of
    single series are not compared with one of all.
    """
    tasks = []
    key, own = plan.reference_key, plan.reference_run
    stands = key in done or (key in plan.runs and plan.experiment.search.strategy == "grid")
    if plan.experiment.mode != "local" and not stands and plan.baseline_keys[OWN_SETTINGS] not in known:
        windows = len(plan.dataset.origins("train", plan.experiment.window.lookback))
        tasks.append(
            SweepTask(
                "own",
                OWN_SETTINGS,
                key,
                own,
                cost=epoch_cost(own.configuration, windows, plan.experiment.training.steps),
            )
        )
    keys = {name: plan.baseline_keys[name] for name in plan.baseline_names}
    return tasks + [SweepTask("baseline", name, key) for name, key in keys.items() if key not in known]


def group_tasks(plan: Plan, tasks: Sequence[SweepTask], workers: int) -> list[TaskGroup]:
    """`tasks` as they are sent to workers, the longest first, so that none ends with a long one alone.

    Siblings that train abreast go together, those that learn slowly and so for long first.
    """
    family = Counter(map(grid.shared_program, {**plan.runs, plan.reference_key: plan.reference_run}.values()))
    found = [TaskGroup((task,), "stock", 1) for task in tasks if task.run is None]
    kin: dict[Any, list[SweepTask]] = defaultdict(list)
    for task in tasks:
        if task.run is not None:
            kin[grid.shared_program(task.run), task.until].append(task)
    for (program, _), members in kin.items():
        members.sort(key=_learning_rate)
        width = (
            lane_count(program.configuration, family[program], gpu=bool(worker_process.available_gpus()))
            if plan.engine == "fused"
            else 1
        )
        turns = LOCAL_RUNS_PER_LANE if program.series is not None else RUNS_PER_LANE if width > 1 else 1
        # Every worker is to have some.
        most = min(turns * width, -(-len(members) // workers))
        count = -(-len(members) // most)
        parts = [tuple(members[part::count]) for part in range(count)]
        found += [TaskGroup(part, plan.engine, family[program], program) for part in parts]
    return sorted(found, key=lambda group: -group.cost)


def _learning_rate(task: SweepTask) -> float:
    assert task.run is not None
    return task.run.configuration.learning_rate


def execute_group(datasets: Sequence[Dataset], group: TaskGroup, cache: Path) -> list[Any]:
    """The result or Failure of each task of `group`; Keras is imported here, never in a parent that has workers.

    `datasets` are those of each fold; what is no run is done on the last.
    """
    first = group.tasks[0].run
    dataset = datasets[first.fold if first else -1]
    if group.engine != "fused":
        return [_execute_guarded(dataset, task, cache) for task in group.tasks]
    from gridcast.training import fused_fit

    chosen = [task.run for task in group.tasks if task.run is not None]
    state_paths = [_checkpoint_path(task, cache) for task in group.tasks]
    ended = fused_fit.train(
        dataset, chosen, state_paths=state_paths, siblings=group.siblings, until=group.tasks[0].until
    )
    return [worker_pool.TaskFailure(str(one)) if isinstance(one, GridcastError) else one for one in ended]


def _execute_guarded(dataset: Dataset, task: SweepTask, cache: Path) -> Any:
    """The result of a task; its Failure too where others stand beside it."""
    try:
        return _execute_task(dataset, task, cache)
    except GridcastError as error:
        return worker_pool.TaskFailure(str(error))


def _execute_task(dataset: Dataset, task: SweepTask, cache: Path) -> Any:
    if task.run is None and task.files is None:
        if dataset.anomaly is not None:
            return detection_results.baseline_scores(task.name, dataset)
        return forecast_results.forecast_baseline(task.name, task_of(dataset, dataset.preprocessing.lookback))
    from gridcast.evaluation import span_evaluation
    from gridcast.training import calibration, keras_fit

    if task.run is None:
        files = task.files or {}
        if task.kind == "validation" and dataset.anomaly is not None:
            return calibration.calibrate_ensemble(dataset, files)
        forecasts: Any = span_evaluation.predict_span(
            dataset, files, "validation" if task.kind == "validation" else "test"
        )
        if task.kind != "test" or dataset.anomaly is not None:
            return forecasts
        from gridcast.evaluation import explanation

        return replace(forecasts, importance=explanation.explain_forecaster(dataset, files))
    return keras_fit.train(dataset, task.run, state_path=_checkpoint_path(task, cache), until=task.until)


def _checkpoint_path(task: SweepTask, cache: Path) -> Path:
    """Where a run keeps its state; the own settings may be trained beside a run of the grid with the same key."""
    return cache / "checkpoints" / (f"own-{task.key}" if task.kind == "own" else task.key)
