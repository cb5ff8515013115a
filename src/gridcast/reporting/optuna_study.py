"""A sweep as a study of Optuna in an SQLite file, which Optuna's dashboard and its plots open."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gridcast.config import Range
from gridcast.data.atomic_write import atomic_write
from gridcast.reporting.record import SweepRecord
from gridcast.runtime.errors import ConfigError
from gridcast.sweep.search_space import SEED_AXIS, range_distribution
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.store import Store

SQLITE_HEADER = b"SQLite format 3\x00"


def write_study(record: SweepRecord, store: Store, path: Path) -> int:
    """Write the runs of the sweep to the SQLite file `path`, in place of a study that is there; return their number.

    A finished run is a complete trial with the metric of the selection, in its own direction, and its validation loss
    by epoch; one that the search stopped is a pruned trial. The study follows from the record alone, and gridcast never
    reads it. Raises ConfigError where `path` is another kind of file, or cannot be written.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _check_path(path)
    keys = [*record.about["run_keys"], *record.about.get("confirmation_keys", ())]
    recorded = mlflow_runs.finished_runs(store, keys, mlflow_runs.STOPPED_KIND) | mlflow_runs.finished_runs(store, keys)
    runs = sorted(recorded.values(), key=lambda run: (run.info.start_time, run.data.tags[mlflow_runs.KEY_TAG]))
    is_higher_better = any(ranking.is_higher_better(run, record.selection_metric) for run in runs)
    space = _distributions(record, runs)
    trials = [_trial(store, run, record.selection_metric, space) for run in runs]
    try:
        with atomic_write(path) as file:
            storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
            direction = "maximize" if is_higher_better else "minimize"
            study = optuna.create_study(storage=storage, study_name=record.name, direction=direction)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([record.selection_metric])
            study.add_trials(trials)
            storage.remove_session()
            storage.engine.dispose()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from None
    return len(trials)


def _check_path(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or give another file")
    if not path.exists():
        return
    content = path.read_bytes() if path.is_file() else b""
    if not content.startswith(SQLITE_HEADER) or b"CREATE TABLE studies" not in content:
        raise ConfigError(f"{path}: is not a study of Optuna, and stays as it is; give the name of a new file")


def _settings(run: Any) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    return settings | {SEED_AXIS: int(run.data.tags[mlflow_runs.SEED_TAG])}


def _distributions(record: SweepRecord, runs: Sequence[Any]) -> dict[str, Any]:
    """Optuna's distribution of each axis, and of the seed: its range, or the values that the runs have."""
    from optuna.distributions import CategoricalDistribution

    ranges = {axis: Range(**one) for axis, one in record.about.get("ranges", {}).items()}
    space: dict[str, Any] = {}
    for axis in (*record.axes, SEED_AXIS):
        if axis in ranges:
            space[axis] = range_distribution(ranges[axis])
        else:
            values = dict.fromkeys(_settings(run).get(axis) for run in runs)
            space[axis] = CategoricalDistribution(sorted(values, key=lambda value: (str(type(value)), value)))
    return space


def _trial(store: Store, run: Any, metric: str, space: Mapping[str, Any]) -> Any:
    """The trial of a finished or stopped run; one that has no finite value of the metric has failed."""
    import optuna
    from optuna.trial import TrialState

    settings, is_stopped = _settings(run), run.data.tags[mlflow_runs.KIND_TAG] == mlflow_runs.STOPPED_KIND
    is_known = not is_stopped and ranking.has_finite(run, metric)
    state = TrialState.PRUNED if is_stopped else TrialState.COMPLETE if is_known else TrialState.FAIL
    curve = mlflow_runs.metric_history(store, run.info.run_id, "val_loss")
    attributes = {"run": run.info.run_id, "name": mlflow_runs.run_name(run), "settings": settings}
    trial = optuna.trial.create_trial(
        state=state,
        value=float(run.data.metrics[metric]) if is_known else None,
        params={axis: settings.get(axis) for axis in space},
        distributions=dict(space),
        user_attrs=attributes,
        intermediate_values={epoch: loss for epoch, loss in curve.items() if math.isfinite(loss)},
    )
    trial.datetime_start = datetime.fromtimestamp(run.info.start_time / 1000)
    trial.datetime_complete = datetime.fromtimestamp((run.info.end_time or run.info.start_time) / 1000)
    return trial
