"""One execution of an experiment: train what is not finished, record it, evaluate the winner on the test span."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import GridcastError, Interrupted
from gridcast.sweep import confirmation, final_evaluation, lease, outbox, records
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.live_runs import LiveRuns
from gridcast.sweep.missing_measures import complete_tests, complete_validation
from gridcast.sweep.plan import Plan
from gridcast.sweep.proposals import with_proposals
from gridcast.sweep.refit import record_refit
from gridcast.sweep.search_loop import SearchLoop, SearchTally
from gridcast.sweep.session import SweepSession
from gridcast.sweep.sweep_result import SweepResult
from gridcast.sweep.task import baseline_tasks
from gridcast.sweep.threshold_change import recalibrated_reference, with_recalibrated
from gridcast.sweep.winner import record_winner
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.sweep.worker_pool import WorkerPool
from gridcast.tracking import mlflow_runs, ranking, saved_view
from gridcast.tracking.store import Store
from gridcast.tracking.system_metrics import log_system_metrics


def run_sweep(plan: Plan, store: Store, workers: WorkerSettings, events: SweepEvents) -> SweepResult:
    """Train what is not finished yet, record each run whole, then evaluate winner and baselines once; return the end.

    Waits while another process sweeps the experiment. Raises TrackingError if the store fails and
    GridcastError if no run finished; on Ctrl-C Interrupted, with the sweep marked KILLED. The next
    start continues where this one stopped.
    """
    held_lease = lease.acquire_lease(store, events.waiting)
    with contextlib.ExitStack() as stack:
        stack.callback(_call_briefly, held_lease.release)
        mlflow_runs.close_stale_runs(store)
        plan = with_proposals(plan, store)
        sweep_id = mlflow_runs.open_sweep(store, records.sweep_entry(plan))
        mlflow_runs.set_run_status(store, sweep_id, "RUNNING")
        saved_view.save_view(
            store,
            metric=plan.experiment.selection.metric,
            axes=plan.axes,
            other_metrics=records.viewed_metrics(plan),
            is_higher_better=plan.is_higher_better,
        )
        status = "KILLED"  # unless this function gets to its end, or to an error of its own
        stack.callback(_call_briefly, lambda: mlflow_runs.set_run_status(store, sweep_id, status))
        stack.enter_context(log_system_metrics(store, sweep_id))
        live_runs = LiveRuns(plan, store, sweep_id, held_lease)
        stack.callback(_call_briefly, live_runs.close)
        recorder = outbox.Recorder(spool_folder(workers.cache, store), live_runs.record, live_runs.show)
        stack.callback(recorder.close)
        pool = stack.enter_context(WorkerPool(workers, plan.datasets))
        session = SweepSession(plan, store, sweep_id, pool, recorder, live_runs)
        try:
            result = _run(session, events)
        except KeyboardInterrupt:
            recorder.close()
            pending = f"; {recorder.pending} of them wait in {recorder.folder} for MLflow" if recorder.pending else ""
            planned = session.plan.run_count + len(session.plan.confirmation_runs)
            raise Interrupted(
                f"interrupted with {len(session.finished_keys)} of {planned} runs finished{pending}; "
                "the same command continues with the rest"
            ) from None
        except GridcastError:
            status = "FAILED"
            raise
        if result.trained or result.winner_is_new or result.new_baselines:
            mlflow_runs.log_metrics(store, sweep_id, records.sweep_metrics(plan, result))
        status = "FAILED" if result.failed or result.failed_baselines else "FINISHED"
        return result


def spool_folder(cache: Path, store: Store) -> Path:
    """Return the folder where results wait for the MLflow experiment `store`."""
    return cache / "spool" / f"{store.experiment}-{hashlib.sha256(store.uri.encode()).hexdigest()[:8]}"


def _call_briefly(function: Callable[[], None]) -> None:
    """Call `function`, but do not wait long and do not fail: the next start does what this one leaves undone."""

    def call() -> None:
        with contextlib.suppress(GridcastError):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(outbox.SHUTDOWN_TIMEOUT)


def _run(session: SweepSession, events: SweepEvents) -> SweepResult:
    plan, store, recorder = session.plan, session.store, session.recorder
    recorder.flush()  # results of an earlier start, so that they are not trained again
    finished = complete_validation(session, mlflow_runs.finished_runs(store, plan.runs))
    recorded_baselines = mlflow_runs.finished_runs(store, plan.baseline_keys.values(), "baseline")
    begun = time.perf_counter()
    finished = with_recalibrated(session, finished)
    session.finished_keys |= finished.keys()
    tasks = baseline_tasks(plan, finished, recorded_baselines)
    reference = recalibrated_reference(session) if any(task.kind == "reference" for task in tasks) else None
    tasks = [task for task in tasks if task.kind != "reference" or reference is None]
    tally = SearchLoop(session, events, finished).train(tasks)
    recorder.flush()
    finished = _confirm(session, events, tally)
    plan, trained_at = session.plan, time.perf_counter()
    if not finished:
        raise GridcastError("no run finished; each failed run keeps its reason in MLflow (tag gridcast.error)")
    winner = record_winner(session, list(finished.values()))
    tasks = final_evaluation.pending_evaluations(
        session,
        winner,
        finished=finished,
        recorded_baselines=recorded_baselines,
        reference_result=reference or tally.reference_result,
    )
    failed_tests = final_evaluation.evaluate(session, tasks, winner)
    is_refit_new = record_refit(session, winner)
    evaluated = complete_tests(plan, store, final_evaluation.evaluated_runs(session, winner))
    return SweepResult(
        sweep_id=session.sweep_id,
        planned=len(plan.all_runs),
        trained=tally.trained,
        confirmed=tally.confirmed,
        skipped=len(finished) - tally.trained,
        stopped=tally.stopped,
        failed=tally.failed,
        winner=winner,
        winner_is_new=is_refit_new or any(task.kind == "test" for task in tasks),
        test_measures=ranking.measures_by_name(evaluated),
        new_baselines=len(evaluated) - 1 - len(recorded_baselines),
        failed_baselines=tally.failed_baselines | failed_tests,
        seconds={"training": trained_at - begun, "tests": time.perf_counter() - trained_at},
    )


def _confirm(session: SweepSession, events: SweepEvents, tally: SearchTally) -> dict[str, Any]:
    """Train the leading configurations with further seeds; return all finished MLflow runs by run key."""
    plan, finished = confirmation.with_confirmation(session.plan, session.store)
    session.plan = session.live_runs.plan = plan
    finished = with_recalibrated(session, complete_validation(session, finished))
    session.finished_keys |= finished.keys()
    trained_before = tally.trained + tally.failed
    confirmation.train_confirmation(session, events, tally)
    if tally.trained + tally.failed == trained_before:
        return finished
    session.recorder.flush()
    return mlflow_runs.finished_runs(session.store, plan.all_runs)
