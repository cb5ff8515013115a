"""One execution of an experiment: skip what is finished, execute the rest, record, test the winner."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import GridcastError, Interrupted
from gridcast.sweep import ensemble, lease, outbox, search, worker_pool
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.plan import OWN_SETTINGS, Plan
from gridcast.sweep.records import STOPPED_KIND, failure_entry, run_entry, stopped_entry, test_entry
from gridcast.sweep.task import SweepTask, TaskGroup, baseline_tasks, execute_group, group_tasks, run_tasks
from gridcast.sweep.winner import choose_per_series, find_winner, routing_entry, routing_key
from gridcast.tracking import mlflow_runs, ranking, run_recording
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store
from gridcast.training.result import PausedRun, TrainingResult

GOODBYE = 1.5
"""Seconds that the end of a sweep waits for a server that does not answer."""


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended: counts of runs, the winner's MLflow run, test metrics by name (winner first).

    Of the runs of this start some were `trained` to their end, `stopped` before it by the search, or
    `failed`; `skipped` were finished before. The winner is `new` where it met the test span in this
    start. `seconds` are those of the training and of the tests.
    """

    sweep_id: str
    trained: int
    skipped: int
    stopped: int
    failed: int
    winner: Any
    winner_is_new: bool
    test_measures: dict[str, dict[str, float]]
    seconds: dict[str, float]


@dataclass
class _Session:
    """A sweep under way; `done` holds the keys of its runs that are trained."""

    plan: Plan
    store: Store
    parent: str
    pool: worker_pool.WorkerPool
    recorder: outbox.Recorder
    done: set[str]


def run_sweep(plan: Plan, store: Store, place: worker_pool.WorkerSettings, events: SweepEvents) -> SweepResult:
    """Train what is not finished yet, record each run whole, then test winner and baselines once.

    Waits while another process sweeps the experiment. Raises TrackingError when the store fails and
    GridcastError when no run finished; Interrupted, with the sweep marked KILLED, on Ctrl-C. The
    next start goes on where it stopped.
    """
    held = lease.acquire_lease(store, events.waiting)
    with contextlib.ExitStack() as stack:
        stack.callback(_bounded, held.release)
        mlflow_runs.close_stale_runs(store)
        parent = mlflow_runs.open_sweep(
            store, plan.sweep_key, plan.experiment.name, plan.sweep_tags(), plan.sweep_files()
        )
        mlflow_runs.set_run_status(store, parent, "RUNNING")
        status = ["KILLED"]
        stack.callback(_bounded, lambda: mlflow_runs.set_run_status(store, parent, status[0]))
        recorder = outbox.Recorder(
            spool_folder(place.cache, store), lambda entry: _record_once(store, parent, held, entry)
        )
        stack.callback(recorder.close)
        pool = stack.enter_context(worker_pool.WorkerPool(place, plan.datasets))
        session = _Session(plan, store, parent, pool, recorder, set())
        try:
            result = _run(session, events)
        except KeyboardInterrupt:
            recorder.close()
            left = f"; {recorder.pending} of them wait in {recorder.folder} for MLflow" if recorder.pending else ""
            raise Interrupted(
                f"interrupted with {len(session.done)} of {len(plan.runs)} runs finished{left}; "
                "the same command goes on with the rest"
            ) from None
        except GridcastError:
            status[0] = "FAILED"
            raise
        status[0] = "FAILED" if result.failed else "FINISHED"
        return result


def spool_folder(cache: Path, store: Store) -> Path:
    """Where results wait for the MLflow experiment `store`."""
    return cache / "spool" / f"{store.experiment}-{hashlib.sha256(store.uri.encode()).hexdigest()[:8]}"


def _record_once(store: Store, parent: str, held: lease.Lease, entry: RunEntry) -> None:
    """Write `entry` unless its work is in MLflow already: an answer may have been lost on its way here."""
    held.ensure_held()
    if entry.error or not mlflow_runs.finished_runs(store, [entry.key], entry.kind):
        run_recording.record_run(store, parent, entry)


def _bounded(function: Callable[[], None]) -> None:
    """Call `function`, but neither wait long nor fail: what it leaves undone, the next start does."""

    def call() -> None:
        with contextlib.suppress(GridcastError):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(GOODBYE)


def _run(session: _Session, events: SweepEvents) -> SweepResult:
    plan, store, recorder = session.plan, session.store, session.recorder
    recorder.flush()
    done = mlflow_runs.finished_runs(store, plan.runs)
    known = mlflow_runs.finished_runs(store, plan.baseline_keys.values(), "baseline")
    session.done |= done.keys()
    begun = time.perf_counter()
    tally = _search(session, events, done, baseline_tasks(plan, done, known))
    recorder.flush()
    trained = time.perf_counter()
    done = mlflow_runs.finished_runs(store, plan.runs)
    if not done:
        raise GridcastError("no run finished; each failed run keeps its reason in MLflow (tag gridcast.error)")
    winner = _winner(session, done)
    untested = _untested(session, winner, done, known, tally.own)
    _test(session, untested, winner)
    tested = {mlflow_runs.run_name(run): ranking.test_measures(run) for run in _tests(session, winner)}
    before, seconds = len(done) - tally.trained, {"training": trained - begun, "tests": time.perf_counter() - trained}
    new = any(task.kind == "test" for task in untested)
    return SweepResult(session.parent, tally.trained, before, tally.stopped, tally.failed, winner, new, tested, seconds)


def _winner(session: _Session, done: Mapping[str, Any]) -> Any:
    """The best run, or the forecaster made of several, which is recorded if it is new."""
    plan, store, runs = session.plan, session.store, list(done.values())
    chosen = plan.experiment.selection
    if plan.experiment.mode == "global" and chosen.ensemble is None:
        return find_winner(plan, store, runs)
    make: Callable[[], RunEntry]
    if chosen.ensemble is None:
        choices = choose_per_series(plan, store, runs)
        key, make = routing_key(choices), functools.partial(routing_entry, plan, store, choices)
    else:
        team = ensemble.choose_members(chosen.ensemble, runs, chosen.metric, len(plan.datasets) - 1)
        key, make = team.key, functools.partial(_combined, session, team)
    if not mlflow_runs.finished_runs(store, [key], mlflow_runs.WINNER_KIND):
        session.recorder.add(make())
        session.recorder.flush()
    winner = mlflow_runs.finished_runs(store, [key], mlflow_runs.WINNER_KIND)[key]
    mlflow_runs.set_run_tag(store, session.parent, mlflow_runs.WINNER_TAG, str(winner.info.run_id))
    return winner


def _combined(session: _Session, team: ensemble.EnsembleMembers) -> RunEntry:
    """The record of an ensemble, with its error on the validation span."""
    files = ensemble.ensemble_files(team, session.store)
    task = SweepTask("validation", team.name, team.key, files=files)
    ((_, outcome),) = _trained(session, [task])
    if isinstance(outcome, worker_pool.TaskFailure):
        raise GridcastError(f"the {team.name} failed on the validation span: {outcome.reason}")
    return ensemble.ensemble_entry(session.plan, team, files, outcome)


@dataclass
class _Tally:
    """What became of the runs of this start; `own` is the outcome of the experiment's own settings."""

    trained: int = 0
    stopped: int = 0
    failed: int = 0
    own: TrainingResult | None = None


def _search(session: _Session, events: SweepEvents, done: dict[str, Any], others: list[SweepTask]) -> _Tally:
    """Train what the search asks for, round by round, and the `others` beside the first round; record all of it."""
    plan, store, recorder, tally = session.plan, session.store, session.recorder, _Tally()
    chosen, epochs = plan.experiment.search, plan.experiment.training.epochs
    minutes = chosen.budget.minutes if chosen.budget else None
    end = time.monotonic() + 60 * minutes if minutes else math.inf
    stopped = mlflow_runs.finished_runs(store, plan.runs, STOPPED_KIND)
    share = search.search_effort(chosen, len(plan.runs), epochs)
    todo = [task.cost for task in run_tasks(plan, (key for key in plan.runs if key not in done), epochs)]
    count = max(0, round(share.runs * len(plan.runs)) - len(done))
    events.started(len(done), count, share.epochs * sum(todo) + sum(task.cost for task in others))
    rounds = search.search_rounds(chosen, plan.runs, epochs)
    asked: search.SearchRound | None = next(rounds)
    ended: dict[str, float] = {}
    before = 0
    while asked and time.monotonic() < end:
        keys, until = asked
        # All that the plain grid wants to know of a run is whether it is finished.
        known = {key: run for key, run in stopped.items() if run.data.metrics["epochs_trained"] >= until} | done
        losses = {} if chosen.strategy == "grid" else {k: _loss(store, known[k], until) for k in keys if k in known}
        losses |= {key: loss for key, loss in ended.items() if key in keys}
        paused: dict[str, PausedRun] = {}
        tasks = run_tasks(plan, (key for key in keys if key not in known and key not in ended), until)
        if tasks:
            # Promotion and verdict of an earlier end no longer hold, whatever becomes of this start.
            for tag in (mlflow_runs.PROMOTION_TAG, mlflow_runs.VERDICT_TAG):
                mlflow_runs.set_run_tag(store, session.parent, tag, "")
        for task, outcome in _trained(session, tasks + others, lambda: time.monotonic() < end):
            spent = task.cost * (until - before) / epochs if task.kind == "run" else task.cost
            loss = _received(session, events, tally, task, outcome, spent)
            if task.kind == "run":
                losses[task.key] = loss
            if isinstance(outcome, PausedRun):
                paused[task.key] = outcome
            elif task.kind == "run":
                ended[task.key] = loss
        others, before = [], until
        if time.monotonic() >= end:
            break
        try:
            asked = rounds.send(losses)
        except StopIteration:
            asked = None
        for key in paused.keys() - (asked[0] if asked else ()):
            recorder.add(stopped_entry(plan, key, paused[key]))
            events.stopped(plan.run_name(plan.runs[key]), until)
            tally.stopped += 1
    return tally


def _received(
    session: _Session, events: SweepEvents, tally: _Tally, task: SweepTask, outcome: Any, spent: float
) -> float:
    """Record what became of `task`, and tell of it; returns the validation loss of a run, infinite if it failed."""
    plan, recorder = session.plan, session.recorder
    if isinstance(outcome, worker_pool.TaskFailure):
        tally.failed += task.kind == "run"
        recorder.add(failure_entry(plan, task, outcome.reason))
        events.failed(task.name, spent, outcome.reason)
        return math.inf
    loss = math.inf
    if isinstance(outcome, PausedRun):
        loss = min(outcome.curves["val_loss"])
    elif task.kind == "baseline":
        recorder.add(test_entry(plan, task, "baseline", outcome))
    elif task.kind == "own":
        tally.own = outcome
    else:
        loss = outcome.metrics["best_val_loss"]
        tally.trained += 1
        recorder.add(run_entry(plan, task, outcome))
        session.done.add(task.key)
    # The own settings are trained like a run, and are none of those that are counted.
    events.finished(task.name, spent, getattr(outcome, "metrics", None) if task.kind == "run" else None)
    return loss


def _loss(store: Store, run: Any, until: int) -> float:
    """The lowest validation loss of a recorded `run` up to the epoch `until`."""
    if run.data.metrics["epochs_trained"] <= until:
        return float(run.data.metrics["best_val_loss"])
    curve = mlflow_runs.metric_history(store, run.info.run_id, "val_loss")
    return min(loss for epoch, loss in curve.items() if epoch <= until)


def _trained(
    session: _Session, tasks: list[SweepTask], more: Callable[[], bool] = lambda: True
) -> Iterator[tuple[SweepTask, Any]]:
    """Each of `tasks` with its result or Failure; no more are begun once `more` says so.

    A group whose worker died too often is taken apart: only what killed it may fail.
    """
    plan, pulse, retries = session.plan, session.recorder.check, session.plan.experiment.training.retries
    waiting = group_tasks(plan, tasks, session.pool.place.workers)
    while waiting:
        apart: list[TaskGroup] = []
        for position, outcomes in session.pool.execute(execute_group, waiting, retries=retries, pulse=pulse, more=more):
            group = waiting[position]
            if not isinstance(outcomes, worker_pool.TaskFailure):
                yield from zip(group.tasks, outcomes, strict=True)
            elif len(group.tasks) == 1:
                yield group.tasks[0], outcomes
            else:
                apart += [replace(group, tasks=(task,)) for task in group.tasks]
        waiting = apart


def _untested(
    session: _Session, winner: Any, done: Mapping[str, Any], known: Mapping[str, Any], own: TrainingResult | None
) -> list[SweepTask]:
    """Networks that have not met the test span yet: the winner, and the experiment's own settings."""
    plan, key = session.plan, winner.data.tags[mlflow_runs.KEY_TAG]
    tasks = []
    if key not in mlflow_runs.finished_runs(session.store, [key], "test"):
        tasks.append(
            SweepTask(
                "test",
                mlflow_runs.run_name(winner),
                key,
                files=mlflow_runs.read_model_files(session.store, winner.info.run_id),
            )
        )
    own_key = plan.reference_key
    if plan.baseline_keys[OWN_SETTINGS] not in known and (own or own_key in done):
        files = own.files if own else mlflow_runs.read_model_files(session.store, done[own_key].info.run_id)
        tasks.append(SweepTask("baseline", OWN_SETTINGS, plan.baseline_keys[OWN_SETTINGS], files=files))
    return tasks


def _test(session: _Session, tasks: list[SweepTask], winner: Any) -> None:
    for task, outcome in _trained(session, tasks):
        if isinstance(outcome, worker_pool.TaskFailure):
            raise GridcastError(f"the test of {task.name} failed: {outcome.reason}")
        tags = {"gridcast.winner": str(winner.info.run_id)} if task.kind == "test" else {}
        session.recorder.add(test_entry(session.plan, task, task.kind, outcome, tags))
    session.recorder.flush()


def _tests(session: _Session, winner: Any) -> list[Any]:
    """MLflow runs with test metrics: the winner's first, then the baselines in their order."""
    key, keys = winner.data.tags[mlflow_runs.KEY_TAG], session.plan.baseline_keys.values()
    known = mlflow_runs.finished_runs(session.store, keys, "baseline")
    return [mlflow_runs.finished_runs(session.store, [key], "test")[key], *(known[key] for key in keys if key in known)]
