"""What MLflow holds of a sweep, as frames: all that a report is made of, from any tracking server."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gridcast.config import AXES
from gridcast.evaluation import artifact_files
from gridcast.runtime.errors import GridcastError
from gridcast.sweep import ensemble
from gridcast.sweep.winner import ERROR_COLUMN, ROUTES_TABLE
from gridcast.tracking import mlflow_runs, ranking
from gridcast.tracking.store import Store

RUN_METRICS = (
    "best_val_loss",
    "best_val_mae",
    "best_val_wql",
    "val_faults_missed",
    "val_false_alarms_per_day",
    "best_epoch",
    "epochs_trained",
    "fit_seconds",
    "parameters",
)
MAX_RUNS_COMPARED = 20
"""Leading runs whose validation loss by origin is read, to tell which of them are tied."""


@dataclass(frozen=True)
class SweepRecord:
    """One sweep as MLflow holds it.

    `about` is sweep.json; `runs` has one row per finished run with its settings and final metrics, the
    `series` that it is of (empty: all together) and the `fold`;
    `failures` name and reason; `stopped` counts the runs that the search did not train to their end;
    `winner` and `single` are ids: of what the sweep ends with, and of the best run (empty where series have their own),
    whose epoch, loss and val_loss the `curves` are; `tests` the table
    of the test span by name, winner first (empty while the test span is untouched); `by_origin`
    (origins, run ids) the validation loss of the leading runs at each time step; `recent` what was observed
    right before the test span (series, time, actual) and `explained` what the winner leans on, as
    `training.explanation` tells it, both empty where that was not recorded. Where series have models of
    their own, the winner is the forecaster `joined` of them (None: not made yet), and `routes` say who
    answers: series, model, validation MAE, run. An ensemble too is `joined`, of `members`: run, name, weight,
    validation error.
    Of a detector, `scores` are the table of the test span, as `anomaly.detection` makes it, `values` the sensors in
    data units, and `measured` the measures of all detectors by name, the winner first; `tests` are then empty.
    """

    name: str
    parent: Any
    about: dict[str, Any]
    experiment: str
    runs: pd.DataFrame
    failures: pd.DataFrame
    stopped: int
    winner: str
    single: str
    curves: pd.DataFrame
    tests: dict[str, pd.DataFrame]
    by_origin: pd.DataFrame
    recent: pd.DataFrame
    explained: dict[str, Any]
    joined: Any = None
    routes: pd.DataFrame = field(default_factory=pd.DataFrame)
    members: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    values: pd.DataFrame = field(default_factory=pd.DataFrame)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def combine(self) -> str | None:
        """How the winner combines its members, as `selection.ensemble` says; None where it has none."""
        return self.joined.data.params["ensemble"] if len(self.members) else None

    @property
    def together(self) -> bool:
        """Whether one model answers for all series."""
        return bool(self.about.get("mode", "global") == "global")

    @property
    def axes(self) -> tuple[str, ...]:
        """The settings that vary in the grid."""
        return tuple(self.about["axes"])

    @property
    def metric(self) -> str:
        """The metric by which the winner is chosen; lower is better."""
        return str(self.about["selection"]["metric"])

    @property
    def best(self) -> pd.Series:
        """The row of the best run, the winner's where that is one run; where series have their own, one like it."""
        if self.together:
            return self.runs[self.runs["run_id"] == self.single].iloc[0]
        return self.leader

    @property
    def leader(self) -> pd.Series:
        """The winner's row of `runs`; one like it where it was made of several."""
        if self.together:
            own = {} if self.joined is None else {**self.joined.data.metrics, "name": mlflow_runs.run_name(self.joined)}
            return pd.Series({**self.best, **own, "run_id": self.winner or self.single})
        best = self.runs.loc[self.runs.groupby("series")[self.metric].idxmin()]
        found = {"run_id": self.winner, "key": "", "seed": "", "configuration": "", "series": "", "fold": 0}
        found |= dict.fromkeys(self.axes, "by series") | {metric: best[metric].mean() for metric in RUN_METRICS}
        if self.joined is None:
            return pd.Series(found | {"name": "the best run of each series"})
        return pd.Series(found | self.joined.data.metrics | {"name": mlflow_runs.run_name(self.joined)})


def read_sweep(store: Store, name: str) -> SweepRecord:
    """The newest sweep of the experiment `name`. Raises GridcastError when it has no finished run."""
    parents = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'sweep'")
    if not parents:
        raise GridcastError(f"'{name}' has no sweep in {store.uri}; train one with: gridcast run")
    parent = max(parents, key=lambda run: (run.info.end_time or 2**62, run.info.start_time))
    about = json.loads(mlflow_runs.read_artifact(store, parent.info.run_id, "sweep.json"))
    keys = set(about["run_keys"])
    children = mlflow_runs.search_runs(
        store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run' and attributes.status != 'RUNNING'"
    )
    children = [run for run in children if run.data.tags.get(mlflow_runs.KEY_TAG) in keys]
    done = {run.data.tags[mlflow_runs.KEY_TAG]: run for run in children if run.info.status == "FINISHED"}
    if not done:
        raise GridcastError(f"'{name}' has no finished run in {store.uri} yet; go on with: gridcast run")
    failed = [run for run in children if run.info.status == "FAILED" and run.data.tags[mlflow_runs.KEY_TAG] not in done]
    runs = pd.DataFrame([_row(run) for run in done.values()])
    if about.get("mode", "global") == "global":
        last = max(0, len(about.get("folds", ())) - 1)
        winner = ranking.best_run(list(done.values()), about["selection"]["metric"], last)
        joined, traced = None, [winner.info.run_id]
        if about["selection"].get("ensemble"):
            winner = joined = mlflow_runs.find_run(store, parent.data.tags.get(mlflow_runs.WINNER_TAG, ""))
        leading = list(runs[runs["fold"] == last].nsmallest(MAX_RUNS_COMPARED, about["selection"]["metric"])["run_id"])
    else:
        winner = joined = mlflow_runs.find_run(store, parent.data.tags.get(mlflow_runs.WINNER_TAG, ""))
        traced, leading = [], []
    curves = {
        metric: mlflow_runs.metric_history(store, traced[0], metric) if traced else {}
        for metric in ("loss", "val_loss", "mae", "val_mae")
    }
    key = winner.data.tags[mlflow_runs.KEY_TAG] if winner else ""
    tested = mlflow_runs.finished_runs(store, [key], "test").get(key) if key else None
    recent, explained, scores, values = (
        _kept(store, tested, name)
        for name in (
            artifact_files.RECENT_HISTORY,
            artifact_files.IMPORTANCE,
            artifact_files.SCORES,
            artifact_files.SENSOR_VALUES,
        )
    )
    known = _tested(store, tested, about) if tested else []
    return SweepRecord(
        name=name,
        parent=parent,
        about=about,
        experiment=mlflow_runs.read_artifact(store, parent.info.run_id, "experiment.yaml").decode(),
        runs=runs,
        failures=pd.DataFrame(
            [
                {"name": mlflow_runs.run_name(run), "reason": run.data.tags.get(mlflow_runs.ERROR_TAG, "")}
                for run in failed
            ],
            columns=["name", "reason"],
        ).drop_duplicates(),
        stopped=len(mlflow_runs.finished_runs(store, keys - done.keys(), "stopped")),
        winner=str(winner.info.run_id) if winner else "",
        single=str(traced[0]) if traced else "",
        curves=pd.DataFrame(curves).rename_axis("epoch").reset_index(),
        tests={} if scores else _tests(store, known),
        by_origin=pd.DataFrame(
            {run_id: mlflow_runs.metric_history(store, run_id, mlflow_runs.LOSS_BY_ORIGIN) for run_id in leading}
        ),
        recent=artifact_files.read_parquet_bytes(recent)
        if recent
        else pd.DataFrame(columns=["series", "time", "actual"]),
        explained=json.loads(explained) if explained else {},
        joined=joined,
        routes=_routes(store, joined) if joined and not traced else pd.DataFrame(),
        members=_table(store, joined, ensemble.MEMBERS_TABLE) if joined and traced else pd.DataFrame(),
        scores=artifact_files.read_parquet_bytes(scores) if scores else pd.DataFrame(),
        values=artifact_files.read_parquet_bytes(values) if values else pd.DataFrame(),
        measured={mlflow_runs.run_name(run): ranking.test_measures(run) for run in known},
    )


def _table(store: Store, joined: Any, name: str, **options: Any) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(mlflow_runs.read_artifact(store, joined.info.run_id, name)), **options)


def _routes(store: Store, joined: Any) -> pd.DataFrame:
    columns = {"series": str, "model": str, "run": str}  # a series may well be called NA
    empty = {ERROR_COLUMN: [""]}
    return _table(store, joined, ROUTES_TABLE, dtype=columns, keep_default_na=False, na_values=empty)


def _row(run: Any) -> dict[str, Any]:
    settings = json.loads(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    return {
        "run_id": run.info.run_id,
        "key": run.data.tags[mlflow_runs.KEY_TAG],
        "name": mlflow_runs.run_name(run),
        "series": run.data.tags.get(mlflow_runs.SERIES_TAG, ""),
        "fold": int(run.data.tags.get(mlflow_runs.FOLD_TAG, 0)),
        "seed": int(run.data.tags[mlflow_runs.SEED_TAG]),
        "configuration": run.data.tags[mlflow_runs.CONFIGURATION_TAG],
        **{axis: settings.get(axis, "none") for axis in AXES},
        **{metric: run.data.metrics.get(metric, float("nan")) for metric in RUN_METRICS},
    }


def _kept(store: Store, run: Any | None, name: str) -> bytes | None:
    """An artifact that older records, or a winner not tested yet, may lack."""
    if run is None or name not in mlflow_runs.artifact_names(store, run.info.run_id):
        return None
    return mlflow_runs.read_artifact(store, run.info.run_id, name)


def _tested(store: Store, tested: Any, about: dict[str, Any]) -> list[Any]:
    """Runs that met the test span: the winner's first, then those of the baselines."""
    known = mlflow_runs.finished_runs(store, about["baseline_keys"].values(), "baseline")
    return [tested, *(known[key] for key in about["baseline_keys"].values() if key in known)]


def _tests(store: Store, found: list[Any]) -> dict[str, pd.DataFrame]:
    return {
        mlflow_runs.run_name(run): artifact_files.read_parquet_bytes(
            mlflow_runs.read_artifact(store, run.info.run_id, artifact_files.FORECASTS)
        )
        for run in found
    }
