"""What `run` does, and `monitor` where it trains again: sweep, promote through the gates, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil

from gridcast.cli import terminal
from gridcast.cli.app import CACHE, REPORTS, out
from gridcast.runtime import loading
from gridcast.runtime.errors import GridcastError, PromotionRefused

if TYPE_CHECKING:
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.runner import SweepResult
    from gridcast.tracking.store import Store


def run_sweep(planned: Plan, place: Any) -> None:
    """Sweep, promote through the gates, report; what `gridcast run` does."""
    # MLflow takes seconds to load: beside what the workers import.
    from gridcast.cli.progress import Progress, format_duration
    from gridcast.sweep import runner
    from gridcast.tracking import mlflow_runs
    from gridcast.tracking.store import open_store

    store = open_store(planned.experiment.name)
    started, before_sweep = time.perf_counter(), time.time() - psutil.Process().create_time()
    with Progress(out) as progress:
        result = runner.run_sweep(planned, store, place, progress)
    swept = time.perf_counter()
    counts = f"{result.trained} runs trained, {result.skipped} finished before, {result.failed} failed"
    counts += f", {result.stopped} stopped early" if result.stopped else ""
    out.print(f"{counts}, in {format_duration(time.perf_counter() - started)}.")
    terminal.print_tests(out, result)
    name, before = planned.experiment.name, mlflow_runs.run_tags(store, result.parent)
    told = before.get(mlflow_runs.PROMOTION_TAG)
    # A start that brings nothing new leaves the registry alone: somebody may have rolled back since.
    if planned.experiment.selection.promote_to and (result.trained or result.new or not told):
        told = _promote(planned, store, result)
    page, verdict = REPORTS / name / "report.html", before.get(mlflow_runs.VERDICT_TAG)
    if (
        result.trained
        or result.new
        or told != before.get(mlflow_runs.PROMOTION_TAG)
        or not verdict
        or not page.exists()
    ):
        verdict = write_report(name, store)
    if result.trained:
        spent = {**result.seconds, "report and promotion": time.perf_counter() - swept}
        spent = {"start": before_sweep + swept - started - sum(result.seconds.values()), **spent}
        out.print(f"Time: {', '.join(f'{name} {format_duration(seconds)}' for name, seconds in spent.items())}.")
    out.print(f"Report: {page}", markup=False)
    out.print(f'Load it: mlflow.pyfunc.load_model("runs:/{result.winner.info.run_id}/model")', markup=False)
    out.print(verdict, markup=False)
    if result.failed:
        raise GridcastError(
            f"{result.failed} of {len(planned.runs)} runs failed; their reasons stand above and in MLflow"
        )


def _promote(planned: Plan, store: Store, result: SweepResult) -> str:
    """Let the winner stand at the gates; what came of it is kept with the sweep, for the report."""
    from gridcast.tracking import mlflow_runs, promotion

    try:
        made = promotion.promote(planned.experiment, store, result.winner, result.tested, champion_evaluator(planned))
        terminal.print_promotion(out, made)
        told = f"It is the champion: {made.name} version {made.version}"
        told += f", marked as beaten by {made.beaten_by}." if made.beaten_by else "."
    except PromotionRefused as refusal:
        out.print(str(refusal), markup=False)
        told = f"It was not promoted: {refusal}"
    mlflow_runs.set_run_tag(store, result.parent, mlflow_runs.PROMOTION_TAG, told)
    return told


def champion_evaluator(planned: Plan) -> Callable[[dict[str, bytes]], dict[str, float]]:
    """What measures a champion, given its files, on the test span of `planned`."""

    def evaluate(files: dict[str, bytes]) -> dict[str, float]:
        from gridcast.evaluation import on_test_span
        from gridcast.training import keras_backend

        keras_backend.start(planned.backend, CACHE)

        try:
            return on_test_span.on_test_span(loading.load_from_bytes(files), planned.dataset, planned.panel)
        finally:
            keras_backend.release()

    return evaluate


def write_report(name: str, store: Store) -> str:
    """Write the report and return its verdict, a sentence a line."""
    from gridcast.reporting import record, report

    _, findings = report.write_report(record.read_sweep(store, name), store, REPORTS)
    return findings.verdict
