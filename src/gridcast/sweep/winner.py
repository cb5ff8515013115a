"""What a sweep ends with: its best run, an ensemble, or one forecaster that routes each series to its own model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import Configuration
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines
from gridcast.models.baselines.task import baseline_task
from gridcast.runtime import per_series
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.forecaster import NETWORK_FILE, SETTINGS_FILE
from gridcast.runtime.per_series import Route
from gridcast.sweep import ensemble
from gridcast.sweep.plan import Plan, configuration_name
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store

ROUTES_TABLE, ERROR_COLUMN = "routes.csv", "validation MAE"
"""Who answers for which series, and the column of its error."""


@dataclass(frozen=True)
class SeriesChoice:
    """Who answers for a `series`: the MLflow `run`, or the rule called `name`.

    `error` is its MAE on the validation span in data units, the mean over seeds and folds; NaN for a
    series of which nothing could be trained or compared.
    """

    series: str
    name: str
    error: float
    run: Any = None

    @property
    def key(self) -> str:
        """What tells it from any other choice for its series."""
        return str(self.run.data.tags[mlflow_runs.KEY_TAG]) if self.run is not None else self.name


def choose_per_series(plan: Plan, store: Store, runs: Sequence[Any]) -> list[SeriesChoice]:
    """Who answers for each series, from the finished `runs` of `plan`.

    In local mode its best run by `selection.metric`; in auto mode that, the best run of all series
    together or the best naive rule, whichever has the lowest MAE on validation. A series without a
    run gets the seasonal naive where its period is known and passed, else the last value.
    """
    last, metric = len(plan.datasets) - 1, plan.experiment.selection.metric
    of_series: dict[str | None, list[Any]] = {}
    for run in runs:
        of_series.setdefault(run.data.tags.get(mlflow_runs.SERIES_TAG), []).append(run)
    found: dict[str, list[SeriesChoice]] = {name: [] for name in plan.panel.series}
    for series, own in of_series.items():
        group = _best_configuration_runs(own, metric, last)
        if not group:
            continue
        best = ranking.best_on_fold(group, metric, last)
        if series is not None:
            found[series].append(
                SeriesChoice(series, _configuration_name(best), _mean_metric(group, "best_val_mae"), best)
            )
            continue
        for name, error in _series_errors(plan, store, group).items():
            found[name].append(SeriesChoice(name, f"all series: {_configuration_name(best)}", error, best))
    if plan.experiment.mode == "auto":
        for series, rule, error in _naive_rule_errors(plan):
            found[series].append(SeriesChoice(series, rule, error))
    return [
        min(choices, key=lambda choice: (not np.isfinite(choice.error), choice.error))
        if choices
        else SeriesChoice(series, _fallback_rule(plan, row), np.nan)
        for row, (series, choices) in enumerate(found.items())
    ]


def routing_key(choices: Sequence[SeriesChoice]) -> str:
    """Key of the forecaster made of `choices`: the same for the same members in the same places."""
    text = json.dumps([(choice.series, choice.key) for choice in choices])
    return hashlib.sha256(f"{mlflow_runs.WINNER_KIND}/{text}".encode()).hexdigest()


def routing_entry(plan: Plan, store: Store, choices: Sequence[SeriesChoice]) -> RunEntry:
    """The record of the forecaster made of `choices`, with its model: every network once, and who answers for which."""
    runs = {choice.key: choice.run for choice in choices if choice.run is not None}
    names = {key: f"network-{number}.keras" for number, key in enumerate(runs)}
    networks = {
        names[key]: mlflow_runs.read_model_files(store, run.info.run_id)[NETWORK_FILE] for key, run in runs.items()
    }
    routes = [_route(plan, row, choice, names) for row, choice in enumerate(choices)]
    preprocessing = replace(plan.dataset.preprocessing, lookback=max(route.lookback for route in routes))
    rules = sum(choice.run is None for choice in choices)
    errors = [choice.error for choice in choices if np.isfinite(choice.error)]
    metric = plan.experiment.selection.metric
    measured = {"best_val_mae": float(np.mean(errors))}
    measured |= {metric: float(np.mean([run.data.metrics[metric] for run in runs.values()]))} if runs else {}
    measured |= {m: float(sum(run.data.metrics[m] for run in runs.values())) for m in ("parameters", "fit_seconds")}
    table = pd.DataFrame(
        {
            "series": [choice.series for choice in choices],
            "model": [choice.name for choice in choices],
            ERROR_COLUMN: [choice.error for choice in choices],
            "run": [choice.run.info.run_id if choice.run is not None else "" for choice in choices],
        }
    )
    told = f", {rules} by a naive rule" if rules else ""
    about = {"mode": plan.experiment.mode, "lookback": preprocessing.lookback, "networks": len(runs)}
    return RunEntry(
        name=f"{plan.experiment.mode}: {len(runs)} networks for {len(choices)} series{told}",
        kind=mlflow_runs.WINNER_KIND,
        key=routing_key(choices),
        tags={mlflow_runs.FINGERPRINT_TAG: plan.fingerprint, mlflow_runs.CONFIGURATION_TAG: json.dumps(about)},
        params={**about, "horizon": preprocessing.horizon, "series": len(choices)},
        metrics=measured,
        files={
            **per_series.model_files(routes, networks),
            SETTINGS_FILE: json.dumps(preprocessing.to_json()).encode(),
        },
        artifacts={ROUTES_TABLE: table.to_csv(index=False).encode()},
        backend=plan.backend,
    )


def find_winner(plan: Plan, store: Store, runs: Sequence[Any]) -> Any:
    """What the finished `runs` of `plan` end with, as MLflow has it. Raises GridcastError when it was not made yet."""
    chosen = plan.experiment.selection
    if plan.experiment.mode != "global":
        wanted = routing_key(choose_per_series(plan, store, runs))
    elif chosen.ensemble is not None:
        wanted = ensemble.choose_members(chosen.ensemble, runs, chosen.metric, len(plan.datasets) - 1).key
    else:
        return ranking.best_run(list(runs), chosen.metric, len(plan.datasets) - 1)
    found = mlflow_runs.finished_runs(store, [wanted], mlflow_runs.WINNER_KIND)
    if not found:
        raise GridcastError("no forecaster is made of the best runs yet; go on with: gridcast run")
    return found[wanted]


def _best_configuration_runs(runs: list[Any], metric: str, last: int) -> list[Any]:
    try:
        return ranking.best_configuration_runs(runs, metric, last)
    except GridcastError:  # none of them is finite
        return []


def _configuration_name(run: Any) -> str:
    settings = Configuration.model_validate_json(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    return configuration_name(settings, int(run.data.tags[mlflow_runs.SEED_TAG]))


def _mean_metric(runs: list[Any], metric: str) -> float:
    return float(np.mean([run.data.metrics[metric] for run in runs]))


def _series_errors(plan: Plan, store: Store, group: list[Any]) -> dict[str, float]:
    """Validation MAE of each series under the runs of `group`, which learn all series together; the mean over them."""
    curves = [mlflow_runs.metric_history(store, run.info.run_id, mlflow_runs.MAE_BY_SERIES) for run in group]
    shared = set.intersection(*map(set, curves))
    return {plan.panel.series[row]: float(np.mean([curve[row] for curve in curves])) for row in sorted(shared)}


def _naive_rule_errors(plan: Plan) -> list[tuple[str, str, float]]:
    """Series, name of a naive rule, and its MAE on the validation span, the mean over folds."""
    found: dict[tuple[int, str], list[float]] = {}
    for dataset in plan.datasets:
        task = baseline_task(dataset, plan.experiment.window.lookback, "validation")
        actual, rows = dataset.targets(task.index), task.index[:, 0]
        for name in applicable_baselines(len(plan.panel.series), plan.dataset.period):
            if name in baselines.NAIVE_BASELINES:
                errors = np.abs(baselines.BASELINES[name](task).point - actual).mean(axis=1)
                for row in np.unique(rows):
                    found.setdefault((int(row), name), []).append(float(errors[rows == row].mean()))
    whole = {at: errors for at, errors in found.items() if len(errors) == len(plan.datasets)}
    return [
        (plan.panel.series[row], name, float(np.mean(errors)))
        for (row, name), errors in whole.items()
        if name != "seasonal naive" or _has_whole_period(plan, row)
    ]


def _has_whole_period(plan: Plan, row: int) -> bool:
    """Whether a period of the series in `row` lies within its training span."""
    period, known = plan.dataset.period, np.isfinite(plan.panel.training_target[row])
    return period is not None and int(known.sum()) >= period


def _fallback_rule(plan: Plan, row: int) -> str:
    return "seasonal naive" if _has_whole_period(plan, row) else "last value"


def _route(plan: Plan, row: int, choice: SeriesChoice, networks: dict[str, str]) -> Route:
    if choice.run is not None:
        lookback = json.loads(choice.run.data.tags[mlflow_runs.CONFIGURATION_TAG])["lookback"]
        return Route(choice.name, lookback, networks[choice.key])
    name = choice.name
    if name in ("training mean", "training median"):
        average = np.nanmean if name == "training mean" else np.nanmedian
        level = average(plan.panel.training_target[row : row + 1], axis=1)
        scaled = plan.dataset.preprocessing.target_scaler.transform(level, slice(row, row + 1))
        return Route(name, 1, level=float(scaled[0]))
    period = plan.dataset.period if name == "seasonal naive" else 1
    assert period is not None
    return Route(name, period, period=period)
