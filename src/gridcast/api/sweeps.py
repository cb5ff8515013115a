"""Before and after a sweep: validate, plan, report, promote, rollback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gridcast.api import model_argument
from gridcast.api.events import Quiet, RunEvents
from gridcast.api.experiments import (
    ExperimentLike,
    choose_workers,
    find_experiment_store,
    plan_experiment,
    plan_recorded,
    read_experiment,
    recorded_experiment,
)
from gridcast.api.finished_sweep import Sweep
from gridcast.api.folders import CACHE, cache_if_present
from gridcast.api.keras_session import tensorflow_as_before
from gridcast.api.running import champion_evaluator, choose_events, write_report
from gridcast.config import Experiment
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime.errors import ConfigError, GridcastError

if TYPE_CHECKING:
    from gridcast.sweep.confirmation import ConfirmationPlan
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.worker_job import WorkerSettings
    from gridcast.tracking.registry import Promotion
    from gridcast.training.plugin_loading import PluginsLike


def validate(
    experiment: ExperimentLike,
    *,
    data: TableOrPath | None = None,
    plugins: PluginsLike = (),
    backend: str = "jax",
    progress: bool | RunEvents = False,
) -> Plan:
    """Return the plan of an experiment, after a check of the experiment and its data; the splits are simulated.

    `plugins` are files or functions that the experiment names, see `run`.

    The plan has the `panel` that was read (`panel.series`, `panel.times`, `panel.notes`) and the `runs` by run key.
    Raises ConfigError and DataError, each with every fault that it found.

    >>> plan = gridcast.validate("experiments/retail_daily.yaml")
    >>> plan.panel.series, len(plan.runs)
    (('apple', 'pear'), 2)
    """
    return plan_experiment(experiment, backend, choose_events(progress), data, plugins)


@dataclass(frozen=True)
class TimedPlan:
    """The runs of an experiment with an estimate of their time.

    `seconds` has those of each run at most, by run key, if it takes all its epochs: early stopping usually halves them.
    Where the search proposes its runs from ranges, they are those of some random runs, which the plan `timed` has.
    `confirmation` says how many further runs confirm the leading configurations, `confirmation_seconds` how long these
    take at most.
    """

    plan: Plan
    timed: Plan
    seconds: Mapping[str, float]
    workers: int
    confirmation: ConfirmationPlan
    confirmation_seconds: float

    @property
    def total_seconds(self) -> float:
        """Seconds of all runs of the search on the workers, at most."""
        from gridcast.sweep.search import search_effort

        search, count = self.plan.experiment.search, self.plan.run_count
        if search.budget is not None and search.budget.minutes:
            return 60 * search.budget.minutes
        effort = search_effort(search, count, self.plan.experiment.training.epochs)
        mean_seconds = sum(self.seconds.values()) / len(self.seconds)
        return mean_seconds * count * effort.epochs / min(self.workers, count)

    def runs(self) -> pd.DataFrame:
        """Return the runs in their order: name, seconds at most, run key."""
        rows = [(self.timed.run_name(run), self.seconds[key], key) for key, run in self.timed.runs.items()]
        return pd.DataFrame(rows, columns=["name", "seconds", "key"])


def plan(
    experiment: ExperimentLike,
    *,
    data: TableOrPath | None = None,
    plugins: PluginsLike = (),
    backend: str = "jax",
    workers: int | None = None,
) -> TimedPlan:
    """Return every run of an experiment with an estimate of its time; a few runs are timed for one epoch.

    Raises ConfigError and DataError.

    >>> timed = gridcast.plan("experiments/retail_daily.yaml", workers=1)
    >>> timed.runs()["name"].tolist()
    ['GRU-4 b32 lr0.01 d0.1', 'GRU-4 b32 lr0.0001 d0.1']
    >>> timed.total_seconds > 0
    True
    """
    planned = plan_experiment(experiment, backend, Quiet(), data, plugins)
    return time_plan(planned, choose_workers(backend, workers, cache=cache_if_present(CACHE)))


def time_plan(planned: Plan, workers: WorkerSettings) -> TimedPlan:
    """Return the runs of a plan with an estimate of their time."""
    from gridcast.sweep import time_estimate
    from gridcast.sweep.confirmation import plan_confirmation

    timed = planned.sample()
    with tensorflow_as_before():
        seconds = time_estimate.estimate_run_seconds(timed, workers)
    confirmation = plan_confirmation(planned.experiment, planned.run_count)
    longest = time_estimate.longest_seconds(timed, seconds, confirmation)
    return TimedPlan(planned, timed, seconds, workers.workers, confirmation, longest)


def report(experiment: ExperimentLike) -> Sweep:
    """Write the report of an experiment again, from MLflow alone, and return the sweep, which need not be finished.

    `experiment` is an experiment, its file, its name in MLflow, or a registered model or an MLflow URI of it. Raises
    ConfigError, TrackingError, and GridcastError where no run is finished.

    >>> gridcast.report("retail-daily").report.as_posix()
    'reports/retail_daily/report.html'
    """
    if isinstance(experiment, Experiment | Mapping):
        name, store = find_experiment_store(read_experiment(experiment).experiment.name)
    else:
        name, store = find_experiment_store(experiment)
    return write_report(name, store)


def promote(
    experiment: ExperimentLike,
    *,
    data: TableOrPath | None = None,
    force: str | None = None,
    if_not_worse: bool = False,
    plugins: PluginsLike = (),
    backend: str = "jax",
    progress: bool | RunEvents = False,
) -> Promotion:
    """Make the best run champion if it passes every gate; it is registered as `selection.promote_to`.

    `experiment` is an experiment, its file, or a registered model of it; `data` replaces its source, as in `run`.
    `force` is the reason to promote against the gates, which is stored with the version; with `if_not_worse` the run
    also replaces a champion from which it cannot be told apart. `plugins` are files or functions that the experiment
    names, see `run`; those in files that a registered model was made with are known. Raises PromotionRefused, with the
    registry unchanged, if a gate refuses; ConfigError, DataError, TrackingError.

    >>> promoted = gridcast.promote("experiments/retail_daily.yaml")
    >>> promoted.name, promoted.version, promoted.already_champion
    ('retail-daily', '1', True)
    """
    from gridcast.sweep.confirmation import with_confirmation
    from gridcast.sweep.winner import find_winner
    from gridcast.tracking import mlflow_runs, promotion
    from gridcast.tracking.store import open_store, require_store

    events = choose_events(progress)
    require_store()
    planned = _plan_to_promote(experiment, backend, events, data, plugins)
    store = open_store(planned.experiment.name, create=False)
    confirmed, finished = with_confirmation(planned, store)
    if not finished:
        named = planned.experiment.name if isinstance(experiment, Experiment | Mapping) else experiment
        raise GridcastError(f"no run of {named} on these data is finished yet; train them with `gridcast run`")
    winner = find_winner(confirmed, store, list(finished.values()))
    events.chosen(mlflow_runs.run_name(winner), len(finished), len(confirmed.all_runs))
    promoted = promotion.promote(
        confirmed.experiment,
        store,
        winner,
        test_measures=promotion.recorded_test_measures(store, winner, confirmed.baseline_keys),
        evaluate_champion=champion_evaluator(confirmed),
        force=force,
        if_not_worse=if_not_worse,
        metrics=confirmed.metrics,
    )
    events.promoted(promoted)
    return promoted


def _plan_to_promote(
    experiment: ExperimentLike, backend: str, events: RunEvents, data: TableOrPath | None, plugins: PluginsLike
) -> Plan:
    """Return the plan of an experiment, or of the one behind a registered model."""
    argument = str(experiment)
    if not isinstance(experiment, str | Path) or model_argument.is_experiment_file(argument):
        return plan_experiment(experiment, backend, events, data, plugins)
    if argument.startswith("runs:/"):
        raise ConfigError(
            f"'{argument}' is one run, and `gridcast promote` promotes the best run of an experiment: give the "
            "experiment file, or the name of its registered model"
        )
    recorded = recorded_experiment(model_argument.find_model(argument))
    return plan_recorded(recorded, backend, events, data, plugins)


def rollback(model: str | Path) -> Promotion:
    """Roll a registered model back to its previous champion; calling it twice restores the original state.

    `model` is a registered name, a models:/ URI of its champion, or an experiment file. Raises ConfigError, and
    TrackingError where there is no previous version.

    >>> gridcast.rollback("retail-daily")
    Traceback (most recent call last):
    gridcast.runtime.errors.TrackingError: ...
    """
    name = model_argument.registered_name(model, "rollback")
    from gridcast.tracking import champion_change
    from gridcast.tracking.store import connect, require_store

    require_store()
    client, _ = connect()
    with model_argument.explain_unknown_model(str(model)):
        return champion_change.rollback(client, name)
