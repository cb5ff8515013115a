"""The main loop of a sweep: train the runs that the search asks for, round by round, and record them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gridcast.sweep.events import SweepEvents
from gridcast.sweep.records import evaluation_entry, failure_entry, run_entry, stopped_entry
from gridcast.sweep.search import SearchRound, search_effort, search_rounds
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask, run_tasks
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store
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
        self._session, self._events, self._finished = session, events, finished
        self._search, self._epochs = plan.experiment.search, plan.experiment.training.epochs
        self._rounds = search_rounds(self._search, plan.runs, self._epochs)
        minutes = self._search.budget.minutes if self._search.budget else None
        self._deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        self._stopped = mlflow_runs.finished_runs(session.store, plan.runs, mlflow_runs.STOPPED_KIND)
        self._ended: dict[str, float] = {}  # final losses of the runs that ended in this start, by key
        self._paused: dict[str, PausedRun] = {}  # runs that the present round paused, by key
        self._left_out: dict[str, SweepTask] = {}  # baselines that are not computed yet, by key
        self._trained_until = 0  # epoch at which the last round paused its runs
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
            losses = self._train_round(search_round, others)
            others = ()
            if not self._has_time():
                break  # the round may be incomplete; what it paused can continue in a later start
            search_round = self._next_round(losses)
            self._settle_paused(search_round)
        for task, result in self._session.execute(list(self._left_out.values())):
            self._record_other(task, result)
        return self.tally

    def _announce(self, others: Sequence[SweepTask]) -> None:
        plan = self._session.plan
        effort = search_effort(self._search, len(plan.runs), self._epochs)
        unfinished = run_tasks(plan, (key for key in plan.runs if key not in self._finished), self._epochs)
        cost = effort.epochs * sum(task.cost for task in unfinished) + sum(task.cost for task in others)
        todo = max(0, round(effort.runs * len(plan.runs)) - len(self._finished))
        self._events.started(len(self._finished), todo, cost)

    def _has_time(self) -> bool:
        return time.monotonic() < self._deadline

    def _train_round(self, search_round: SearchRound, others: Sequence[SweepTask]) -> dict[str, float]:
        """Train the runs of a round that are not known up to its epoch; return the loss of each run, by key."""
        session, (keys, until) = self._session, search_round
        stopped = {k: run for k, run in self._stopped.items() if run.data.metrics["epochs_trained"] >= until}
        recorded = stopped | dict(self._finished)
        losses = self._known_losses(search_round, recorded)
        tasks = run_tasks(session.plan, (k for k in keys if k not in recorded and k not in self._ended), until)
        if tasks:
            session.reopen()
        self._paused = {}
        for task, result in session.execute([*tasks, *others], self._has_time):
            if task.kind != "run":
                self._record_other(task, result)
                continue
            # A run that continues after the last round costs only the epochs since then.
            cost = task.cost * (until - self._trained_until) / self._epochs
            losses[task.key] = self._record_run(task, result, cost)
            if task.key not in self._paused:
                self._ended[task.key] = losses[task.key]
        self._trained_until = until
        return losses

    def _known_losses(self, search_round: SearchRound, recorded: Mapping[str, Any]) -> dict[str, float]:
        """Return the losses up to the epoch of the round of its runs that need no training, by key."""
        losses: dict[str, float] = {}
        if self._search.strategy != "grid":  # the grid asks for no losses, so their curves need not be read
            for key in search_round.keys:
                if key in recorded:
                    losses[key] = _loss_until(self._session.store, recorded[key], search_round.until)
        return losses | {key: loss for key, loss in self._ended.items() if key in search_round.keys}

    def _next_round(self, losses: dict[str, float]) -> SearchRound | None:
        try:
            return self._rounds.send(losses)
        except StopIteration:
            return None

    def _settle_paused(self, next_round: SearchRound | None) -> None:
        """Record the paused runs that the next round does not continue as stopped."""
        plan = self._session.plan
        for key in self._paused.keys() - (next_round.keys if next_round else ()):
            paused = self._paused[key]
            self._session.recorder.add(stopped_entry(plan, key, paused))
            self._events.stopped(plan.run_name(plan.runs[key]), self._trained_until)
            self.tally.stopped += 1

    def _record_run(self, task: SweepTask, result: TrainingResult | PausedRun | TaskFailure, cost: float) -> float:
        """Record and report the result of a run of the grid; return its validation loss, infinite if it failed."""
        session = self._session
        if isinstance(result, TaskFailure):
            self.tally.failed += 1
            self._record_failure(task, result, cost)
            return math.inf
        if isinstance(result, PausedRun):
            self._paused[task.key] = result
            self._events.finished(task.name, cost, None)
            return min(result.curves["val_loss"])
        self.tally.trained += 1
        session.recorder.add(run_entry(session.plan, task, result))
        session.finished_keys.add(task.key)
        self._events.finished(task.name, cost, result.metrics)
        return result.metrics["best_val_loss"]

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
        # Without metrics: only runs of the grid are counted and shown.
        self._events.finished(task.name, task.cost, None)

    def _record_failure(self, task: SweepTask, failure: TaskFailure, cost: float) -> None:
        self._session.recorder.add(failure_entry(self._session.plan, task, failure.reason))
        self._events.failed(task.name, cost, failure.reason)


def _loss_until(store: Store, run: Any, epoch: int) -> float:
    """Return the lowest validation loss of a recorded run up to `epoch`."""
    if run.data.metrics["epochs_trained"] <= epoch:
        return float(run.data.metrics["best_val_loss"])
    curve = mlflow_runs.metric_history(store, run.info.run_id, "val_loss")
    return min(loss for step, loss in curve.items() if step <= epoch)
