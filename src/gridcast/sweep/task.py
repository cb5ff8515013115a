"""The tasks of a sweep, and how they are grouped for the workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridcast.config import grid
from gridcast.config.grid import Run
from gridcast.sweep import worker_process
from gridcast.sweep.plan import OWN_SETTINGS, Plan, epoch_cost
from gridcast.training.lane_count import lane_count

RUNS_PER_LANE = 2
"""Runs of a group per lane where several train in parallel: a run that stops early leaves its lane to the next."""
RECALIBRATION = "recalibration"
"""Kind of the task that recomputes the thresholds of a trained detector, and its metrics."""
LOCAL_RUNS_PER_LANE = 8
"""The same for runs of single series, which are short."""


@dataclass(frozen=True)
class SweepTask:
    """One piece of work of a sweep.

    `kind` is `run` (of the grid), `reference` (the run of the experiment's own settings), `baseline`, `contender`
    (the model of a baseline), or the `test` or `validation` of the forecaster in `files`, or `greedy` (the weights of
    its members by `metric`), or `recalibration` (another threshold for the trained detector in `files`). `refit`,
    `refit contender` and `refit test` are of the winner, trained once more. A run is trained up to the epoch `until`
    (None: to its end). `cost` is its relative time.
    """

    kind: str
    name: str
    key: str
    run: Run | None = None
    files: dict[str, bytes] | None = None
    until: int | None = None
    cost: float = 0.01
    metric: str = ""

    @property
    def is_training(self) -> bool:
        """Whether the task trains its run, and does not only use the model in `files`."""
        return self.run is not None and self.files is None


@dataclass(frozen=True)
class TaskGroup:
    """Tasks that one worker does together; `engine` is how their runs train.

    `siblings` is the number of runs in the plan that share the compiled program. A worker that has done one
    group of a `family` does the next one faster: it has the program already.
    """

    tasks: tuple[SweepTask, ...]
    engine: str
    siblings: int
    family: Any = None

    @property
    def name(self) -> str:
        """Name of the group in warnings."""
        more = f" and {len(self.tasks) - 1} siblings" if len(self.tasks) > 1 else ""
        return self.tasks[0].name + more

    @property
    def cost(self) -> float:
        """Relative time of all tasks together."""
        return sum(task.cost for task in self.tasks)


def run_tasks(plan: Plan, keys: Iterable[str], until: int) -> list[SweepTask]:
    """Return a task for each run with one of `keys`, to be trained up to the epoch `until`."""
    index = plan.dataset.origins("train", plan.experiment.window.lookback)
    windows: dict[str | None, int] = {None: len(index)}
    windows |= zip(plan.panel.series, np.bincount(index[:, 0], minlength=len(plan.panel.series)).tolist(), strict=True)
    max_steps = plan.experiment.training.steps
    tasks = []
    runs = plan.all_runs
    for key in keys:
        run = runs[key]
        cost = epoch_cost(run.configuration, windows[run.series], max_steps)
        # Costs are relative to runs of all epochs of the experiment.
        cost *= plan.dataset.epochs_of(run.configuration) / plan.experiment.training.epochs
        tasks.append(SweepTask("run", plan.run_name(run), key, run, until=until, cost=cost))
    return tasks


def baseline_tasks(plan: Plan, finished: Container[str], recorded: Container[str]) -> list[SweepTask]:
    """Return a task for each baseline whose key is not `recorded`, and for the experiment's own settings.

    The own settings need no training if a run of the grid has them and is `finished` by its key, or will be
    trained to its end by the search. Networks of single series are not compared with one of all series.
    """
    tasks = []
    key, run = plan.reference_key, plan.reference_run
    is_in_grid = key in finished or (key in plan.runs and plan.experiment.search.strategy == "grid")
    if plan.experiment.mode != "local" and not is_in_grid and plan.baseline_keys[OWN_SETTINGS] not in recorded:
        windows = len(plan.dataset.origins("train", plan.experiment.window.lookback))
        cost = epoch_cost(run.configuration, windows, plan.experiment.training.steps)
        tasks.append(SweepTask("reference", OWN_SETTINGS, key, run, cost=cost))
    keys = {name: plan.baseline_keys[name] for name in plan.baseline_names}
    return tasks + [SweepTask("baseline", name, key) for name, key in keys.items() if key not in recorded]


def group_tasks(plan: Plan, tasks: Sequence[SweepTask], workers: int) -> list[TaskGroup]:
    """Return `tasks` in groups for `workers` workers, the longest first, so that no worker ends with a long one alone.

    Runs that share a program are grouped; within a group, the slow learners, which train longest, come first.
    """
    siblings = Counter(map(grid.shared_program, {**plan.runs, plan.reference_key: plan.reference_run}.values()))
    groups = [TaskGroup((task,), "stock", 1) for task in tasks if not task.is_training]
    by_program: dict[Any, list[SweepTask]] = defaultdict(list)
    for task in tasks:
        if task.is_training:
            assert task.run is not None
            by_program[grid.shared_program(task.run), task.until].append(task)
    has_gpu = bool(worker_process.available_gpus())
    for (program, _), members in by_program.items():
        members.sort(key=_learning_rate)
        lanes = 1
        if plan.engine == "fused":
            lanes = lane_count(program.configuration, siblings[program], gpu=has_gpu)
        runs_per_lane = LOCAL_RUNS_PER_LANE if program.series is not None else RUNS_PER_LANE if lanes > 1 else 1
        # Not larger than an even share, so that every worker gets some of the siblings.
        size = min(runs_per_lane * lanes, -(-len(members) // workers))
        count = -(-len(members) // size)
        # Every count-th member: each group gets slow and fast learners alike.
        parts = [tuple(members[part::count]) for part in range(count)]
        groups += [TaskGroup(part, plan.engine, siblings[program], program) for part in parts]
    return sorted(groups, key=lambda group: -group.cost)


def _learning_rate(task: SweepTask) -> float:
    assert task.run is not None
    return task.run.configuration.learning_rate
