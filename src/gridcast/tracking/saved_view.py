"""The view of an experiment in MLflow's web pages that shows the grid: columns, order and charts.

MLflow has no default view that a program can set, but its pages open on a saved one by a link, and list it under
"Views". A saved view is a tag of the experiment; its format is that of MLflow 3.17's pages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store

VIEW_KEY = "gridcast"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
SECTION = "grid"
CURVES_COMPARED, BARS_COMPARED, LINES_COMPARED = 10, 30, 300
"""Runs, the best first, that each kind of chart shows at most."""


def save_view(store: Store, *, metric: str, axes: Sequence[str], other_metrics: Sequence[str] = ()) -> None:
    """Save the view of runs ordered by `metric`, with their settings on the `axes`; one that a user changed stays."""
    previous = json.loads(mlflow_runs.experiment_tags(store).get(VIEW_TAG, "{}"))
    if previous.get("updatedAt", previous.get("createdAt")) != previous.get("createdAt"):
        return
    state = _state(metric, axes, [metric, *other_metrics])
    if json.loads(previous.get("state", "{}")) != state:
        view = {"name": "The grid", "createdAt": int(1000 * time.time()), "state": json.dumps(state)}
        mlflow_runs.set_experiment_tag(store, VIEW_TAG, json.dumps(view))


def view_link(store: Store, address: str) -> str:
    """Return the link to the view on the pages of MLflow at `address`."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW_KEY}"
    return f"{address}/#/experiments/{store.experiment}/runs?{query}"


def _state(metric: str, axes: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    columns = [f"params.`{axis}`" for axis in axes] + [f"metrics.`{name}`" for name in metrics]
    charts = [
        _chart("LINE", "val_loss", {"selectedMetricKeys": ["val_loss"], "xAxisKey": "step"}, CURVES_COMPARED),
        _chart("BAR", metric, {}, BARS_COMPARED),
    ]
    if axes:
        lines = {"selectedMetrics": [metric], "selectedParams": list(axes)}
        charts.append(_chart("PARALLEL", metric, lines, LINES_COMPARED))
    return {
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": True,
        "selectedColumns": ["attributes.`Duration`", *columns],
        "compareRunCharts": charts,
        "compareRunSections": [{"uuid": SECTION, "name": "The grid", "display": True, "isReordered": True}],
    }


def _chart(kind: str, metric: str, options: Mapping[str, Any], runs: int) -> dict[str, Any]:
    return {
        "uuid": f"{kind}-{metric}",
        "type": kind,
        "deleted": False,
        "isGenerated": False,
        "metricKey": metric,
        "metricSectionId": SECTION,
        "runsCountToCompare": runs,
        **options,
    }
