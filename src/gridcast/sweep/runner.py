"""One execution of an experiment: skip what is finished, execute the rest, record, test the winner."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gridcast.config.grid import Run
from gridcast.evaluation import detections, forecasts
from gridcast.evaluation.detections import Detection
from gridcast.models import baselines
from gridcast.runtime.errors import GridcastError, Interrupted
from gridcast.sweep import ensemble, lease, outbox, search, worker_pool
from gridcast.sweep import tasks as tasks_module
from gridcast.sweep import winner as winners
from gridcast.sweep.plan import OWN, Plan
from gridcast.sweep.tasks import Group, Task
from gridcast.tracking import runs as runs_module
from gridcast.tracking.runs import Entry, Store
from gridcast.training.result import Outcome, Paused

STOPPED = "stopped"
"""Kind of the record of a run that the search did not train to its end."""
GOODBYE = 1.5
"""Seconds that the end of a sweep waits for a server that does not answer."""


class Events:
    """What a sweep tells while it runs; by default nobody listens."""

    def waits(self, other: lease.Claim) -> None:
        """Another process sweeps this experiment; this one goes on when that ends."""

    def started(self, done: int, todo: int, cost: float) -> None:
        """`done` runs were finished before, `todo` are to go; `cost` is the sum over all tasks."""

    def finished(self, name: str, cost: float, metrics: Mapping[str, float] | None) -> None:
        """A task ended well; `metrics` are those of a trained run, None for a baseline or the own settings."""

    def stopped(self, name: str, epochs: int) -> None:
        """The search goes on without this run."""

    def failed(self, name: str, cost: float, reason: str) -> None:
        """A task failed; the sweep goes on."""


@dataclass(frozen=True)
class Result:
    """How a sweep ended: counts of runs, the winner's MLflow run, test metrics by name (winner first).

    Of the runs of this start some were `trained` to their end, `stopped` before it by the search, or
    `failed`; `skipped` were finished before. The winner is `new` where it met the test span in this
    start. `seconds` are those of the training and of the tests.
    """

    parent: str
    trained: int
    skipped: int
    stopped: int
    failed: int
    winner: Any
    new: bool
    tested: dict[str, dict[str, float]]
    seconds: dict[str, float]


@dataclass
class _Session:
    """A sweep under way; `done` holds the keys of its runs that are trained."""

    plan: Plan
    store: Store
    parent: str
    pool: worker_pool.Pool
    recorder: outbox.Recorder
    done: set[str]


def run(plan: Plan, store: Store, place: worker_pool.Place, events: Events) -> Result:
    """Train what is not finished yet, record each run whole, then test winner and baselines once.

    Waits while another process sweeps the experiment. Raises TrackingError when the store fails and
    GridcastError when no run finished; Interrupted, with the sweep marked KILLED, on Ctrl-C. The
    next start goes on where it stopped.
    """
    held = lease.acquire(store, events.waits)
    with contextlib.ExitStack() as stack:
        stack.callback(_bounded, held.release)
        runs_module.tidy(store)
        parent = runs_module.open_sweep(store, plan.sweep_key, plan.experiment.name, plan.tags(), plan.texts())
        runs_module.set_status(store, parent, "RUNNING")
        status = ["KILLED"]
        stack.callback(_bounded, lambda: runs_module.set_status(store, parent, status[0]))
        recorder = outbox.Recorder(spool_folder(place.cache, store), lambda entry: _deliver(store, parent, held, entry))
        stack.callback(recorder.close)
        pool = stack.enter_context(worker_pool.Pool(place, plan.materials))
        session = _Session(plan, store, parent, pool, recorder, set())
        try:
            result = _run(session, events)
        except KeyboardInterrupt:
            recorder.close()
            left = f"; {recorder.left} of them wait in {recorder.folder} for MLflow" if recorder.left else ""
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


def _deliver(store: Store, parent: str, held: lease.Lease, entry: Entry) -> None:
    """Write `entry` unless its work is in MLflow already: an answer may have been lost on its way here."""
    held.prove()
    if entry.error or not runs_module.finished(store, [entry.key], entry.kind):
        runs_module.record(store, parent, entry)


def _bounded(function: Callable[[], None]) -> None:
    """Call `function`, but neither wait long nor fail: what it leaves undone, the next start does."""

    def call() -> None:
        with contextlib.suppress(GridcastError):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(GOODBYE)


def _run(session: _Session, events: Events) -> Result:
    plan, store, recorder = session.plan, session.store, session.recorder
    recorder.flush()
    done = runs_module.finished(store, plan.runs)
    known = runs_module.finished(store, plan.baseline_keys.values(), "baseline")
    session.done |= done.keys()
    begun = time.perf_counter()
    tally = _search(session, events, done, tasks_module.others(plan, done, known))
    recorder.flush()
    trained = time.perf_counter()
    done = runs_module.finished(store, plan.runs)
    if not done:
        raise GridcastError("no run finished; each failed run keeps its reason in MLflow (tag gridcast.error)")
    winner = _winner(session, done)
    untested = _untested(session, winner, done, known, tally.own)
    _test(session, untested, winner)
    tested = {runs_module.name(run): forecasts.tested(run) for run in _tests(session, winner)}
    before, seconds = len(done) - tally.trained, {"training": trained - begun, "tests": time.perf_counter() - trained}
    new = any(task.kind == "test" for task in untested)
    return Result(session.parent, tally.trained, before, tally.stopped, tally.failed, winner, new, tested, seconds)


def _winner(session: _Session, done: Mapping[str, Any]) -> Any:
    """The best run, or the forecaster made of several, which is recorded if it is new."""
    plan, store, runs = session.plan, session.store, list(done.values())
    chosen = plan.experiment.selection
    if plan.experiment.mode == "global" and chosen.ensemble is None:
        return winners.find(plan, store, runs)
    make: Callable[[], Entry]
    if chosen.ensemble is None:
        choices = winners.choose(plan, store, runs)
        key, make = winners.key(choices), functools.partial(winners.entry, plan, store, choices)
    else:
        team = ensemble.choose(chosen.ensemble, runs, chosen.metric, len(plan.materials) - 1)
        key, make = team.key, functools.partial(_combined, session, team)
    if not runs_module.finished(store, [key], runs_module.MADE):
        session.recorder.add(make())
        session.recorder.flush()
    winner = runs_module.finished(store, [key], runs_module.MADE)[key]
    runs_module.set_tag(store, session.parent, runs_module.WINNER, str(winner.info.run_id))
    return winner


def _combined(session: _Session, team: ensemble.Team) -> Entry:
    """The record of an ensemble, with its error on the validation span."""
    files = ensemble.files(team, session.store)
    task = Task("validation", team.name, team.key, files=files)
    ((_, outcome),) = _trained(session, [task])
    if isinstance(outcome, worker_pool.Failure):
        raise GridcastError(f"the {team.name} failed on the validation span: {outcome.reason}")
    return ensemble.entry(session.plan, team, files, outcome)


@dataclass
class _Tally:
    """What became of the runs of this start; `own` is the outcome of the experiment's own settings."""

    trained: int = 0
    stopped: int = 0
    failed: int = 0
    own: Outcome | None = None


def _search(session: _Session, events: Events, done: dict[str, Any], others: list[Task]) -> _Tally:
    """Train what the search asks for, round by round, and the `others` beside the first round; record all of it."""
    plan, store, recorder, tally = session.plan, session.store, session.recorder, _Tally()
    chosen, epochs = plan.experiment.search, plan.experiment.training.epochs
    minutes = chosen.budget.minutes if chosen.budget else None
    end = time.monotonic() + 60 * minutes if minutes else math.inf
    stopped = runs_module.finished(store, plan.runs, STOPPED)
    share = search.effort(chosen, len(plan.runs), epochs)
    todo = [task.cost for task in tasks_module.runs(plan, (key for key in plan.runs if key not in done), epochs)]
    count = max(0, round(share.runs * len(plan.runs)) - len(done))
    events.started(len(done), count, share.epochs * sum(todo) + sum(task.cost for task in others))
    rounds = search.rounds(chosen, plan.runs, epochs)
    asked: search.Round | None = next(rounds)
    ended: dict[str, float] = {}
    before = 0
    while asked and time.monotonic() < end:
        keys, until = asked
        # All that the plain grid wants to know of a run is whether it is finished.
        known = {key: run for key, run in stopped.items() if run.data.metrics["epochs_trained"] >= until} | done
        losses = {} if chosen.strategy == "grid" else {k: _loss(store, known[k], until) for k in keys if k in known}
        losses |= {key: loss for key, loss in ended.items() if key in keys}
        paused: dict[str, Paused] = {}
        tasks = tasks_module.runs(plan, (key for key in keys if key not in known and key not in ended), until)
        if tasks:
            # Promotion and verdict of an earlier end no longer hold, whatever becomes of this start.
            for tag in (runs_module.PROMOTION, runs_module.VERDICT):
                runs_module.set_tag(store, session.parent, tag, "")
        for task, outcome in _trained(session, tasks + others, lambda: time.monotonic() < end):
            spent = task.cost * (until - before) / epochs if task.kind == "run" else task.cost
            loss = _received(session, events, tally, task, outcome, spent)
            if task.kind == "run":
                losses[task.key] = loss
            if isinstance(outcome, Paused):
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
            recorder.add(_stopped_entry(plan, key, paused[key]))
            events.stopped(plan.name(plan.runs[key]), until)
            tally.stopped += 1
    return tally


def _received(session: _Session, events: Events, tally: _Tally, task: Task, outcome: Any, spent: float) -> float:
    """Record what became of `task`, and tell of it; returns the validation loss of a run, infinite if it failed."""
    plan, recorder = session.plan, session.recorder
    if isinstance(outcome, worker_pool.Failure):
        tally.failed += task.kind == "run"
        recorder.add(_failure_entry(plan, task, outcome.reason))
        events.failed(task.name, spent, outcome.reason)
        return math.inf
    loss = math.inf
    if isinstance(outcome, Paused):
        loss = min(outcome.curves["val_loss"])
    elif task.kind == "baseline":
        recorder.add(_test_entry(plan, task, "baseline", outcome))
    elif task.kind == "own":
        tally.own = outcome
    else:
        loss = outcome.metrics["best_val_loss"]
        tally.trained += 1
        recorder.add(_run_entry(plan, task, outcome))
        session.done.add(task.key)
    # The own settings are trained like a run, and are none of those that are counted.
    events.finished(task.name, spent, getattr(outcome, "metrics", None) if task.kind == "run" else None)
    return loss


def _loss(store: Store, run: Any, until: int) -> float:
    """The lowest validation loss of a recorded `run` up to the epoch `until`."""
    if run.data.metrics["epochs_trained"] <= until:
        return float(run.data.metrics["best_val_loss"])
    curve = runs_module.history(store, run.info.run_id, "val_loss")
    return min(loss for epoch, loss in curve.items() if epoch <= until)


def _trained(
    session: _Session, tasks: list[Task], more: Callable[[], bool] = lambda: True
) -> Iterator[tuple[Task, Any]]:
    """Each of `tasks` with its result or Failure; no more are begun once `more` says so.

    A group whose worker died too often is taken apart: only what killed it may fail.
    """
    plan, pulse, retries = session.plan, session.recorder.check, session.plan.experiment.training.retries
    waiting = tasks_module.groups(plan, tasks, session.pool.place.workers)
    while waiting:
        apart: list[Group] = []
        for position, outcomes in session.pool.execute(
            tasks_module.do, waiting, retries=retries, pulse=pulse, more=more
        ):
            group = waiting[position]
            if not isinstance(outcomes, worker_pool.Failure):
                yield from zip(group.tasks, outcomes, strict=True)
            elif len(group.tasks) == 1:
                yield group.tasks[0], outcomes
            else:
                apart += [replace(group, tasks=(task,)) for task in group.tasks]
        waiting = apart


def _untested(
    session: _Session, winner: Any, done: Mapping[str, Any], known: Mapping[str, Any], own: Outcome | None
) -> list[Task]:
    """Networks that have not met the test span yet: the winner, and the experiment's own settings."""
    plan, key = session.plan, winner.data.tags[runs_module.KEY]
    tasks = []
    if key not in runs_module.finished(session.store, [key], "test"):
        tasks.append(
            Task(
                "test", runs_module.name(winner), key, files=runs_module.model_files(session.store, winner.info.run_id)
            )
        )
    own_key, _ = plan.own
    if plan.baseline_keys[OWN] not in known and (own or own_key in done):
        files = own.files if own else runs_module.model_files(session.store, done[own_key].info.run_id)
        tasks.append(Task("baseline", OWN, plan.baseline_keys[OWN], files=files))
    return tasks


def _test(session: _Session, tasks: list[Task], winner: Any) -> None:
    for task, outcome in _trained(session, tasks):
        if isinstance(outcome, worker_pool.Failure):
            raise GridcastError(f"the test of {task.name} failed: {outcome.reason}")
        tags = {"gridcast.winner": str(winner.info.run_id)} if task.kind == "test" else {}
        session.recorder.add(_test_entry(session.plan, task, task.kind, outcome, tags))
    session.recorder.flush()


def _tests(session: _Session, winner: Any) -> list[Any]:
    """MLflow runs with test metrics: the winner's first, then the baselines in their order."""
    key, keys = winner.data.tags[runs_module.KEY], session.plan.baseline_keys.values()
    known = runs_module.finished(session.store, keys, "baseline")
    return [runs_module.finished(session.store, [key], "test")[key], *(known[key] for key in keys if key in known)]


def _run_entry(plan: Plan, task: Task, outcome: Outcome) -> Entry:
    assert task.run is not None
    curves = {name: list(enumerate(values, start=1)) for name, values in outcome.curves.items()}
    if plan.experiment.mode == "auto" and task.run.series is None:
        curves[runs_module.BY_SERIES] = list(outcome.series_errors)
    return Entry(
        name=task.name,
        kind="run",
        key=task.key,
        tags={**_tags(plan, task.run), "gridcast.engine": plan.engine},
        params=plan.params(task.run),
        metrics=outcome.metrics,
        curves={**curves, runs_module.BY_ORIGIN: list(outcome.origin_losses)},
        files=outcome.files,
        backend=plan.backend,
    )


def _tags(plan: Plan, run: Run) -> dict[str, str]:
    """By which runs are told apart and found again."""
    own = {} if run.series is None else {runs_module.SERIES: run.series}
    own |= {} if plan.experiment.split.folds is None else {runs_module.FOLD: str(run.fold)}
    return {
        **own,
        runs_module.SEED: str(run.seed),
        runs_module.CONFIGURATION: json.dumps(run.configuration.settings(), sort_keys=True),
        runs_module.FINGERPRINT: plan.fingerprint,
    }


def _stopped_entry(plan: Plan, key: str, paused: Paused) -> Entry:
    run = plan.runs[key]
    losses = paused.curves["val_loss"]
    return Entry(
        name=plan.name(run),
        kind=STOPPED,
        key=key,
        tags={
            **_tags(plan, run),
            "gridcast.stopped": f"after {len(losses)} epochs, by {plan.experiment.search.strategy}",
        },
        params=plan.params(run),
        metrics={
            "best_val_loss": min(losses),
            "best_epoch": losses.index(min(losses)) + 1,
            "epochs_trained": len(losses),
            "fit_seconds": paused.seconds,
        },
        curves={name: list(enumerate(values, start=1)) for name, values in paused.curves.items()},
    )


def _failure_entry(plan: Plan, task: Task, reason: str) -> Entry:
    return Entry(
        name=task.name,
        kind="run" if task.kind == "run" else "baseline",
        key=task.key,
        params=plan.params(task.run) if task.run else {},
        error=reason,
    )


def _test_entry(plan: Plan, task: Task, kind: str, outcome: Any, tags: Mapping[str, str] | None = None) -> Entry:
    told = {"mlflow.note.content": "\n".join(outcome.notes)} if outcome.notes else {}
    measures, artifacts = (_detected if isinstance(outcome, Detection) else _forecast)(plan, kind, outcome)
    return Entry(
        name=task.name,
        kind=kind,
        key=task.key,
        tags={runs_module.FINGERPRINT: plan.fingerprint, **told, **(tags or {})},
        params={"period": plan.material.period} if task.name in baselines.SEASONAL else {},
        metrics=measures,
        artifacts=artifacts,
    )


def _forecast(plan: Plan, kind: str, outcome: forecasts.Forecasts) -> tuple[dict[str, float], dict[str, bytes]]:
    """Measures of forecasts, and what is kept of them."""
    table = forecasts.table(outcome, plan.material, plan.panel)
    artifacts = {forecasts.FORECASTS: forecasts.to_bytes(table)}
    if outcome.explained:
        artifacts[forecasts.EXPLAINED] = json.dumps(outcome.explained).encode()
    if kind == "test":
        recent = forecasts.recent(plan.panel, plan.experiment.window.horizon)
        artifacts[forecasts.RECENT] = forecasts.to_bytes(recent)
        lookback = max(run.configuration.lookback for run in plan.runs.values())
        examples = forecasts.examples(plan.panel, plan.material.preprocessing, lookback)
        artifacts[forecasts.EXAMPLES] = json.dumps(examples).encode()
    return forecasts.measures(table), artifacts


def _detected(plan: Plan, kind: str, outcome: Detection) -> tuple[dict[str, float], dict[str, bytes]]:
    """The same of what a detector says."""
    time = plan.experiment.data.time
    table = detections.table(outcome, plan.panel, time)
    artifacts = {detections.SCORES: forecasts.to_bytes(table)}
    if kind == "test":
        artifacts[detections.VALUES] = forecasts.to_bytes(detections.values(plan.panel, time))
    measures = detections.measures(table, plan.material.per_day, plan.experiment.anomaly)
    return {forecasts.PREFIX + name: value for name, value in measures.items()}, artifacts
