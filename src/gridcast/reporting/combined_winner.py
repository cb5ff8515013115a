"""A winner that is no run of the grid: an ensemble, a model for each series, or a baseline."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gridcast.sweep import ensemble
from gridcast.sweep.routing import ERROR_COLUMN, ROUTES_TABLE
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store


@dataclass(frozen=True)
class CombinedWinner:
    """A winner made of several runs, with an MLflow run of its own.

    Where series have models of their own, `routes` names the model of each: series, model, validation MAE, run. Of an
    ensemble, `members` are its runs: run, name, weight, validation error. Other frames are empty, and both are where
    the winner is a baseline.
    """

    run: Any
    routes: pd.DataFrame = field(default_factory=pd.DataFrame)
    members: pd.DataFrame = field(default_factory=pd.DataFrame)


def is_grid_run(run: Any) -> bool:
    """Whether an MLflow run is one of the grid."""
    return bool(run.data.tags[mlflow_runs.KIND_TAG] == "run")


def read_combined(store: Store, run: Any) -> CombinedWinner:
    """Return the winner that the MLflow run `run` is, with its parts."""
    if "baseline" in run.data.params:
        return CombinedWinner(run)
    if "ensemble" in run.data.params:
        return CombinedWinner(run, members=_read_csv(store, run, ensemble.MEMBERS_TABLE))
    columns = {"series": str, "model": str, "run": str}
    # Only an empty error is missing: a series may be called NA.
    missing = {ERROR_COLUMN: [""]}
    routes = _read_csv(store, run, ROUTES_TABLE, dtype=columns, keep_default_na=False, na_values=missing)
    return CombinedWinner(run, routes=routes)


def _read_csv(store: Store, run: Any, name: str, **options: Any) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(mlflow_runs.read_artifact(store, run.info.run_id, name)), **options)
