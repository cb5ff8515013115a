"""The record of a sweep in MLflow, read into frames: everything that a report needs, from any tracking server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gridcast.config import AXES, RELEVANT, selection_metrics
from gridcast.evaluation import artifact_files
from gridcast.reporting.combined_winner import CombinedWinner, is_grid_run, read_combined
from gridcast.reporting.setting_effects import with_whole_axes
from gridcast.runtime.errors import GridcastError
from gridcast.sweep.candidates import CANDIDATES_FILE
from gridcast.tracking import looks, mlflow_runs, promotion_outcome, ranking
from gridcast.tracking.addresses import without_credentials
from gridcast.tracking.looks import Look
from gridcast.tracking.store import Store

RUN_METRICS = (
    "best_val_loss",
    "best_val_mae",
    "best_val_wql",
    "val_online_faults_missed",
    "val_online_false_alarms_per_day",
    "val_faults_missed",
    "val_false_alarms_per_day",
    "val_online_alarms",
    "val_online_days",
    "best_epoch",
    "epochs_trained",
    "fit_seconds",
    "parameters",
)
CURVE_METRICS = ("loss", "val_loss", "mae", "val_mae")
MAX_RUNS_COMPARED = 20
"""Leading runs whose validation loss by origin is read, to test which of them are tied."""


@dataclass(frozen=True)
class ForecastRecord:
    """Forecasts of the test span; everything is empty where it was not recorded or the test span is untouched.

    `tests` holds the table of the test span by forecaster, the winner first; `recent` what was observed right before
    the test span (series, time, actual); `explanation` the importance of the winner's inputs, see
    `evaluation.explanation`. `own_measures` are the metrics of one's own of each forecaster, by name.
    """

    tests: dict[str, pd.DataFrame] = field(default_factory=dict)
    recent: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["series", "time", "actual"]))
    explanation: dict[str, Any] = field(default_factory=dict)
    own_measures: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class DetectionRecord:
    """Anomaly scores of the test span.

    `scores` is the winner's table of the test span, `sensor_values` the sensors in data units, `measures` the measures
    of all detectors by name, the winner first.
    """

    scores: pd.DataFrame
    sensor_values: pd.DataFrame
    measures: dict[str, dict[str, float]]


@dataclass(frozen=True)
class BaselineRecord:
    """The `failures` of baselines without a result (name, reason), and the `notes` of the others.

    Notes, by name, are those of the baseline itself, such as the form that was fitted.
    """

    failures: pd.DataFrame
    notes: dict[str, str]


@dataclass(frozen=True)
class SweepRecord:
    """One sweep as MLflow holds it.

    `parent` is its MLflow run and `about` the content of sweep.json. `runs` has one row per finished run, with its
    settings and final metrics, its `series` (empty: all of them) and its `fold`; `confirmation` marks those with
    further seeds of the leading configurations. `failures` have name and reason; `stopped` counts the runs that the
    search did not train to the end.

    `winner_id` is the run that the sweep ends with; `best_run_id` the best single run, whose epoch, loss and val_loss
    are the `curves`. Both may be empty: the first until the winner is made, the second where series have models of
    their own. `loss_by_origin` (origins, run ids) is the validation loss of the leading runs at each time step.
    `combined` is None where the winner is a run of the grid or is not made yet; `candidates` are all that were compared
    by their validation errors, see `sweep.candidates`, if there are others than runs. `detection` is None for
    forecasters, and while the test span is untouched. `looks` are all looks at it in the store, see `tracking.looks`.
    `refit_measures` are those of the winner on the test span after its refit, empty without one. `promotion` says what
    became of the promotion of the winner, as it is now.
    """

    name: str
    parent: Any
    about: dict[str, Any]
    experiment: str
    runs: pd.DataFrame
    failures: pd.DataFrame
    stopped: int
    winner_id: str
    best_run_id: str
    curves: pd.DataFrame
    loss_by_origin: pd.DataFrame
    combined: CombinedWinner | None
    forecasts: ForecastRecord
    detection: DetectionRecord | None
    baselines: BaselineRecord
    looks: Sequence[Look] = ()
    candidates: Sequence[Mapping[str, Any]] = ()
    refit_measures: Mapping[str, float] = field(default_factory=dict)
    promotion: str = ""

    @property
    def routes(self) -> pd.DataFrame:
        """The model of each series, empty where one model forecasts all of them."""
        return pd.DataFrame() if self.combined is None else self.combined.routes

    @property
    def members(self) -> pd.DataFrame:
        """The runs of the ensemble, empty where the winner is none."""
        return pd.DataFrame() if self.combined is None else self.combined.members

    @property
    def combine(self) -> str | None:
        """How the winner combines its members, see `selection.ensemble`; None where it has none."""
        if self.combined is None or not len(self.combined.members):
            return None
        return str(self.combined.run.data.params["ensemble"])

    @property
    def winning_baseline(self) -> str:
        """The name of the baseline that won, empty where none did."""
        return "" if self.combined is None else str(self.combined.run.data.params.get("baseline", ""))

    @property
    def together(self) -> bool:
        """Whether one model forecasts all series."""
        return _has_one_model(self.about)

    @property
    def grid_runs(self) -> pd.DataFrame:
        """The rows of `runs` that the search trained: all settings alike, without those that confirm the leaders."""
        return self.runs[~self.runs["confirmation"]]

    @property
    def planned(self) -> int:
        """The number of runs of the grid, and of those that confirm its leaders."""
        return self.searched + len(self.about.get("confirmation_keys", ()))

    @property
    def searched(self) -> int:
        """The number of runs of the grid; where the search draws them from ranges, of those that its budget allows."""
        return int(self.about.get("planned_runs", len(self.about["run_keys"])))

    @property
    def continuous_axes(self) -> tuple[str, ...]:
        """The settings that were drawn from ranges."""
        return tuple(self.about.get("ranges", ()))

    @property
    def axes(self) -> tuple[str, ...]:
        """The settings that vary in the grid."""
        return tuple(self.about["axes"])

    @property
    def metric(self) -> str:
        """The column of `runs` by which the winner is chosen; lower is better, see `selection_metrics.cost`."""
        is_higher_better = len(self.runs) > 0 and bool(self.runs["is_higher_better"].iloc[0])
        return selection_metrics.cost_name(self.selection_metric, is_higher_better=is_higher_better)

    @property
    def selection_metric(self) -> str:
        """The metric by which the winner is chosen, as MLflow has it."""
        return str(self.about["selection"]["metric"])

    @property
    def relevant(self) -> float:
        """The share of an error below which a difference counts as none; older sweeps have the default."""
        return float(self.about["selection"].get("relevant", RELEVANT))

    @property
    def best(self) -> pd.Series:
        """The row of the best single run; where series have models of their own, the same as `leader`."""
        if self.together:
            return self.runs[self.runs["run_id"] == self.best_run_id].iloc[0]
        return self.leader

    @property
    def leader(self) -> pd.Series:
        """The winner's row of `runs`; a combined winner has such a row too, with its own metrics and name."""
        combined: dict[str, Any] = {}
        if self.combined is not None:
            run = self.combined.run
            combined = {**run.data.metrics, "name": mlflow_runs.run_name(run)}
            if self.selection_metric in run.data.metrics:
                combined[self.metric] = ranking.cost(run, self.selection_metric)
        if self.together:
            return pd.Series({**self.best, **combined, "run_id": self.winner_id or self.best_run_id})
        best_runs = self.runs.loc[self.runs.groupby("series")[self.metric].idxmin()]
        row = {"run_id": self.winner_id, "key": "", "seed": "", "configuration": "", "series": "", "fold": 0}
        row |= dict.fromkeys(self.axes, "by series")
        row |= {metric: best_runs[metric].mean() for metric in (*RUN_METRICS, self.metric)}
        return pd.Series({**row, "name": "the best run of each series", **combined})


def read_sweep(store: Store, name: str, sweep_id: str = "") -> SweepRecord:
    """Read the sweep `sweep_id`, else the newest one, of the experiment `name`.

    Raises GridcastError when it has no finished run.
    """
    parent = mlflow_runs.find_run(store, sweep_id) or _newest_sweep(store, name)
    about = json.loads(mlflow_runs.read_artifact(store, parent.info.run_id, "sweep.json"))
    finished, failures = _read_runs(store, about)
    if not finished:
        where = without_credentials(store.uri)
        raise GridcastError(f"'{name}' has no finished run in {where} yet; continue with: gridcast run")
    confirmation_keys = set(about.get("confirmation_keys", ()))
    metric, last_fold = about["selection"]["metric"], max(0, len(about.get("folds", ())) - 1)
    rows = [_run_row(run, metric) | {"confirmation": key in confirmation_keys} for key, run in finished.items()]
    runs = with_whole_axes(pd.DataFrame(rows))
    best, leading = None, []
    if _has_one_model(about):
        best = ranking.best_run(list(finished.values()), metric, last_fold)
        ranked = ranking.rank_runs(list(finished.values()), metric, last_fold)
        leading = [run.info.run_id for run in ranked[:MAX_RUNS_COMPARED]]
    winner, combined = best, None
    if best is None or about["selection"].get("ensemble") or about["selection"].get("contenders") == "all":
        winner = mlflow_runs.find_run(store, parent.data.tags.get(mlflow_runs.WINNER_TAG, ""))
        combined = read_combined(store, winner) if winner and not is_grid_run(winner) else None
    best_run_id = str(best.info.run_id) if best else ""
    forecasts, detection = _read_tests(store, winner, about)
    return SweepRecord(
        name=name,
        parent=parent,
        about=about,
        experiment=mlflow_runs.read_artifact(store, parent.info.run_id, "experiment.yaml").decode(),
        runs=runs,
        failures=failures,
        stopped=len(mlflow_runs.finished_runs(store, set(about["run_keys"]) - finished.keys(), "stopped")),
        winner_id=str(winner.info.run_id) if winner else "",
        best_run_id=best_run_id,
        curves=_read_curves(store, best_run_id),
        loss_by_origin=pd.DataFrame(
            {run_id: mlflow_runs.validation_errors(store, run_id, mlflow_runs.LOSS_BY_ORIGIN) for run_id in leading}
        ),
        combined=combined,
        forecasts=forecasts,
        detection=detection,
        baselines=_read_baselines(store, about),
        looks=_find_looks(store, about),
        refit_measures=_read_refit(store, winner),
        promotion=promotion_outcome.present_outcome(store, parent.data.tags),
        candidates=json.loads(_read_optional(store, parent, CANDIDATES_FILE) or "[]"),
    )


def _read_refit(store: Store, winner: Any | None) -> dict[str, float]:
    """Return the measures on the test span of the refitted winner; empty where there is none."""
    key = mlflow_runs.refit_key(winner) if winner else ""
    refitted = mlflow_runs.finished_runs(store, [key], "refit").get(key) if key else None
    return {} if refitted is None else ranking.test_measures(refitted)


def _find_looks(store: Store, about: dict[str, Any]) -> list[Look]:
    test_span = about["spans"].get("test")
    return looks.find_looks(store, about["fingerprint"], test_span) if test_span else []


def _has_one_model(about: dict[str, Any]) -> bool:
    return bool(about.get("mode", "global") == "global")


def _newest_sweep(store: Store, name: str) -> Any:
    parents = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'sweep'")
    if not parents:
        raise GridcastError(f"'{name}' has no sweep in {without_credentials(store.uri)}; train one with: gridcast run")
    # A sweep without an end is the one that runs now.
    return max(parents, key=lambda run: (run.info.end_time or 2**62, run.info.start_time))


def _read_runs(store: Store, about: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the finished runs of the sweep by run key, and the failed ones that did not finish later."""
    keys = {*about["run_keys"], *about.get("confirmation_keys", ())}
    children = mlflow_runs.search_runs(
        store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run' and attributes.status != 'RUNNING'"
    )
    children = [run for run in children if run.data.tags.get(mlflow_runs.KEY_TAG) in keys]
    finished = {run.data.tags[mlflow_runs.KEY_TAG]: run for run in children if run.info.status == "FINISHED"}
    failures = [
        {"name": mlflow_runs.run_name(run), "reason": run.data.tags.get(mlflow_runs.ERROR_TAG, "")}
        for run in children
        if run.info.status == "FAILED" and run.data.tags[mlflow_runs.KEY_TAG] not in finished
    ]
    return finished, pd.DataFrame(failures, columns=["name", "reason"]).drop_duplicates()


def _run_row(run: Any, metric: str) -> dict[str, Any]:
    """The row of `runs` of a run, with `metric`, that of the selection, and its cost."""
    is_higher_better = ranking.is_higher_better(run, metric)
    cost = ranking.cost(run, metric) if ranking.has_finite(run, metric) else float("nan")
    settings = json.loads(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    return {
        "run_id": run.info.run_id,
        "key": run.data.tags[mlflow_runs.KEY_TAG],
        "name": mlflow_runs.run_name(run),
        "series": run.data.tags.get(mlflow_runs.SERIES_TAG, ""),
        "fold": int(run.data.tags.get(mlflow_runs.FOLD_TAG, 0)),
        "seed": int(run.data.tags[mlflow_runs.SEED_TAG]),
        "configuration": run.data.tags[mlflow_runs.CONFIGURATION_TAG],
        **{axis: settings.get(axis, "none") for axis in (*AXES, *settings)},
        **{name: run.data.metrics.get(name, float("nan")) for name in (*RUN_METRICS, metric)},
        selection_metrics.cost_name(metric, is_higher_better=is_higher_better): cost,
        "is_higher_better": is_higher_better,
    }


def _read_curves(store: Store, run_id: str) -> pd.DataFrame:
    """Return the metrics of the run by epoch; empty where there is no run."""
    curves = {metric: mlflow_runs.metric_history(store, run_id, metric) if run_id else {} for metric in CURVE_METRICS}
    return pd.DataFrame(curves).rename_axis("epoch").reset_index()


def _read_tests(
    store: Store, winner: Any | None, about: dict[str, Any]
) -> tuple[ForecastRecord, DetectionRecord | None]:
    """Return the results on the test span, which are empty and None while it is untouched."""
    key = winner.data.tags[mlflow_runs.KEY_TAG] if winner else ""
    test = mlflow_runs.tested_runs(store, [key]).get(key) if key else None
    if test is None:
        return ForecastRecord(), None
    baselines = mlflow_runs.finished_runs(store, about["baseline_keys"].values(), "baseline")
    tests = [test, *(baselines[key] for key in about["baseline_keys"].values() if key in baselines)]
    scores = _read_optional(store, test, artifact_files.SCORES)
    if scores is not None:
        values = _read_optional(store, test, artifact_files.SENSOR_VALUES)
        detection = DetectionRecord(
            scores=artifact_files.read_parquet_bytes(scores),
            sensor_values=artifact_files.read_parquet_bytes(values) if values else pd.DataFrame(),
            measures=ranking.measures_by_name(tests),
        )
        return ForecastRecord(), detection
    recent = _read_optional(store, test, artifact_files.RECENT_HISTORY)
    explanation = _read_optional(store, test, artifact_files.IMPORTANCE)
    forecasts = ForecastRecord(
        tests={
            mlflow_runs.run_name(run): artifact_files.read_parquet_bytes(
                mlflow_runs.read_artifact(store, run.info.run_id, artifact_files.FORECASTS)
            )
            for run in tests
        },
        recent=artifact_files.read_parquet_bytes(recent) if recent else ForecastRecord().recent,
        explanation=json.loads(explanation) if explanation else {},
        own_measures={mlflow_runs.run_name(run): _own_measures(run) for run in tests},
    )
    return forecasts, None


def _own_measures(run: Any) -> dict[str, float]:
    names = json.loads(run.data.tags.get(mlflow_runs.TEST_MEASURED_TAG, "{}"))
    measures = ranking.test_measures(run)
    return {name: measures[name] for name in names if name in measures}


def _read_baselines(store: Store, about: dict[str, Any]) -> BaselineRecord:
    """Return which baselines of the sweep failed and why, and what those that did not have to say."""
    wanted = about.get("baselines", about["baseline_keys"])  # of a former version: all that there are
    names = {key: name for name, key in about["baseline_keys"].items() if name in wanted}
    finished = mlflow_runs.finished_runs(store, names, "baseline")
    failed = mlflow_runs.failed_runs(store, names.keys() - finished.keys(), "baseline")
    failures = [(names[key], failed[key].data.tags.get(mlflow_runs.ERROR_TAG, "")) for key in names if key in failed]
    notes = {
        names[key]: finished[key].data.tags[mlflow_runs.DESCRIPTION_TAG]
        for key in names
        if key in finished and mlflow_runs.DESCRIPTION_TAG in finished[key].data.tags
    }
    return BaselineRecord(pd.DataFrame(failures, columns=["name", "reason"]), notes)


def _read_optional(store: Store, run: Any, name: str) -> bytes | None:
    """Return an artifact that older records lack, or None."""
    if name not in mlflow_runs.artifact_names(store, run.info.run_id):
        return None
    return mlflow_runs.read_artifact(store, run.info.run_id, name)
