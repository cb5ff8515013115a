"""The winner, trained once more on training and validation span together: its record, and its test beside the first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.config.grid import Run
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.model_files import MEMBERS_FILE, SETTINGS_FILE
from gridcast.sweep import ensemble
from gridcast.sweep.plan import Plan
from gridcast.sweep.records import dataset_fields, input_example, test_measures_of
from gridcast.sweep.session import SweepSession
from gridcast.sweep.task import SweepTask
from gridcast.sweep.worker_job import TaskFailure
from gridcast.tracking import mlflow_runs
from gridcast.tracking.run_recording import RunEntry
from gridcast.training.refit import with_quantiles_of


def record_refit(session: SweepSession, winner: Any) -> bool:
    """Record the refitted `winner` with its test, if the experiment asks for it; return whether it is new."""
    key = mlflow_runs.refit_key(winner)
    if not session.plan.experiment.training.refit or mlflow_runs.finished_runs(session.store, [key], "refit"):
        return False
    name = mlflow_runs.run_name(winner)
    files = _refitted_files(session, winner)
    tested = _executed(session, SweepTask("refit test", name, key, files=files))
    lookback = json.loads(files[SETTINGS_FILE])["lookback"]
    session.recorder.add(
        RunEntry(
            name=f"{name}, refitted",
            kind="refit",
            key=key,
            tags={
                mlflow_runs.FINGERPRINT_TAG: session.plan.fingerprint,
                mlflow_runs.CONFIGURATION_TAG: winner.data.tags[mlflow_runs.CONFIGURATION_TAG],
            },
            params={mlflow_runs.REFIT_OF_PARAM: winner.info.run_id, "lookback": lookback},
            metrics=test_measures_of(session.plan, tested),
            files=files,
            backend=session.plan.backend,
            dataset=dataset_fields(session.plan),
            example=input_example(session.plan, lookback),
        )
    )
    session.recorder.flush()
    return True


def _refitted_files(session: SweepSession, winner: Any) -> dict[str, bytes]:
    """The files of the winner, or of each member of an ensemble, trained or fitted once more."""
    if "ensemble" not in winner.data.params:
        return _refitted(session, winner)
    before = mlflow_runs.read_model_files(session.store, winner.info.run_id)
    weights = json.loads(before[MEMBERS_FILE]).get("weights")
    members = ensemble.recorded_members(session.store, winner)
    files = [_refitted(session, member) for member in members]
    return ensemble.pack_members(files, weights and tuple(weights), winner.data.params["ensemble"])


def _refitted(session: SweepSession, run: Any) -> dict[str, bytes]:
    """The files of one model, a run of the grid or a baseline."""
    plan, name = session.plan, mlflow_runs.run_name(run)
    if run.data.tags[mlflow_runs.KIND_TAG] != "run":
        return dict(_executed(session, SweepTask("refit contender", name, mlflow_runs.refit_key(run))).files)
    original = plan.all_runs[run.data.tags[mlflow_runs.KEY_TAG]]
    epochs = _best_epochs(session, plan, original)
    refit = replace(original, configuration=original.configuration.model_copy(update={"epochs": epochs}))
    task = SweepTask("refit", f"{name}, refitted", mlflow_runs.refit_key(run), run=refit)
    files: Mapping[str, bytes] = _executed(session, task).files
    return with_quantiles_of(files, mlflow_runs.read_model_files(session.store, run.info.run_id))


def _best_epochs(session: SweepSession, plan: Plan, run: Run) -> int:
    """The mean of the best epochs of all runs with this configuration on the last fold."""
    keys = [
        key
        for key, other in plan.all_runs.items()
        if (other.configuration, other.fold) == (run.configuration, plan.last_fold)
    ]
    finished = mlflow_runs.finished_runs(session.store, keys)
    return max(1, round(float(np.mean([one.data.metrics["best_epoch"] for one in finished.values()]))))


def _executed(session: SweepSession, task: SweepTask) -> Any:
    ((_, result),) = session.execute([task])
    if isinstance(result, TaskFailure):
        raise GridcastError(f"{task.name} could not be refitted: {result.reason}")
    return result
