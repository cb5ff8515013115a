"""The main loop of a sweep: train the runs that the search asks for, round by round, and record them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gridcast.sweep.events import SweepEvents
from gridcast.sweep.missing_measures import complete_validation
from gridcast.sweep.records import evaluation_entry, failure_entry, run_entry, stopped_entry
from gridcast.sweep.search import SearchRound, search_effort, search_rounds
from gridcast.sweep.search_costs import search_costs
from gridcast.sweep.search_space import SearchSpace
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask, run_tasks
from gridcast.sweep.threshold_change import with_recalibrated
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.training.result import PausedRun, TrainingResult


@dataclass
class SearchTally:
    """Counts of the runs of this start, and the result of the experiment's own settings if they were trained.

    Of the `trained` runs, `confirmed` are further seeds of the leading configurations. `failed_baselines` has the
    reason of each baseline that failed, the own settings included, by name.
    """

    trained: int = 0
    confirmed: int = 0
    stopped: int = 0
    failed: int = 0
    failed_baselines: dict[str, str] = field(default_factory=dict)
    reference_result: TrainingResult | None = None


class SearchLoop:
    """Trains the runs that the search asks for; `finished` are the MLflow runs that are finished already, by key.

    A round trains its runs up to some epoch. A run that is not at its end by then is paused, with its state on
    disk: the next round continues it, or the search has dropped it, and only then is it recorded, as stopped.
    """

    def __init__(self, session: SweepSession, events: SweepEvents, finished: Mapping[str, Any]) -> None:
        plan = session.plan
        self._session, self._events, self._finished = session, events, dict(finished)
        self._search, self._epochs = plan.experiment.search, plan.experiment.training.epochs
        self._costs = search_costs(plan)
        self._runs = dict(plan.runs)  # to which the search adds what it proposes
        space = SearchSpace(plan.experiment, self._runs, plan.run_key)
        self._rounds = search_rounds(self._search, self._runs, self._epochs, space)
        minutes = self._search.budget.minutes if self._search.budget else None
        self._deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        self._stopped = mlflow_runs.finished_runs(session.store, plan.runs, mlflow_runs.STOPPED_KIND)
        self._ended: dict[str, TrainingResult] = {}  # the runs that ended in this start, by key
        self._failed: set[str] = set()
        self._paused: dict[str, PausedRun] = {}  # runs that wait for the search to continue or drop them, by key
        self._left_out: dict[str, SweepTask] = {}  # baselines that are not computed yet, by key
        self.tally = SearchTally()

    def train(self, others: Sequence[SweepTask]) -> SearchTally:
        """Train what the search asks for, and `others` beside the first round; record all of it.

        Baselines that had not begun when the time was over are computed all the same: without them the winner cannot be
        judged.
        """
        self._announce(others)
        self._left_out = {task.key: task for task in others if task.kind == "baseline"}
        search_round: SearchRound | None = next(self._rounds)
        while search_round and self._has_time():
            self._record_proposals()
            costs = self._train_round(search_round, others)
            others = ()
            if not self._has_time():
                break  # the round may be incomplete; what it paused can continue in a later start
            search_round = self._next_round(costs)
            self._settle_paused(search_round)
        for task, result in self._session.execute(list(self._left_out.values())):
            self._record_other(task, result)
        return self.tally

    def _announce(self, others: Sequence[SweepTask]) -> None:
        plan, known = self._session.plan, self._finished
        count, sample = plan.run_count, plan.sample()
        effort = search_effort(self._search, count, self._epochs)
        unfinished = run_tasks(sample, (key for key in sample.runs if key not in known), self._epochs)
        cost = effort.epochs * sum(task.cost for task in unfinished) + sum(task.cost for task in others)
        if plan.is_proposed:
            cost *= max(0, count - len(known)) / max(1, len(unfinished))
        todo = max(0, round(effort.runs * count) - len(known))
        self._events.started(len(known), todo, cost)

    def _record_proposals(self) -> None:
        """Add the runs that the search has proposed to the plan, with what is recorded of them, before they begin."""
        session = self._session
        new = {key: run for key, run in self._runs.items() if key not in session.plan.runs}
        if not new:
            return
        session.set_plan(replace(session.plan, runs={**session.plan.runs, **new}))
        finished = complete_validation(session, mlflow_runs.finished_runs(session.store, new))
        self._finished = with_recalibrated(session, self._finished | finished)
        session.finished_keys |= self._finished.keys()
        self._stopped |= mlflow_runs.finished_runs(session.store, new, mlflow_runs.STOPPED_KIND)

    def _has_time(self) -> bool:
        return time.monotonic() < self._deadline

    def _train_round(self, search_round: SearchRound, others: Sequence[SweepTask]) -> dict[str, float]:
        """Train the runs of a round that are not known up to their epoch; return the cost of each run, by key."""
        session = self._session
        costs = self._known_costs(search_round)
        keys_until: dict[int, list[str]] = {}
        for key in search_round.keys:
            until = search_round.until_of(key)
            if key not in costs and not self._is_known(key, until):
                keys_until.setdefault(until, []).append(key)
        tasks = [task for until, keys in keys_until.items() for task in run_tasks(session.plan, keys, until)]
        if tasks:
            session.reopen()
        trained_before = {key: len(paused.curves["val_loss"]) for key, paused in self._paused.items()}
        for task, result in session.execute([*tasks, *others], self._has_time):
            if task.kind != "run":
                self._record_other(task, result)
                continue
            # A run that continues after an earlier round costs only the epochs since then.
            until = search_round.until_of(task.key)
            cost = task.cost * max(0, until - trained_before.get(task.key, 0)) / self._epochs
            costs[task.key] = self._record_run(task, result, until=until, cost=cost)
        return costs

    def _is_known(self, key: str, until: int) -> bool:
        """Whether a run needs no training up to the epoch `until`."""
        is_stopped = key in self._stopped and self._stopped[key].data.metrics["epochs_trained"] >= until
        return key in self._finished or key in self._ended or key in self._failed or is_stopped

    def _known_costs(self, search_round: SearchRound) -> dict[str, float]:
        """Return the costs up to their epoch of the runs of a round that need no training, by key."""
        if self._search.strategy == "grid":  # the grid asks for no costs, so their curves need not be read
            return {}
        costs: dict[str, float] = {}
        for key in search_round.keys:
            until = search_round.until_of(key)
            if not self._is_known(key, until):
                continue
            if key in self._failed:
                costs[key] = math.inf
            elif key in self._ended:
                costs[key] = self._end_cost(self._ended[key], until)
            else:
                recorded = self._finished.get(key) or self._stopped[key]
                costs[key] = self._costs.of_record(self._session.store, recorded, until)
        return costs

    def _end_cost(self, result: TrainingResult, until: int) -> float:
        """Return the cost after `until` epochs of a run that has come to its end, maybe later than that."""
        if len(result.curves["val_loss"]) <= until:
            return self._costs.of_metrics(result.metrics)
        return self._costs.of_curves(result.curves, until)

    def _next_round(self, costs: dict[str, float]) -> SearchRound | None:
        try:
            return self._rounds.send(costs)
        except StopIteration:
            return None

    def _settle_paused(self, next_round: SearchRound | None) -> None:
        """Record the paused runs that the search will not continue as stopped."""
        if next_round is not None and self._search.strategy == "asha":
            return  # until its end, any of them may still go on
        plan = self._session.plan
        for key in self._paused.keys() - (next_round.keys if next_round else ()):
            paused = self._paused.pop(key)
            self._session.recorder.add(stopped_entry(plan, key, paused))
            self._events.stopped(plan.run_name(plan.runs[key]), len(paused.curves["val_loss"]))
            self.tally.stopped += 1

    def _record_run(
        self, task: SweepTask, result: TrainingResult | PausedRun | TaskFailure, *, until: int, cost: float
    ) -> float:
        """Record and report the result of a run of the grid; return its cost up to `until`, infinite if it failed."""
        session = self._session
        self._paused.pop(task.key, None)
        if isinstance(result, TaskFailure):
            self.tally.failed += 1
            self._failed.add(task.key)
            self._record_failure(task, result, cost)
            return math.inf
        if isinstance(result, PausedRun):
            self._paused[task.key] = result
            self._events.finished(task.name, cost, None)
            return self._costs.of_curves(result.curves, until)
        self.tally.trained += 1
        self._ended[task.key] = replace(result, files={}, origin_losses=())  # what later rounds ask for
        session.recorder.add(run_entry(session.plan, task, result))
        session.finished_keys.add(task.key)
        self._events.finished(task.name, cost, result.metrics)
        return self._end_cost(result, until)

    def _record_other(self, task: SweepTask, result: Any) -> None:
        """Record and report the result of a baseline, or keep that of the experiment's own settings for its test."""
        self._left_out.pop(task.key, None)
        if isinstance(result, TaskFailure):
            self.tally.failed_baselines[task.name] = result.reason
            self._record_failure(task, result, task.cost)
            return
        if task.kind == "reference":
            self.tally.reference_result = result
        else:
            self._session.recorder.add(evaluation_entry(self._session.plan, task, result, kind="baseline"))
            self._events.baseline_done(task.name, time.time() - result.started)
        # Without metrics: only runs of the grid are counted and shown.
        self._events.finished(task.name, task.cost, None)

    def _record_failure(self, task: SweepTask, failure: TaskFailure, cost: float) -> None:
        self._session.recorder.add(failure_entry(self._session.plan, task, failure.reason))
        self._events.failed(task.name, cost, failure.reason)
