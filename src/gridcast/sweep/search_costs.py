"""Costs that a search compares: of a run at its end, or after some epochs, the lower the better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gridcast.config import selection_metrics
from gridcast.config.selection_metrics import curve_name, searched_metric
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.store import Store


@dataclass(frozen=True)
class SearchCosts:
    """The costs of runs by `metric`, see `selection_metrics.searched_metric`, of which the higher may be the better.

    Infinite where a value is missing or not finite.
    """

    metric: str
    is_higher_better: bool

    def of_metrics(self, metrics: Mapping[str, float]) -> float:
        """Return the cost of a run at its end, from its metrics."""
        return self._cost(metrics.get(self.metric, math.nan))

    def of_curves(self, curves: Mapping[str, Sequence[float]], until: int) -> float:
        """Return the cost of a run after `until` epochs, from its curves: that of its epoch with the lowest loss."""
        losses = list(curves["val_loss"][:until])
        values = list(curves.get(curve_name(self.metric), ()))[:until]
        if len(values) < len(losses) or not losses:
            return math.inf
        return self._cost(values[losses.index(min(losses))])

    def of_record(self, store: Store, run: Any, until: int) -> float:
        """Return the cost of a recorded run after `until` epochs."""
        if run.data.metrics["epochs_trained"] <= until and ranking.has_finite(run, self.metric):
            return self._cost(run.data.metrics[self.metric])
        names = ("val_loss", curve_name(self.metric))
        histories = {name: mlflow_runs.metric_history(store, run.info.run_id, name) for name in names}
        if not histories[curve_name(self.metric)] and ranking.has_finite(run, self.metric):
            return self._cost(run.data.metrics[self.metric])  # a former version did not follow it
        curves = {name: [history[epoch] for epoch in sorted(history)] for name, history in histories.items()}
        return self.of_curves(curves, until)

    def _cost(self, value: float) -> float:
        cost = selection_metrics.cost(self.metric, float(value), is_higher_better=self.is_higher_better)
        return cost if math.isfinite(cost) else math.inf


def search_costs(plan: Plan) -> SearchCosts:
    """Return the costs by which the search of `plan` decides."""
    experiment = plan.experiment
    metric = searched_metric(experiment.selection.metric, experiment.task, experiment.search.strategy)
    return SearchCosts(metric, plan.is_higher_better and metric == experiment.selection.metric)
