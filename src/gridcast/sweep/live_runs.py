"""The MLflow runs of a sweep while they train: opened with the first report, closed with the result."""

from __future__ import annotations

from gridcast.sweep import records
from gridcast.sweep.lease import Lease
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs, run_recording
from gridcast.tracking.run_recording import OpenRun, RunEntry
from gridcast.tracking.store import Store
from gridcast.training.progress import RunProgress


class LiveRuns:
    """The runs of the sweep `sweep_id` of `plan`, by run key; nothing is written unless the lease is held.

    `plan` may be replaced by one with more runs.
    """

    def __init__(self, plan: Plan, store: Store, sweep_id: str, held_lease: Lease) -> None:
        self.plan, self._store, self._sweep_id, self._lease = plan, store, sweep_id, held_lease
        self._open: dict[str, OpenRun] = {}
        self._closed: set[str] = set()

    def show(self, progress: RunProgress) -> None:
        """Append the epochs of a run to its curves in MLflow; a late report, after its result, is ignored."""
        if progress.key in self._closed:
            return
        self._lease.ensure_held()
        run = self._open.get(progress.key)
        if run is None:
            entry = records.begun_entry(self.plan, progress.key, progress.started)
            run = run_recording.open_run(self._store, self._sweep_id, entry)
            if run is None:
                self._closed.add(progress.key)
                return
            self._open[progress.key] = run
        run_recording.log_epochs(self._store, run, first=progress.first, times=progress.times, curves=progress.curves)

    def record(self, entry: RunEntry) -> None:
        """Write `entry` and close its run, unless its work is in MLflow: the answer to an earlier try may be lost."""
        self._lease.ensure_held()
        if entry.kind == "test":
            run_recording.record_test(self._store, entry)
            return
        is_live = entry.kind in mlflow_runs.GRID_KINDS and entry.key in self._open
        run = self._open[entry.key] if is_live else run_recording.open_run(self._store, self._sweep_id, entry)
        if run is not None and not (is_live and mlflow_runs.run_status(self._store, run.run_id) == "FINISHED"):
            run_recording.record_run(self._store, self._sweep_id, entry, run)
        if entry.kind in mlflow_runs.GRID_KINDS:
            self._closed.add(entry.key)
            self._open.pop(entry.key, None)

    def close(self) -> None:
        """Mark the runs that are not at their end as KILLED; the next start goes on with them."""
        for run in self._open.values():
            mlflow_runs.set_run_status(self._store, run.run_id, "KILLED")
