"""The view of an experiment in MLflow's web pages that shows the grid: columns, order and charts.

MLflow has no default view that a program can set, but its pages open on a saved one by a link, and list it under
"Views". A saved view is a tag of the experiment; its format is that of MLflow 3.17's pages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gridcast.tracking import mlflow_runs
from gridcast.tracking.addresses import without_credentials
from gridcast.tracking.store import Store

VIEW_KEY = "gridcast"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
CURVES, SETTINGS = "curves", "settings"
"""Sections of charts: of the runs, and of the settings with the errors."""
RUNS_COMPARED = 20
"""Runs, the best first, that the charts show."""


def save_view(
    store: Store,
    *,
    metric: str,
    axes: Sequence[str],
    other_metrics: Sequence[str] = (),
    is_higher_better: bool = False,
) -> None:
    """Save the view of runs ordered by `metric`, with their settings on the `axes`; one that a user changed stays.

    An experiment without a description gets one with a link to the view.
    """
    tags = mlflow_runs.experiment_tags(store)
    if mlflow_runs.DESCRIPTION_TAG not in tags:
        text = f"[The grid]({view_link(store, '')[1:]}): all runs in the order of `{metric}`, with settings and charts."
        mlflow_runs.set_experiment_tag(store, mlflow_runs.DESCRIPTION_TAG, text)
    previous = json.loads(tags.get(VIEW_TAG, "{}"))
    if previous.get("updatedAt", previous.get("createdAt")) != previous.get("createdAt"):
        return
    state = _state(metric, axes, [metric, *other_metrics]) | {"orderByAsc": not is_higher_better}
    if json.loads(previous.get("state", "{}")) != state:
        view = {"name": "The grid", "createdAt": int(1000 * time.time()), "state": json.dumps(state)}
        mlflow_runs.set_experiment_tag(store, VIEW_TAG, json.dumps(view))


def view_link(store: Store, address: str) -> str:
    """Return the link to the view on the pages of MLflow at `address`."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW_KEY}"
    return f"{without_credentials(address)}/#/experiments/{store.experiment}/runs?{query}"


def _state(metric: str, axes: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    columns = [f"params.`{axis}`" for axis in axes] + [f"metrics.`{name}`" for name in metrics]
    curves = {"selectedMetricKeys": ["val_loss"], "xAxisKey": "step"}
    charts = [
        _chart("LINE", "val_loss", CURVES, curves),
        _chart("BAR", metric, CURVES),
    ]
    sections = [_section(CURVES, "Best runs", columns=2)]
    if axes:
        lines = {"selectedMetrics": [metric], "selectedParams": list(axes)}
        charts.append(_chart("PARALLEL", metric, SETTINGS, lines))
        sections.append(_section(SETTINGS, "Settings and errors", columns=1))
    return {
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": True,
        "selectedColumns": ["attributes.`Duration`", *columns],
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "runsHiddenMode": f"FIRST_{RUNS_COMPARED}_RUNS",
    }


def _section(key: str, title: str, *, columns: int) -> dict[str, Any]:
    return {"uuid": key, "name": title, "display": True, "isReordered": True, "columns": columns}


def _chart(kind: str, metric: str, section: str, options: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    return {
        "uuid": f"{kind}-{metric}",
        "type": kind,
        "deleted": False,
        "isGenerated": False,
        "metricKey": metric,
        "metricSectionId": section,
        "runsCountToCompare": RUNS_COMPARED,
        **options,
    }
