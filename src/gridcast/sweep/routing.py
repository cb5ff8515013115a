"""One forecaster that routes each series to its own model: the choices, the key, and the record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import Configuration
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime import per_series, plugin_code
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.model_files import BASELINE_FILE, NETWORK_FILE, SETTINGS_FILE
from gridcast.runtime.per_series import Route
from gridcast.sweep.plan import Plan, configuration_name
from gridcast.sweep.records import dataset_fields, input_example, own_metric_tags
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store

ROUTES_TABLE, ERROR_COLUMN = "routes.csv", "validation MAE"
"""Artifact that lists the model of each series, and its column with the error."""
PRIOR_WINDOWS = 20
"""Windows of validation that the average over all series counts for beside those of a series."""


@dataclass(frozen=True)
class SeriesChoice:
    """The model of a `series`: the MLflow `run`, or (without one) the naive rule or baseline called `name`.

    `error` is its MAE on the validation span in data units, the mean over seeds and folds; NaN for a
    series for which nothing could be trained or compared.
    """

    series: str
    name: str
    error: float
    run: Any = None

    @property
    def kind(self) -> str:
        """The run of all series, the own one, or the baseline: choices for several series may share it."""
        if self.run is None:
            return self.name
        return self.key if mlflow_runs.SERIES_TAG not in self.run.data.tags else "own network"

    @property
    def key(self) -> str:
        """Distinguishes it from every other choice for its series."""
        return str(self.run.data.tags[mlflow_runs.KEY_TAG]) if self.run is not None else self.name


def choose_per_series(plan: Plan, store: Store, runs: Sequence[Any]) -> list[SeriesChoice]:
    """Return the model of each series, from the finished `runs` of `plan`.

    In local mode this is the best run of the series by `selection.metric`. In auto mode it is that run, the best run of
    all series together or the best naive rule (with `contenders: all`, the best baseline), whichever has the lowest MAE
    on validation, see `shrunken_errors`. A series without a run gets the seasonal naive forecast if its training span
    has a whole period, else the last value.
    """
    metric = plan.experiment.selection.metric
    # Runs of an earlier version have plain ids.
    ids: dict[str | None, str] = dict(zip(plan.panel.plain_series, plan.panel.series, strict=True))
    runs_by_series: dict[str | None, list[Any]] = {}
    for run in runs:
        tag = run.data.tags.get(mlflow_runs.SERIES_TAG)
        runs_by_series.setdefault(ids.get(tag, tag), []).append(run)
    candidates: dict[str, list[SeriesChoice]] = {series: [] for series in plan.panel.series}
    for series, runs_of_series in runs_by_series.items():
        group = _best_configuration_runs(runs_of_series, metric, plan.last_fold)
        if not group:
            continue
        best = ranking.best_on_fold(group, metric, plan.last_fold)
        name = _configuration_name(best)
        if series is not None:
            error = float(np.mean([run.data.metrics["best_val_mae"] for run in group]))
            candidates[series].append(SeriesChoice(series, name, error, best))
            continue
        for one_series, error in _errors_by_series(plan, store, group).items():
            candidates[one_series].append(SeriesChoice(one_series, f"all series: {name}", error, best))
    if plan.experiment.mode == "auto":
        is_open = plan.experiment.selection.contenders == "all"
        for choice in _baseline_choices(plan, store) if is_open else _naive_choices(plan):
            candidates[choice.series].append(choice)
    return _best_choices(plan, candidates)


def _best_choices(plan: Plan, candidates: Mapping[str, Sequence[SeriesChoice]]) -> list[SeriesChoice]:
    """Return the choice of each series with the lowest error, in auto mode after shrinkage."""
    kinds = {choice.kind: None for choices in candidates.values() for choice in choices}
    errors = np.full((len(candidates), len(kinds)), np.nan)
    for row, choices in enumerate(candidates.values()):
        for choice in choices:
            errors[row, list(kinds).index(choice.kind)] = choice.error
    if plan.experiment.mode == "auto":
        index = plan.dataset.origins("validation", plan.experiment.window.lookback)
        counts = np.bincount(index[:, 0], minlength=len(candidates)) * len(plan.datasets)
        errors = shrunken_errors(errors, plan.dataset.naive_scales, counts)
    best = []
    for row, (series, choices) in enumerate(candidates.items()):
        finite = [choice for choice in choices if np.isfinite(choice.error)]
        if finite:
            best.append(min(finite, key=lambda choice: errors[row, list(kinds).index(choice.kind)]))
        else:
            best.append(SeriesChoice(series, _fallback_rule(plan, row), np.nan))
    return best


def shrunken_errors(errors: np.ndarray, scales: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the `errors` (series, kinds) of each kind of model in units of `scales` (series,), drawn to its mean.

    With few validation windows, `counts` (series,), the lowest of many errors is low by luck: so each counts like a
    mean with `PRIOR_WINDOWS` windows more, in which the model does as on the average of all series. NaN where a series
    has no such model; kinds are compared over the series that have them.
    """
    relative = errors / np.where(scales > 0, scales, 1.0)[:, None]
    with np.errstate(invalid="ignore"):
        typical = np.nanmean(relative, axis=1, keepdims=True)
        ratios = np.nanmean(relative / np.where(typical > 0, typical, 1.0), axis=0)
        weight = (counts / (counts + PRIOR_WINDOWS))[:, None]
        return np.asarray(weight * relative + (1 - weight) * ratios * typical)


def routing_key(choices: Sequence[SeriesChoice]) -> str:
    """Return the key of the forecaster made of `choices`: the same for the same model of each series."""
    text = json.dumps([(choice.series, choice.key) for choice in choices])
    return hashlib.sha256(f"{mlflow_runs.WINNER_KIND}/{text}".encode()).hexdigest()


def chosen_baselines(plan: Plan, choices: Sequence[SeriesChoice]) -> list[str]:
    """Return the names of the baselines among `choices` that are models with files of their own."""
    if plan.experiment.selection.contenders != "all":
        return []  # naive rules are written into their routes
    return list(dict.fromkeys(choice.name for choice in choices if choice.run is None))


def routing_entry(
    plan: Plan, store: Store, choices: Sequence[SeriesChoice], models: Mapping[str, Mapping[str, bytes]]
) -> RunEntry:
    """Return the record of the forecaster made of `choices`, with every model once and the routes to them.

    `models` are the files of each of the `chosen_baselines`, by name.
    """
    runs = {choice.key: choice.run for choice in choices if choice.run is not None}
    files = {key: f"network-{number}.keras" for number, key in enumerate(runs)}
    networks: dict[str, bytes] = {}
    code: dict[str, bytes] = {}
    for key, run in runs.items():
        model_files = mlflow_runs.read_model_files(store, run.info.run_id)
        networks[files[key]] = model_files[NETWORK_FILE]
        code |= plugin_code.files_in(model_files)
    baseline_files = {name: f"baseline-{number}.npz" for number, name in enumerate(models)}
    networks |= {baseline_files[name]: content[BASELINE_FILE] for name, content in models.items()}
    lookbacks = {name: json.loads(content[SETTINGS_FILE])["lookback"] for name, content in models.items()}
    routes = [
        Route(choice.name, lookbacks[choice.name], baseline=baseline_files[choice.name])
        if choice.run is None and choice.name in models
        else _route(plan, row, choice, files)
        for row, choice in enumerate(choices)
    ]
    preprocessing = replace(plan.dataset.preprocessing, lookback=max(route.lookback for route in routes))
    rules = sum(choice.run is None for choice in choices)
    by_rule = f", {rules} by a {'baseline' if models else 'naive rule'}" if rules else ""
    about = {"mode": plan.experiment.mode, "lookback": preprocessing.lookback, "networks": len(runs)}
    table = pd.DataFrame(
        {
            "series": [choice.series for choice in choices],
            "model": [choice.name for choice in choices],
            ERROR_COLUMN: [choice.error for choice in choices],
            "run": [choice.run.info.run_id if choice.run is not None else "" for choice in choices],
        }
    )
    return RunEntry(
        name=f"{plan.experiment.mode}: {len(runs)} networks for {len(choices)} series{by_rule}",
        kind=mlflow_runs.WINNER_KIND,
        key=routing_key(choices),
        tags={
            mlflow_runs.FINGERPRINT_TAG: plan.fingerprint,
            mlflow_runs.CONFIGURATION_TAG: json.dumps(about),
            **own_metric_tags(plan),
        },
        params={**about, "horizon": preprocessing.horizon, "series": len(choices)},
        metrics=_summary_metrics(plan, choices, list(runs.values())),
        files={
            **per_series.model_files(routes, networks),
            **code,
            SETTINGS_FILE: json.dumps(preprocessing.to_json()).encode(),
        },
        artifacts={ROUTES_TABLE: table.to_csv(index=False).encode()},
        backend=plan.backend,
        dataset=dataset_fields(plan),
        example=input_example(plan, preprocessing.lookback),
    )


def _summary_metrics(plan: Plan, choices: Sequence[SeriesChoice], runs: Sequence[Any]) -> dict[str, float]:
    """Return the mean errors over series and runs, and the sums of parameters and seconds."""
    metric = plan.experiment.selection.metric
    summary = {"best_val_mae": float(np.mean([choice.error for choice in choices if np.isfinite(choice.error)]))}
    if runs:
        summary[metric] = float(np.mean([run.data.metrics[metric] for run in runs]))
    for name in ("parameters", "fit_seconds"):
        summary[name] = float(sum(run.data.metrics[name] for run in runs))
    return summary


def _best_configuration_runs(runs: list[Any], metric: str, last_fold: int) -> list[Any]:
    try:
        return ranking.best_configuration_runs(runs, metric, last_fold)
    except GridcastError:  # no run has a finite metric
        return []


def _configuration_name(run: Any) -> str:
    settings = Configuration.model_validate_json(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    return configuration_name(settings, int(run.data.tags[mlflow_runs.SEED_TAG]))


def _errors_by_series(plan: Plan, store: Store, runs: list[Any]) -> dict[str, float]:
    """Return the validation MAE of each series, the mean over `runs`, each of which was trained on all series."""
    curves = [mlflow_runs.validation_errors(store, run.info.run_id, mlflow_runs.MAE_BY_SERIES) for run in runs]
    rows = set.intersection(*map(set, curves))
    return {plan.panel.series[row]: float(np.mean([curve[row] for curve in curves])) for row in sorted(rows)}


def _baseline_choices(plan: Plan, store: Store) -> list[SeriesChoice]:
    """Return each recorded baseline that a model can carry for each series, with its MAE on the validation span."""
    keys = {key: name for name, key in plan.baseline_keys.items() if name in baselines.BASELINES}
    recorded = mlflow_runs.finished_runs(store, keys, "baseline")
    choices = []
    for key, name in keys.items():
        if key in recorded:
            errors = mlflow_runs.validation_errors(store, recorded[key].info.run_id, mlflow_runs.MAE_BY_SERIES)
            choices += [SeriesChoice(plan.panel.series[row], name, error) for row, error in sorted(errors.items())]
    return [choice for choice in choices if np.isfinite(choice.error)]


def _naive_choices(plan: Plan) -> list[SeriesChoice]:
    """Return each naive rule for each series, with its MAE on the validation span, the mean over folds."""
    fold_errors: dict[tuple[int, str], list[float]] = {}
    for dataset in plan.datasets:
        task = baseline_task(dataset, plan.experiment.window.lookback, "validation")
        actual, rows = dataset.targets(task.index), task.index[:, 0]
        for rule in applicable_baselines(len(plan.panel.series), plan.dataset.period):
            if rule in baselines.NAIVE_BASELINES:
                errors = np.abs(baselines.BASELINES[rule](task).point - actual).mean(axis=1)
                for row in np.unique(rows):
                    fold_errors.setdefault((int(row), rule), []).append(float(errors[rows == row].mean()))
    return [
        SeriesChoice(plan.panel.series[row], rule, float(np.mean(errors)))
        for (row, rule), errors in fold_errors.items()
        if len(errors) == len(plan.datasets) and (rule != "seasonal naive" or _has_whole_period(plan, row))
    ]


def _has_whole_period(plan: Plan, row: int) -> bool:
    """Whether the series in `row` has at least a period of values in its training span."""
    period, is_observed = plan.dataset.period, np.isfinite(plan.panel.training_target[row])
    return period is not None and int(is_observed.sum()) >= period


def _fallback_rule(plan: Plan, row: int) -> str:
    return "seasonal naive" if _has_whole_period(plan, row) else "last value"


def _route(plan: Plan, row: int, choice: SeriesChoice, network_files: Mapping[str, str]) -> Route:
    """Return the route of the series in `row`; `network_files` are the files of the networks by run key."""
    if choice.run is not None:
        lookback = json.loads(choice.run.data.tags[mlflow_runs.CONFIGURATION_TAG])["lookback"]
        return Route(choice.name, lookback, network_files[choice.key])
    rule = choice.name
    if rule in ("training mean", "training median"):
        average = np.nanmean if rule == "training mean" else np.nanmedian
        level = average(plan.panel.training_target[row : row + 1], axis=1)
        scaled = plan.dataset.preprocessing.target_scaler.transform(level, slice(row, row + 1))
        return Route(rule, 1, level=float(scaled[0]))
    period = plan.dataset.period if rule == "seasonal naive" else 1
    assert period is not None
    return Route(rule, period, period=period)
