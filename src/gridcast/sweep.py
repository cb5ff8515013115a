"""One execution of an experiment: skip what is finished, execute the rest, record, test the winner."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast import evaluation, execution, lease, spool, tracking
from gridcast.errors import GridcastError, Interrupted
from gridcast.grid import Run
from gridcast.models import baselines
from gridcast.plan import OWN, Plan, cost
from gridcast.tracking import Entry, Store
from gridcast.training.material import Material
from gridcast.training.outcome import Outcome

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


@dataclass(frozen=True)
class _Task:
    """One piece of work: a grid `run`, the `own` settings, a `baseline`, or the `test` of a network."""

    kind: str
    name: str
    key: str
    run: Run | None = None
    files: dict[str, bytes] | None = None
    cost: float = 0.01


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
    tasks = _tasks(plan, done, known)
    if len(done) < len(plan.runs):
        # Promotion and verdict of an earlier end no longer hold, whatever becomes of this start.
        for tag in (tracking.PROMOTION, tracking.VERDICT):
            tracking.set_tag(store, session.parent, tag, "")
    events.started(len(done), sum(task.run is not None for task in tasks), sum(task.cost for task in tasks))
    trained = failed = 0
    own: Outcome | None = None
    retries = plan.experiment.training.retries
    for position, outcome in session.pool.execute(_work, tasks, retries=retries, pulse=recorder.check):
        task = tasks[position]
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


def _tasks(plan: Plan, done: Mapping[str, Any], known: Mapping[str, Any]) -> list[_Task]:
    """What is left to do, longest first, so that no worker ends with a long run alone."""
    windows = len(plan.material.origins("train", plan.experiment.window.lookback))
    tasks = [
        _Task("run", plan.name(run), key, run, cost=cost(run.configuration, windows))
        for key, run in plan.runs.items()
        if key not in done
    ]
    own_key, own = plan.own
    if own_key not in plan.runs and plan.baseline_keys[OWN] not in known:
        tasks.append(_Task("own", OWN, own_key, own, cost=cost(own.configuration, windows)))
    names = baselines.possible(len(plan.panel.series), plan.material.period)
    keys = {name: plan.baseline_keys[name] for name in names}
    tasks += [_Task("baseline", name, key) for name, key in keys.items() if key not in known]
    return sorted(tasks, key=lambda task: -task.cost)


def _work(material: Material, task: _Task, cache: Path) -> Any:
    """What a worker does; Keras is imported there, never in a parent that has workers."""
    if task.run is None and task.files is None:
        own = material.baseline(material.preprocessing.lookback)
        return evaluation.Forecasts(own.index, baselines.BASELINES[task.name](own))
    from gridcast.training import fit

    if task.run is None:
        return fit.evaluate(material, task.files or {})
    return fit.train(material, task.run, cache / "checkpoints" / task.key)


def _untested(
    session: _Session, winner: Any, done: Mapping[str, Any], known: Mapping[str, Any], own: Outcome | None
) -> list[_Task]:
    """Networks that have not met the test span yet: the winner, and the experiment's own settings."""
    plan, key = session.plan, winner.data.tags[tracking.KEY]
    tasks = []
    if key not in tracking.finished(session.store, [key], "test"):
        tasks.append(
            _Task("test", tracking.name(winner), key, files=tracking.model_files(session.store, winner.info.run_id))
        )
    own_key, _ = plan.own
    if plan.baseline_keys[OWN] not in known and (own or own_key in done):
        files = own.files if own else tracking.model_files(session.store, done[own_key].info.run_id)
        tasks.append(_Task("baseline", OWN, plan.baseline_keys[OWN], files=files))
    return tasks


def _test(session: _Session, tasks: list[_Task], winner: Any) -> None:
    recorder, retries = session.recorder, session.plan.experiment.training.retries
    for position, outcome in session.pool.execute(_work, tasks, retries=retries, pulse=recorder.check):
        task = tasks[position]
        if isinstance(outcome, execution.Failure):
            raise GridcastError(f"the test of {task.name} failed: {outcome.reason}")
        tags = {"gridcast.winner": str(winner.info.run_id)} if task.kind == "test" else {}
        recorder.add(_test_entry(session.plan, task, task.kind, outcome, tags))
    recorder.flush()


def _tests(session: _Session, winner: Any) -> list[Any]:
    """MLflow runs with test metrics: the winner's first, then the baselines in their order."""
    key, keys = winner.data.tags[tracking.KEY], session.plan.baseline_keys.values()
    known = tracking.finished(session.store, keys, "baseline")
    return [tracking.finished(session.store, [key], "test")[key], *(known[key] for key in keys if key in known)]


def _run_entry(plan: Plan, task: _Task, outcome: Outcome) -> Entry:
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
        },
        params=plan.params(task.run),
        metrics=outcome.metrics,
        curves={**curves, tracking.BY_ORIGIN: list(outcome.origin_losses)},
        files=outcome.files,
        backend=plan.backend,
    )


def _failure_entry(plan: Plan, task: _Task, reason: str) -> Entry:
    return Entry(
        name=task.name,
        kind="run" if task.kind == "run" else "baseline",
        key=task.key,
        params=plan.params(task.run) if task.run else {},
        error=reason,
    )


def _test_entry(
    plan: Plan, task: _Task, kind: str, outcome: evaluation.Forecasts, tags: Mapping[str, str] | None = None
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
