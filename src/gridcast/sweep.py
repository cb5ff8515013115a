"""One execution of an experiment: skip what is finished, execute the rest, record, test the winner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gridcast import evaluation, execution, tracking
from gridcast.errors import GridcastError
from gridcast.grid import Run
from gridcast.models import baselines
from gridcast.plan import OWN, Plan, cost
from gridcast.tracking import Store
from gridcast.training.material import Material
from gridcast.training.outcome import Outcome


class Events:
    """What a sweep tells while it runs; by default nobody listens."""

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


@dataclass(frozen=True)
class _Session:
    plan: Plan
    store: Store
    parent: str
    pool: execution.Pool


def run(plan: Plan, store: Store, place: execution.Place, events: Events) -> Result:
    """Train what is not finished yet, record each run whole, then test winner and baselines once.

    Raises TrackingError when the store fails and GridcastError when no run finished; lets
    KeyboardInterrupt through with the sweep marked KILLED. The next start goes on where it stopped.
    """
    parent = tracking.open_sweep(store, plan.sweep_key, plan.experiment.name, plan.tags(), plan.texts())
    tracking.set_status(store, parent, "RUNNING")
    status = "FAILED"
    try:
        with execution.Pool(place, plan.material) as pool:
            result = _run(_Session(plan, store, parent, pool), events)
        status = "FAILED" if result.failed else "FINISHED"
        return result
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracking.set_status(store, parent, status)


def _run(session: _Session, events: Events) -> Result:
    plan, store = session.plan, session.store
    done = tracking.finished(store, plan.runs)
    known = tracking.finished(store, plan.baseline_keys.values(), "baseline")
    tasks = _tasks(plan, done, known)
    events.started(len(done), sum(task.run is not None for task in tasks), sum(task.cost for task in tasks))
    trained = failed = 0
    own: Outcome | None = None
    for position, outcome in session.pool.execute(_work, tasks):
        task = tasks[position]
        if isinstance(outcome, execution.Failure):
            failed += task.kind == "run"
            _record_failure(session, task, outcome.reason)
            events.failed(task.name, task.cost, outcome.reason)
        elif task.kind == "baseline":
            _record_test(session, task, "baseline", outcome)
            events.finished(task.name, task.cost, None)
        else:
            if task.kind == "own":
                own = outcome
            else:
                trained += 1
                _record_run(session, task, outcome)
            events.finished(task.name, task.cost, outcome.metrics)
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


def _work(material: Material, task: _Task) -> Any:
    """What a worker does; Keras is imported there, never in a parent that has workers."""
    if task.run is None and task.files is None:
        own = material.baseline(material.preprocessing.lookback)
        return evaluation.Forecasts(own.index, baselines.BASELINES[task.name](own))
    from gridcast.training import fit

    return fit.train(material, task.run) if task.run else fit.evaluate(material, task.files or {})


def _untested(
    session: _Session, winner: Any, done: Mapping[str, Any], known: Mapping[str, Any], own: Outcome | None
) -> list[_Task]:
    """Networks that have not met the test span yet: the winner, and the experiment's own settings."""
    plan, key = session.plan, winner.data.tags[tracking.KEY]
    tasks = []
    if key not in tracking.finished(session.store, [key], "test"):
        tasks.append(_Task("test", tracking.name(winner), key, files=tracking.model_files(winner.info.run_id)))
    own_key, _ = plan.own
    if plan.baseline_keys[OWN] not in known and (own or own_key in done):
        files = own.files if own else tracking.model_files(done[own_key].info.run_id)
        tasks.append(_Task("baseline", OWN, plan.baseline_keys[OWN], files=files))
    return tasks


def _test(session: _Session, tasks: list[_Task], winner: Any) -> None:
    for position, outcome in session.pool.execute(_work, tasks):
        task = tasks[position]
        if isinstance(outcome, execution.Failure):
            raise GridcastError(f"the test of {task.name} failed: {outcome.reason}")
        tags = {"gridcast.winner": str(winner.info.run_id)} if task.kind == "test" else {}
        _record_test(session, task, task.kind, outcome, tags)


def _tests(session: _Session, winner: Any) -> list[Any]:
    """MLflow runs with test metrics: the winner's first, then the baselines in their order."""
    key, keys = winner.data.tags[tracking.KEY], session.plan.baseline_keys.values()
    known = tracking.finished(session.store, keys, "baseline")
    return [tracking.finished(session.store, [key], "test")[key], *(known[key] for key in keys if key in known)]


def _record_run(session: _Session, task: _Task, outcome: Outcome) -> None:
    assert task.run is not None
    curves = {name: list(enumerate(values, start=1)) for name, values in outcome.curves.items()}
    configuration = json.dumps(task.run.configuration.model_dump(), sort_keys=True)
    tracking.record(
        session.store,
        session.parent,
        task.name,
        kind="run",
        key=task.key,
        tags={
            tracking.SEED: str(task.run.seed),
            tracking.CONFIGURATION: configuration,
            tracking.FINGERPRINT: session.plan.fingerprint,
        },
        params=session.plan.params(task.run),
        metrics=outcome.metrics,
        curves={**curves, tracking.BY_ORIGIN: list(outcome.origin_losses)},
        files=outcome.files,
        backend=session.plan.backend,
    )


def _record_failure(session: _Session, task: _Task, reason: str) -> None:
    tracking.record_failure(
        session.store,
        session.parent,
        task.name,
        kind="run" if task.kind == "run" else "baseline",
        key=task.key,
        params=session.plan.params(task.run) if task.run else {},
        reason=reason,
    )


def _record_test(
    session: _Session, task: _Task, kind: str, outcome: evaluation.Forecasts, tags: Mapping[str, str] | None = None
) -> None:
    plan = session.plan
    table = evaluation.table(outcome, plan.material, plan.panel)
    tracking.record(
        session.store,
        session.parent,
        task.name,
        kind=kind,
        key=task.key,
        tags={tracking.FINGERPRINT: plan.fingerprint, **(tags or {})},
        params={"period": plan.material.period} if task.name in baselines.SEASONAL else {},
        metrics=evaluation.measures(table),
        artifacts={evaluation.FORECASTS: evaluation.to_bytes(table)},
    )
