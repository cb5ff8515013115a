"""The order of `gridcast run`: sweep, promote the winner through the gates, write the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gridcast.cli import terminal
from gridcast.cli.app import CACHE, REPORTS, cache_if_present, out
from gridcast.runtime import loading
from gridcast.runtime.errors import GridcastError, PromotionRefused

if TYPE_CHECKING:
    import pandas as pd

    from gridcast.sweep.plan import Plan
    from gridcast.sweep.sweep_result import SweepResult
    from gridcast.sweep.worker_job import WorkerSettings
    from gridcast.tracking.store import Store

MLFLOW_ADDRESS = "http://127.0.0.1:5000"
"""Default address of `mlflow ui`."""


def run_sweep(plan: Plan, workers: WorkerSettings) -> None:
    """Train what is not finished, promote the winner, write the report, and print each result.

    Raises GridcastError where runs or baselines failed, after everything else is done.
    """
    # MLflow takes seconds to import; the workers import their packages meanwhile.
    from gridcast.cli.progress import Progress
    from gridcast.sweep import runner
    from gridcast.tracking.store import open_store

    before_sweep = time.time() - psutil.Process().create_time()
    started = time.perf_counter()
    store = open_store(plan.experiment.name)
    with Progress(out) as progress:
        result = runner.run_sweep(plan, store, workers, progress)
    swept = time.perf_counter()
    terminal.print_result(out, result, seconds=swept - started)

    is_promotion_new = _promote_if_new(plan, store, result)
    page = REPORTS / plan.experiment.name / "report.html"
    verdict = _report_if_new(plan, store, result, page, is_promotion_new=is_promotion_new)

    if result.trained:
        preparation = before_sweep + swept - started - sum(result.seconds.values())
        after = time.perf_counter() - swept
        terminal.print_times(out, {"start": preparation, **result.seconds, "report and promotion": after})
    terminal.print_outcome(out, page, result=result, verdict=verdict, runs_page=_runs_page(store))
    if result.failed or result.failed_baselines:
        raise GridcastError(terminal.failure_sentence(result))


def _promote_if_new(plan: Plan, store: Store, result: SweepResult) -> bool:
    """Try to promote the winner; return whether the outcome differs from the recorded one.

    A start that brings nothing new leaves the registry alone: somebody may have rolled back since.
    """
    from gridcast.tracking import mlflow_runs

    before = mlflow_runs.run_tags(store, result.sweep_id).get(mlflow_runs.PROMOTION_TAG)
    if not plan.experiment.selection.promote_to or (before and not result.trained and not result.winner_is_new):
        return False
    outcome = _promote(plan, store, result)
    mlflow_runs.set_run_tag(store, result.sweep_id, mlflow_runs.PROMOTION_TAG, outcome)
    return outcome != before


def _promote(plan: Plan, store: Store, result: SweepResult) -> str:
    """Promote the winner if it passes the gates, and return the outcome as a sentence for the report."""
    from gridcast.tracking import promotion

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
        out.print(str(refusal), markup=False)
        return f"It was not promoted: {refusal}"
    terminal.print_promotion(out, promoted)
    marked = f", marked as beaten by {promoted.beaten_by}" if promoted.beaten_by else ""
    return f"It is the champion: {promoted.name} version {promoted.version}{marked}."


def _report_if_new(plan: Plan, store: Store, result: SweepResult, page: Path, *, is_promotion_new: bool) -> str:
    """Write the report unless it would say the same as before; return its verdict, one sentence per line."""
    from gridcast.tracking import mlflow_runs

    verdict = mlflow_runs.run_tags(store, result.sweep_id).get(mlflow_runs.VERDICT_TAG)
    is_new = result.trained or result.winner_is_new or result.new_baselines or result.failed_baselines
    if verdict and page.exists() and not (is_new or is_promotion_new):
        return verdict
    return write_report(plan.experiment.name, store)


def _runs_page(store: Store) -> str:
    """Return where a browser shows the runs of the experiment, the best first."""
    from gridcast.tracking.saved_view import view_link

    return view_link(store, store.uri if store.uri.startswith("http") else MLFLOW_ADDRESS)


def write_report(name: str, store: Store) -> str:
    """Write the report of an experiment and return its verdict, one sentence per line."""
    from gridcast.reporting import record, report

    _, findings = report.write_report(record.read_sweep(store, name), store, REPORTS)
    return findings.verdict


def champion_evaluator(plan: Plan) -> Callable[[dict[str, bytes]], pd.DataFrame]:
    """Return a function that applies a champion, given as its files, to the test span of `plan`."""

    def evaluate(files: dict[str, bytes]) -> pd.DataFrame:
        from gridcast.evaluation import span_evaluation
        from gridcast.training import keras_backend

        keras_backend.start(plan.backend, cache_if_present(CACHE))
        try:
            return span_evaluation.tabulate_test_span(loading.load_from_bytes(files), plan.dataset, plan.panel)
        finally:
            keras_backend.allow_tensorflow()

    return evaluate
