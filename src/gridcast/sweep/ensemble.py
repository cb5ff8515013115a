"""One forecaster of the best runs: which belong to it, what each of them counts, and its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gridcast.config import Ensemble
from gridcast.evaluation import forecast_results, metrics
from gridcast.runtime.detector import DETECTOR_KEY, ENSEMBLE
from gridcast.runtime.forecaster import MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE
from gridcast.runtime.likelihoods import QUANTILE
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store
from gridcast.training.result import TrainingResult

MEMBERS_TABLE = "members.csv"
"""Who belongs to it: run, name, weight, validation error."""
ERROR_METRICS = ("best_val_wql", "val_faults_missed", "best_val_mae")
"""By which runs are weighed and an ensemble is compared with its best one: the first that there is."""
COMBINATION_NAMES = {"mean": "mean", "median": "median", "weighted": "weighted mean", "minimum": "minimum"}
MIN_ERROR = 1e-12


@dataclass(frozen=True)
class EnsembleMembers:
    """The MLflow `runs` of an ensemble, best first, and their `weights`, which add up to 1.

    None of the median, and of the minimum.
    """

    combine: str
    runs: tuple[Any, ...]
    weights: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{COMBINATION_NAMES[self.combine]} of the {len(self.runs)} best runs"

    @property
    def key(self) -> str:
        """The same for the same members, combined in the same way."""
        text = json.dumps([self.combine, *(run.data.tags[mlflow_runs.KEY_TAG] for run in self.runs)])
        return hashlib.sha256(f"{mlflow_runs.WINNER_KIND}/{text}".encode()).hexdigest()


def choose_members(asked: Ensemble, runs: Sequence[Any], metric: str, last: int) -> EnsembleMembers:
    """The team of the finished MLflow `runs` that `asked` wants: the best by `metric` on the `last` fold.

    Fewer where there are fewer. Raises GridcastError when none has a finite metric.
    """
    chosen = ranking.rank_runs(runs, metric, last)[: asked.top]
    shares = [1 / max(validation_error(run), MIN_ERROR) if asked.combine == "weighted" else 1.0 for run in chosen]
    weights = None if asked.combine in ("median", "minimum") else tuple(share / sum(shares) for share in shares)
    return EnsembleMembers(asked.combine, tuple(chosen), weights)


def validation_error(run: Any) -> float:
    """The validation error of a run by which members are weighed."""
    own = run.data.metrics
    return float(next(own[name] for name in ERROR_METRICS if name in own))


def ensemble_files(team: EnsembleMembers, store: Store) -> dict[str, bytes]:
    """What `forecaster.load` or `detector.load` reads of a team."""
    return pack_members(
        [mlflow_runs.read_model_files(store, run.info.run_id) for run in team.runs], team.weights, team.combine
    )


def pack_members(
    members: Sequence[Mapping[str, bytes]], weights: tuple[float, ...] | None, combine: str = "mean"
) -> dict[str, bytes]:
    """The files of each member's settings and network, and how they are combined. A detector lacks its threshold."""
    found: dict[str, bytes] = {}
    names = []
    contents = []
    for number, own in enumerate(members):
        names.append((f"member-{number}.json", f"member-{number}.keras"))
        found |= dict(zip(names[-1], (own[SETTINGS_FILE], own[NETWORK_FILE]), strict=True))
        contents.append(json.loads(own[SETTINGS_FILE]))
    # A table is read as far back as any member wants it.
    settings = max(contents, key=lambda content: int(content["lookback"]))
    if "quantiles" in settings:
        # Samples go on beyond the horizon; one member that cannot is enough.
        likelihoods = [content["quantiles"]["likelihood"] for content in contents]
        told = QUANTILE if QUANTILE in likelihoods else likelihoods[0]
        settings |= {"quantiles": settings["quantiles"] | {"likelihood": told, "correction": None}}
    if DETECTOR_KEY in settings:
        settings |= {DETECTOR_KEY: settings[DETECTOR_KEY] | {"kind": ENSEMBLE, "usual": [], "combine": combine}}
    combined = {"members": names, "weights": weights}
    return found | {MEMBERS_FILE: json.dumps(combined).encode(), SETTINGS_FILE: json.dumps(settings).encode()}


def ensemble_entry(
    plan: Plan, team: EnsembleMembers, files: Mapping[str, bytes], done: forecast_results.Forecasts | TrainingResult
) -> RunEntry:
    """The record of the ensemble kept in `files`, whose forecasts of the validation span tell its error.

    Detectors are `done` with metrics and files of their own. An ensemble has no loss: where that is
    `selection.metric`, the mean of its members' stands there.
    """
    settings = json.loads(files[SETTINGS_FILE])
    if isinstance(done, TrainingResult):
        measured, files = done.metrics, done.files
    else:
        actual = plan.dataset.actual(done.index)
        measured = {"best_val_mae": metrics.mae(actual, done.forecast)}
        if done.quantiles is not None:
            measured["best_val_wql"] = metrics.weighted_quantile_loss(actual, done.quantiles, done.levels)
    own = [run.data.metrics for run in team.runs]
    measured = {"best_val_loss": sum(one["best_val_loss"] for one in own) / len(own)} | measured
    measured |= {name: float(sum(one[name] for one in own)) for name in ("parameters", "fit_seconds")}
    table = pd.DataFrame(
        {
            "run": [run.info.run_id for run in team.runs],
            "name": [mlflow_runs.run_name(run) for run in team.runs],
            "weight": team.weights or [float("nan")] * len(own),
            "validation error": [validation_error(run) for run in team.runs],
        }
    )
    about = {"ensemble": team.combine, "members": len(own), "lookback": settings["lookback"]}
    return RunEntry(
        name=team.name,
        kind=mlflow_runs.WINNER_KIND,
        key=team.key,
        tags={mlflow_runs.FINGERPRINT_TAG: plan.fingerprint, mlflow_runs.CONFIGURATION_TAG: json.dumps(about)},
        params={**about, "horizon": plan.experiment.window.horizon},
        metrics=measured,
        files=files,
        artifacts={MEMBERS_TABLE: table.to_csv(index=False).encode()},
        backend=plan.backend,
    )
