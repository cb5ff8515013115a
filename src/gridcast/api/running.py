"""Run a sweep: train, promote the winner through the gates, write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcast.api.events import Quiet, RunEvents
from gridcast.api.experiments import ExperimentLike, choose_workers, plan_experiment
from gridcast.api.finished_sweep import Sweep
from gridcast.api.folders import REPORTS
from gridcast.api.keras_session import keras_session, tensorflow_as_before
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime import loading
from gridcast.runtime.errors import ConfigError, Interrupted, PromotionRefused

if TYPE_CHECKING:
    import pandas as pd

    from gridcast.sweep.plan import Plan
    from gridcast.sweep.sweep_result import SweepResult
    from gridcast.sweep.worker_job import WorkerSettings
    from gridcast.tracking.store import Store
    from gridcast.training.plugin_loading import PluginsLike

Functions = Mapping[str, Callable[..., Any]]
"""Functions by the name that an experiment has for them."""


def run(
    experiment: ExperimentLike,
    *,
    data: TableOrPath | None = None,
    networks: Functions | None = None,
    baselines: Functions | None = None,
    metrics: Functions | None = None,
    callbacks: Functions | None = None,
    plugins: PluginsLike = (),
    workers: int | None = None,
    backend: str = "jax",
    memory_limit: float | None = None,
    scheduler: str | None = None,
    progress: bool | RunEvents = True,
) -> Sweep:
    """Train the runs of an experiment that are not finished, promote the winner, write the report.

    `experiment` is the path of an experiment file, an Experiment, or the content of the file as a dict. `data`, a frame
    or a file with the columns of the experiment, replaces its `data.source`. A run is identified by the content
    of the data, not by its name: the next start with the same rows trains only the unfinished runs.

    The experiment may name `networks`, `baselines`, `metrics` and Keras `callbacks` of one's own: functions by name
    (docs/how-to/plug-ins.md says of which form), or `plugins`, the files that list them.

    `workers` is the number of worker processes (None: one per GPU, else one per core; 1: no other process), each with
    at most `memory_limit` GiB; `scheduler` is the address of a Dask scheduler whose workers are used instead.
    `progress` shows a bar in a notebook or a terminal, else a line per run; it may be an object with callbacks.

    On Ctrl-C KeyboardInterrupt is raised, and the next start continues. Raises ConfigError and DataError for wrong
    input, before anything is trained; TrackingError if the store fails; GridcastError if no run finished. If some
    failed, there is a warning, and `failure` of the sweep says which.

    >>> sweep = gridcast.run("experiments/retail_daily.yaml", data=frame, workers=1, progress=False)
    >>> sweep.leaderboard()["rank"].tolist()
    [1, 2]
    """
    events = choose_events(progress)
    with keyboard_interrupt():
        given = {"networks": networks, "baselines": baselines, "metrics": metrics, "callbacks": callbacks}
        functions = {kind: table for kind, table in given.items() if table}
        if functions and plugins:
            raise ConfigError("plugins: give files, or functions by name (networks, baselines, ...), not both")
        plan = plan_experiment(experiment, backend, events, data, functions or plugins)
        settings = choose_workers(backend, workers, memory_gib=memory_limit, scheduler=scheduler)
        return sweep_plan(plan, settings, events)


def choose_events(progress: bool | RunEvents) -> RunEvents:
    """Return the callbacks that the argument `progress` of a use case means."""
    if isinstance(progress, RunEvents):
        return progress
    if not progress:
        return Quiet()
    from gridcast.api.progress import CallerProgress

    return CallerProgress()


@contextmanager
def keyboard_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt, which scripts and notebooks expect on Ctrl-C, for a sweep that was interrupted."""
    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from None


def sweep_plan(plan: Plan, workers: WorkerSettings, events: RunEvents) -> Sweep:
    """Train the unfinished runs, promote the winner, write the report."""
    # MLflow takes seconds to import; the workers import their packages meanwhile.
    from gridcast.sweep import runner
    from gridcast.tracking.store import open_store

    started = time.perf_counter()
    store = open_store(plan.experiment.name)
    with events, tensorflow_as_before():
        result = runner.run_sweep(plan, store, workers, events)
    events.swept(result, time.perf_counter() - started)
    _promote_if_new(plan, store, result, events)
    page = REPORTS / plan.experiment.name / "report.html"
    verdict = _report_if_new(plan, store, result, page)
    sweep = Sweep(
        name=plan.experiment.name,
        report=page,
        verdict=verdict,
        sweep_id=result.sweep_id,
        store=store,
        failure=failure_sentence(result.failed, result.planned, result.failed_baselines),
    )
    events.ended(sweep)
    return sweep


def failure_sentence(failed: int, planned: int, failed_baselines: Mapping[str, str]) -> str:
    """Return what failed in a sweep: how many runs, which baselines and why; empty where nothing did."""
    parts = [f"{failed} of {planned} runs failed"] if failed else []
    if failed_baselines:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed_baselines.items())
        parts.append(f"{count_baselines(len(failed_baselines))} failed and cannot be compared with ({reasons})")
    return f"{' and '.join(parts)}; see the reasons above or in MLflow" if parts else ""


def count_baselines(count: int) -> str:
    """Return a number of baselines in words, such as `1 baseline`."""
    return f"{count} baseline{'' if count == 1 else 's'}"


def _promote_if_new(plan: Plan, store: Store, result: SweepResult, events: RunEvents) -> None:
    """Try to promote the winner, and record the outcome.

    A start that brings nothing new leaves the registry alone: somebody may have rolled back since.
    """
    from gridcast.tracking import mlflow_runs, promotion

    if not plan.experiment.selection.promote_to:
        return
    candidate = str(promotion.deployed_run(plan.experiment, store, result.winner).info.run_id)
    tags = mlflow_runs.run_tags(store, result.sweep_id)
    before = tags.get(mlflow_runs.PROMOTION_TAG)
    # A start that was killed before the promotion has left a winner that is new, but was trained and tested by it.
    is_new = result.trained or result.winner_is_new or tags.get(mlflow_runs.PROMOTED_RUN_TAG, candidate) != candidate
    if before and not is_new:
        return
    outcome = _promote(plan, store, result, events)
    mlflow_runs.set_run_tag(store, result.sweep_id, mlflow_runs.PROMOTION_TAG, outcome)
    mlflow_runs.set_run_tag(store, result.sweep_id, mlflow_runs.PROMOTED_RUN_TAG, candidate)


def _promote(plan: Plan, store: Store, result: SweepResult, events: RunEvents) -> str:
    """Promote the winner if it passes the gates, and return the outcome as a sentence for the report."""
    from gridcast.tracking import promotion, promotion_outcome

    try:
        promoted = promotion.promote(
            plan.experiment,
            store,
            result.winner,
            test_measures=result.test_measures,
            evaluate_champion=champion_evaluator(plan),
            metrics=plan.metrics,
        )
    except PromotionRefused as refusal:
        events.refused(str(refusal))
        return promotion_outcome.refusal_sentence(refusal)
    events.promoted(promoted)
    return promotion_outcome.promotion_sentence(promoted)


def _report_if_new(plan: Plan, store: Store, result: SweepResult, page: Path) -> tuple[str, ...]:
    """Write the report unless it would say the same as before; return its verdict."""
    from gridcast.tracking import mlflow_runs, promotion_outcome

    tags = mlflow_runs.run_tags(store, result.sweep_id)
    verdict = tuple(tags.get(mlflow_runs.VERDICT_TAG, "").splitlines())
    is_new = bool(result.trained or result.winner_is_new or result.new_baselines or result.failed_baselines)
    shown = tags.get(mlflow_runs.SHOWN_PROMOTION_TAG, tags.get(mlflow_runs.PROMOTION_TAG, ""))
    is_new = is_new or shown != promotion_outcome.present_outcome(store, tags)
    if verdict and page.exists() and not is_new:
        return verdict
    return write_report(plan.experiment.name, store).verdict


def write_report(name: str, store: Store) -> Sweep:
    """Write the report of the newest sweep of an experiment, and return the sweep."""
    from gridcast.reporting import record, report

    kept = record.read_sweep(store, name)
    page, findings = report.write_report(kept, store, REPORTS)
    failures = kept.baselines.failures
    baselines: dict[str, str] = dict(zip(failures["name"], failures["reason"], strict=True))
    return Sweep(
        name=name,
        report=page,
        verdict=tuple(findings.verdict.splitlines()),
        sweep_id=str(kept.parent.info.run_id),
        store=store,
        failure=failure_sentence(len(kept.failures), kept.planned, baselines),
    )


def champion_evaluator(plan: Plan) -> Callable[[dict[str, bytes]], pd.DataFrame]:
    """Return a function that applies a champion, given as its files, to the test span of `plan`."""

    def evaluate(files: dict[str, bytes]) -> pd.DataFrame:
        from gridcast.evaluation import span_evaluation

        with keras_session(plan.backend):
            return span_evaluation.tabulate_test_span(loading.load_from_bytes(files), plan.dataset, plan.panel)

    return evaluate
