"""One execution of an experiment: skip what is finished, execute the rest, record, test the winner."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gridcast import evaluation, execution, lease, spool, tracking, work
from gridcast.errors import GridcastError, Interrupted
from gridcast.models import baselines
from gridcast.plan import OWN, Plan
from gridcast.tracking import Entry, Store
from gridcast.training.outcome import Outcome
from gridcast.work import Group, Task

GOODBYE = 2.0
"""Seconds that the end of a sweep waits for a server that does not answer."""


class Events:
    """What a sweep tells while it runs; by default nobody listens."""

    def waits(self, other: lease.Claim) -> None:
        """Another process sweeps this experiment; this one goes on when that ends."""

    def started(self, done: int, todo: int, cost: float) -> None:
        """`done` runs were finished before, `todo` are to go; `cost` is the sum over all tasks."""

    def finished(self, name: str, cost: float, metrics: Mapping[str, float] | None) -> None:
        """A task ended well; `metrics` are those of a trained run, None for a baseline."""

    def failed(self, name: str, cost: float, reason: str) -> None:
        """A task failed; the sweep goes on."""


@dataclass(frozen=True)
class Result:
    """How a sweep ended: counts of runs, the winner's MLflow run, test metrics by name (winner first)."""

    parent: str
    trained: int
    skipped: int
    failed: int
    winner: Any
    tested: dict[str, dict[str, float]]


@dataclass
class _Session:
    """A sweep under way; `done` holds the keys of its runs that are trained."""

    plan: Plan
    store: Store
    parent: str
    pool: execution.Pool
    recorder: spool.Recorder
    done: set[str]


def run(plan: Plan, store: Store, place: execution.Place, events: Events) -> Result:
    """Train what is not finished yet, record each run whole, then test winner and baselines once.

    Waits while another process sweeps the experiment. Raises TrackingError when the store fails and
    GridcastError when no run finished; Interrupted, with the sweep marked KILLED, on Ctrl-C. The
    next start goes on where it stopped.
    """
    held = lease.acquire(store, events.waits)
    with contextlib.ExitStack() as stack:
        stack.callback(_bounded, held.release)
        tracking.tidy(store)
        parent = tracking.open_sweep(store, plan.sweep_key, plan.experiment.name, plan.tags(), plan.texts())
        tracking.set_status(store, parent, "RUNNING")
        status = ["KILLED"]
        stack.callback(_bounded, lambda: tracking.set_status(store, parent, status[0]))
        recorder = spool.Recorder(spool_folder(place.cache, store), lambda entry: _deliver(store, parent, held, entry))
        stack.callback(recorder.close)
        pool = stack.enter_context(execution.Pool(place, plan.material))
        session = _Session(plan, store, parent, pool, recorder, set())
        try:
            result = _run(session, events)
        except KeyboardInterrupt:
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
    if entry.error or not tracking.finished(store, [entry.key], entry.kind):
        tracking.record(store, parent, entry)


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
    done = tracking.finished(store, plan.runs)
    known = tracking.finished(store, plan.baseline_keys.values(), "baseline")
    session.done |= done.keys()
    tasks = work.left(plan, done, known)
    if len(done) < len(plan.runs):
        # Promotion and verdict of an earlier end no longer hold, whatever becomes of this start.
        for tag in (tracking.PROMOTION, tracking.VERDICT):
            tracking.set_tag(store, session.parent, tag, "")
    events.started(len(done), sum(task.run is not None for task in tasks), sum(task.cost for task in tasks))
    trained = failed = 0
    own: Outcome | None = None
    for task, outcome in _trained(session, tasks):
        if isinstance(outcome, execution.Failure):
            failed += task.kind == "run"
            recorder.add(_failure_entry(plan, task, outcome.reason))
            events.failed(task.name, task.cost, outcome.reason)
        elif task.kind == "baseline":
            recorder.add(_test_entry(plan, task, "baseline", outcome))
            events.finished(task.name, task.cost, None)
        else:
            if task.kind == "own":
                own = outcome
            else:
                trained += 1
                recorder.add(_run_entry(plan, task, outcome))
                session.done.add(task.key)
            events.finished(task.name, task.cost, outcome.metrics)
    recorder.flush()
    done = tracking.finished(store, plan.runs)
    if not done:
        raise GridcastError("no run finished; each failed run keeps its reason in MLflow (tag gridcast.error)")
    winner = evaluation.best(list(done.values()), plan.experiment.selection.metric)
    _test(session, _untested(session, winner, done, known, own), winner)
    tested = {tracking.name(run): evaluation.tested(run) for run in _tests(session, winner)}
    return Result(session.parent, trained, len(plan.runs) - trained - failed, failed, winner, tested)


def _trained(session: _Session, tasks: list[Task]) -> Iterator[tuple[Task, Any]]:
    """Each of `tasks` with its result or Failure.

    A group whose worker died too often is taken apart: only what killed it may fail.
    """
    plan, pulse, retries = session.plan, session.recorder.check, session.plan.experiment.training.retries
    waiting = work.groups(plan, tasks, session.pool.place.workers)
    while waiting:
        apart: list[Group] = []
        for position, outcomes in session.pool.execute(work.do, waiting, retries=retries, pulse=pulse):
            group = waiting[position]
            if not isinstance(outcomes, execution.Failure):
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
    plan, key = session.plan, winner.data.tags[tracking.KEY]
    tasks = []
    if key not in tracking.finished(session.store, [key], "test"):
        tasks.append(
            Task("test", tracking.name(winner), key, files=tracking.model_files(session.store, winner.info.run_id))
        )
    own_key, _ = plan.own
    if plan.baseline_keys[OWN] not in known and (own or own_key in done):
        files = own.files if own else tracking.model_files(session.store, done[own_key].info.run_id)
        tasks.append(Task("baseline", OWN, plan.baseline_keys[OWN], files=files))
    return tasks


def _test(session: _Session, tasks: list[Task], winner: Any) -> None:
    for task, outcome in _trained(session, tasks):
        if isinstance(outcome, execution.Failure):
            raise GridcastError(f"the test of {task.name} failed: {outcome.reason}")
        tags = {"gridcast.winner": str(winner.info.run_id)} if task.kind == "test" else {}
        session.recorder.add(_test_entry(session.plan, task, task.kind, outcome, tags))
    session.recorder.flush()


def _tests(session: _Session, winner: Any) -> list[Any]:
    """MLflow runs with test metrics: the winner's first, then the baselines in their order."""
    key, keys = winner.data.tags[tracking.KEY], session.plan.baseline_keys.values()
    known = tracking.finished(session.store, keys, "baseline")
    return [tracking.finished(session.store, [key], "test")[key], *(known[key] for key in keys if key in known)]


def _run_entry(plan: Plan, task: Task, outcome: Outcome) -> Entry:
    assert task.run is not None
    curves = {name: list(enumerate(values, start=1)) for name, values in outcome.curves.items()}
    configuration = json.dumps(task.run.configuration.model_dump(), sort_keys=True)
    return Entry(
        name=task.name,
        kind="run",
        key=task.key,
        tags={
            tracking.SEED: str(task.run.seed),
            tracking.CONFIGURATION: configuration,
            tracking.FINGERPRINT: plan.fingerprint,
            "gridcast.engine": plan.engine,
        },
        params=plan.params(task.run),
        metrics=outcome.metrics,
        curves={**curves, tracking.BY_ORIGIN: list(outcome.origin_losses)},
        files=outcome.files,
        backend=plan.backend,
    )


def _failure_entry(plan: Plan, task: Task, reason: str) -> Entry:
    return Entry(
        name=task.name,
        kind="run" if task.kind == "run" else "baseline",
        key=task.key,
        params=plan.params(task.run) if task.run else {},
        error=reason,
    )


def _test_entry(
    plan: Plan, task: Task, kind: str, outcome: evaluation.Forecasts, tags: Mapping[str, str] | None = None
) -> Entry:
    table = evaluation.table(outcome, plan.material, plan.panel)
    return Entry(
        name=task.name,
        kind=kind,
        key=task.key,
        tags={tracking.FINGERPRINT: plan.fingerprint, **(tags or {})},
        params={"period": plan.material.period} if task.name in baselines.SEASONAL else {},
        metrics=evaluation.measures(table),
        artifacts={evaluation.FORECASTS: evaluation.to_bytes(table)},
    )
