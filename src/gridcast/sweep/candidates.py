"""The candidates among which the winner of a sweep is chosen, by their costs on the validation span."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridcast.models.baselines import BASELINES
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime.detector import MINIMUM
from gridcast.sweep.ensemble import ERROR_METRICS, GREEDY
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.store import Store

NETWORK, BASELINE, ENSEMBLE_OF_RUNS = "network", "baseline", "ensemble"
CANDIDATES_FILE = "candidates.json"
"""Artifact of the sweep that lists them, where there is more than the best run."""


@dataclass(frozen=True)
class Candidate:
    """A network, baseline or ensemble that may win: its MLflow `run`, and its `cost` by `metric`, the lower the better.

    The cost of a network is the mean over the seeds and folds of its configuration. `other_cost` is that of the best
    single candidate by the same metric, where the metric of the selection does not measure ensembles.
    """

    kind: str
    name: str
    cost: float
    metric: str
    run: Any
    other_cost: float | None = None
    may_win: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings, without the run."""
        return {name: value for name, value in vars(self).items() if name != "run"}


def single_candidates(plan: Plan, store: Store, runs: Sequence[Any]) -> list[Candidate]:
    """Return the best network of the finished `runs`, then the baselines whose cost is known, in their order.

    Baselines may win with `selection.contenders: all` alone. Plug-ins, which no model carries, are left out. Raises
    GridcastError if no run has a finite metric.
    """
    selection = plan.experiment.selection
    group = ranking.best_configuration_runs(runs, selection.metric, plan.last_fold)
    best = ranking.best_on_fold(group, selection.metric, plan.last_fold)
    mean = float(np.mean([ranking.cost(run, selection.metric) for run in group]))
    found = [Candidate(NETWORK, mlflow_runs.run_name(best), mean, selection.metric, best)]
    keys = {key: name for name, key in plan.baseline_keys.items() if name in (*BASELINES, *DETECTOR_BASELINES)}
    recorded = mlflow_runs.finished_runs(store, keys, "baseline")
    for key, name in keys.items():
        if key in recorded and ranking.has_finite(recorded[key], selection.metric):
            cost = ranking.cost(recorded[key], selection.metric)
            may_win = selection.contenders == "all"
            found.append(Candidate(BASELINE, name, cost, selection.metric, recorded[key], may_win=may_win))
    return found


def best_single(singles: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the lowest cost of those that may win; of equal ones the first."""
    return min((one for one in singles if one.may_win), key=lambda candidate: candidate.cost)


def of_ensemble(combined: Any, single: Candidate, metric: str) -> Candidate:
    """Return the candidate that the MLflow run `combined` of an ensemble is, beside the best `single` one."""
    shared = shared_metric(combined, metric)
    cost, other = _cost(combined, shared), _cost(single.run, shared)
    may_win = is_better(combined, single, metric)
    return Candidate(ENSEMBLE_OF_RUNS, mlflow_runs.run_name(combined), cost, shared, combined, other, may_win)


def is_better(combined: Any, single: Candidate, metric: str) -> bool:
    """Whether an ensemble, the MLflow run `combined`, has a lower cost than the best `single` candidate.

    A minimum of detectors, which never raises more alarms than any of them, is taken at equal costs too: where no
    member raises a false alarm on the validation span, their false alarms cannot be told apart.
    """
    shared = shared_metric(combined, metric)
    cost, other = _cost(combined, shared), _cost(single.run, shared)
    return cost < other or (cost == other and combined.data.params.get("ensemble") == MINIMUM)


def shared_metric(combined: Any, metric: str) -> str:
    """Return the metric that compares an ensemble with one model: `metric`, or an error where it has no loss."""
    has_loss = metric != "best_val_loss" or combined.data.params.get("ensemble") == GREEDY
    if has_loss and ranking.has_finite(combined, metric):
        return metric
    return next((name for name in ERROR_METRICS if ranking.has_finite(combined, name)), metric)


def metric_of_forecasts(plan: Plan) -> str:
    """Return the metric by which a greedy ensemble is selected: that of the selection, or an error in place of a loss.

    An ensemble of networks with likelihoods has no loss.
    """
    metric = plan.experiment.selection.metric
    if metric != "best_val_loss" or plan.dataset.loss:
        return metric
    return "best_val_wql" if plan.dataset.levels else "best_val_mae"


def _cost(run: Any, metric: str) -> float:
    return ranking.cost(run, metric) if ranking.has_finite(run, metric) else math.inf
