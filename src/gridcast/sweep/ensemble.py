"""One forecaster or detector of the best runs: its members, their weights, and its record."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.config import Ensemble
from gridcast.config.selection_metrics import DETECTION_METRICS, HIGHER_IS_BETTER
from gridcast.evaluation import metrics
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.evaluation.validation_measures import validation_measures
from gridcast.runtime import plugin_code
from gridcast.runtime.detector import DETECTOR_KEY, ENSEMBLE
from gridcast.runtime.likelihoods import QUANTILE
from gridcast.runtime.model_files import BASELINE_FILE, MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE
from gridcast.sweep.plan import Plan
from gridcast.sweep.records import dataset_fields, input_example, own_metric_tags
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store
from gridcast.training.greedy_ensemble import GreedyEnsemble
from gridcast.training.result import TrainingResult

MEMBERS_TABLE = "members.csv"
"""Artifact that lists the members: run, name, weight, validation error."""
GREEDY = "greedy"
"""The way to combine runs, and baselines that may win, with the weights that are best on the validation span."""
ERROR_METRICS = ("best_val_wql", "val_online_faults_missed", "val_faults_missed", "best_val_mae")
"""The first of these that a run has is its error: for the weights, and to compare an ensemble with its best member."""
COMBINATION_NAMES = {
    "mean": "mean",
    "median": "median",
    "weighted": "weighted mean",
    "greedy": "greedy ensemble",
    "minimum": "minimum",
}
MIN_ERROR = 1e-12
"""Lower bound of an error whose inverse is a weight."""


@dataclass(frozen=True)
class EnsembleMembers:
    """The MLflow `runs` of an ensemble, best first, and their `weights`, which add up to 1.

    A median and a minimum have no weights (None), and those of a greedy ensemble are not known at first.
    """

    combine: str
    runs: tuple[Any, ...]
    weights: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """The ensemble in words."""
        count = len(self.runs)
        parts = f"{count} models" if self.combine == GREEDY else f"the {count} best runs"
        return f"{COMBINATION_NAMES[self.combine]} of {parts}"

    @property
    def key(self) -> str:
        """The same for the same members combined in the same way."""
        text = json.dumps([self.combine, *(run.data.tags[mlflow_runs.KEY_TAG] for run in self.runs)])
        return hashlib.sha256(f"{mlflow_runs.WINNER_KIND}/{text}".encode()).hexdigest()


def choose_members(settings: Ensemble, runs: Sequence[Any], metric: str, *, last_fold: int) -> EnsembleMembers:
    """Return the best of the finished MLflow `runs` by `metric` on the last fold, `settings.top` or fewer.

    Raises GridcastError if no run has a finite metric.
    """
    best = ranking.rank_runs(runs, metric, last_fold)[: settings.top]
    weights = None
    if settings.combine not in ("median", "minimum", GREEDY):
        is_weighted = settings.combine == "weighted"
        shares = _shares(best, metric) if is_weighted else [1.0] * len(best)
        weights = tuple(share / sum(shares) for share in shares)
    return EnsembleMembers(settings.combine, tuple(best), weights)


def validation_error(run: Any, metric: str) -> float:
    """Return the validation error of a run from which its weight follows.

    It is that of `metric` where this measures forecasts, is positive and the lower the better, or such a complement.
    """
    recorded = run.data.metrics
    is_of_forecasts = metric.startswith("val_") and metric not in DETECTION_METRICS
    if is_of_forecasts and ranking.has_finite(run, metric) and ranking.cost(run, metric) >= 0:
        return ranking.cost(run, metric)
    return float(next((recorded[name] for name in ERROR_METRICS if name in recorded), math.nan))


def _shares(runs: Sequence[Any], metric: str) -> list[float]:
    """Return 1 / error of each run; of a metric of one's own of which higher is better, its values if all are positive.

    The errors are all of one metric: where some run has no positive error by `metric`, none is weighted by it.
    """
    values = [run.data.metrics.get(metric, math.nan) for run in runs]
    if metric not in HIGHER_IS_BETTER and ranking.is_higher_better(runs[0], metric) and min(values) > 0:
        return values
    if not all(ranking.has_finite(run, metric) and ranking.cost(run, metric) >= 0 for run in runs):
        metric = "best_val_loss"
    return [1 / max(validation_error(run, metric), MIN_ERROR) for run in runs]


def ensemble_files(members: EnsembleMembers, store: Store) -> dict[str, bytes]:
    """Return the files of the ensemble, for `runtime.loading`."""
    files = [mlflow_runs.read_model_files(store, run.info.run_id) for run in members.runs]
    return pack_members(files, members.weights, members.combine)


def recorded_members(store: Store, winner: Any) -> list[Any]:
    """Return the MLflow runs that the recorded ensemble `winner` consists of, best first."""
    table = pd.read_csv(io.BytesIO(mlflow_runs.read_artifact(store, winner.info.run_id, MEMBERS_TABLE)))
    return [mlflow_runs.find_run(store, run_id) for run_id in table["run"]]


def pack_members(
    members: Sequence[Mapping[str, bytes]], weights: tuple[float, ...] | None, combine: str = "mean"
) -> dict[str, bytes]:
    """Return the files of an ensemble: settings and network, or baseline, of each member, and how they are combined.

    A detector made in this way still lacks its threshold.
    """
    files: dict[str, bytes] = {}
    names = []
    contents = []
    for number, member in enumerate(members):
        fitted = NETWORK_FILE if NETWORK_FILE in member else BASELINE_FILE
        settings_name, fitted_name = f"member-{number}.json", f"member-{number}{Path(fitted).suffix}"
        names.append((settings_name, fitted_name))
        files |= {settings_name: member[SETTINGS_FILE], fitted_name: member[fitted]}
        files |= plugin_code.files_in(member)
        contents.append(json.loads(member[SETTINGS_FILE]))
    # The ensemble needs as much history as its most demanding member.
    settings = max(contents, key=lambda content: int(content["lookback"]))
    if "quantiles" in settings:
        # Sample paths continue beyond the horizon; if one member cannot draw them, the ensemble cannot.
        likelihoods = [content["quantiles"]["likelihood"] for content in contents]
        likelihood = QUANTILE if QUANTILE in likelihoods else likelihoods[0]
        settings |= {"quantiles": settings["quantiles"] | {"likelihood": likelihood, "correction": None}}
    if DETECTOR_KEY in settings:
        own = {"kind": ENSEMBLE, "usual": [], "combine": combine, "online": []}
        settings |= {DETECTOR_KEY: settings[DETECTOR_KEY] | own}
    combination = {"members": names, "weights": weights}
    return files | {MEMBERS_FILE: json.dumps(combination).encode(), SETTINGS_FILE: json.dumps(settings).encode()}


def ensemble_entry(
    plan: Plan,
    members: EnsembleMembers,
    files: Mapping[str, bytes],
    validation: Forecasts | TrainingResult | GreedyEnsemble,
) -> RunEntry:
    """Return the record of the ensemble in `files`.

    `validation` are its forecasts of the validation span, from which its error follows; of detectors, the metrics
    and files of the calibrated ensemble; of a greedy one, its measures. `best_val_loss` is its members' mean; only
    a greedy ensemble may have a loss of its own, and has no other.
    """
    lookback, metric = json.loads(files[SETTINGS_FILE])["lookback"], plan.experiment.selection.metric
    if isinstance(validation, TrainingResult):
        errors, files = validation.metrics, validation.files
    elif isinstance(validation, GreedyEnsemble):
        errors = validation.measures
    else:
        actual = plan.dataset.targets(validation.index)
        errors = {"best_val_mae": metrics.mae(actual, validation.forecast)}
        errors |= validation_measures(plan.dataset, validation.index, validation.forecast, validation.quantiles)
        if validation.quantiles is not None:
            errors["best_val_wql"] = metrics.weighted_quantile_loss(actual, validation.quantiles, validation.levels)
    recorded = [run.data.metrics for run in members.runs]
    count = len(recorded)
    losses = [metrics_of_run["best_val_loss"] for metrics_of_run in recorded if "best_val_loss" in metrics_of_run]
    has_mean_loss = len(losses) == count and not isinstance(validation, GreedyEnsemble)
    summary = ({"best_val_loss": sum(losses) / count} if has_mean_loss else {}) | errors
    for name in ("parameters", "fit_seconds"):
        summary[name] = float(sum(metrics_of_run.get(name, 0.0) for metrics_of_run in recorded))
    table = pd.DataFrame(
        {
            "run": [run.info.run_id for run in members.runs],
            "name": [mlflow_runs.run_name(run) for run in members.runs],
            "weight": members.weights or [float("nan")] * count,
            "validation error": [validation_error(run, metric) for run in members.runs],
        }
    )
    about = {"ensemble": members.combine, "members": count, "lookback": lookback}
    return RunEntry(
        name=members.name,
        kind=mlflow_runs.WINNER_KIND,
        key=members.key,
        tags={
            mlflow_runs.FINGERPRINT_TAG: plan.fingerprint,
            mlflow_runs.CONFIGURATION_TAG: json.dumps(about),
            **own_metric_tags(plan),
        },
        params={**about, "horizon": plan.experiment.window.horizon},
        metrics=summary,
        files=files,
        artifacts={MEMBERS_TABLE: table.to_csv(index=False).encode()},
        backend=plan.backend,
        dataset=dataset_fields(plan),
        example=input_example(plan, lookback),
    )
