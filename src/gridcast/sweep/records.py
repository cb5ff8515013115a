"""Content of the MLflow runs of a sweep: of the sweep itself, of its runs, tests and baselines."""

from __future__ import annotations

import contextlib
import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gridcast.config import Range
from gridcast.config.grid import Run, joined_ranges
from gridcast.config.plugins import TABLES, PluginSource
from gridcast.config.selection_metrics import VALIDATION_PREFIX
from gridcast.data.file_bytes import shown
from gridcast.data.splits import Spans
from gridcast.evaluation import artifact_files, detection_table, forecast_table, own_metrics, service_examples
from gridcast.evaluation.detection_results import AnomalyScores
from gridcast.evaluation.forecast_results import Forecasts
from gridcast.models import baselines
from gridcast.runtime.model_files import SETTINGS_FILE
from gridcast.sweep.plan import OWN_SETTINGS, SPAN_NAMES, Plan
from gridcast.sweep.proposals import PROPOSALS, describe_proposals
from gridcast.sweep.sweep_result import SweepResult
from gridcast.sweep.task import SweepTask
from gridcast.tracking import looks, mlflow_runs, ranking
from gridcast.tracking.mlflow_runs import SweepEntry
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import MAX_TEXT
from gridcast.training.result import PausedRun, TrainingResult

RECORDED_PACKAGES = (
    "gridcast",
    "keras",
    "jax",
    "tensorflow",
    "mlflow",
    "numpy",
    "pandas",
    "scikit-learn",
    "statsmodels",
)
"""Packages whose versions are recorded with a sweep, where they are installed."""


def sweep_entry(plan: Plan) -> SweepEntry:
    """Return the content of the sweep's own run at its start."""
    return SweepEntry(
        key=plan.sweep_key,
        name=f"sweep of {plan.size_text}",
        tags={
            mlflow_runs.FINGERPRINT_TAG: plan.fingerprint,
            "gridcast.version": version("gridcast"),
            mlflow_runs.DESCRIPTION_TAG: f"Sweep of {plan.size_text}. The verdict will stand here when it ends.",
        },
        params=_axis_values(plan),
        artifact_texts=sweep_files(plan),
    )


def _plugin_names(plan: Plan) -> dict[str, Any]:
    """The plug-ins of the experiment by kind, if it has any: where each stands, and its own axes."""
    plugins = plan.experiment.plugins
    tables = {kind: getattr(plugins, kind) for kind in TABLES}
    named = {kind: {name: plugin.where for name, plugin in table.items()} for kind, table in tables.items() if table}
    files = {name: source.file for name, source in _plugin_sources(plan).items()}
    return {"plugins": named | {"files": files}} if named else {}


def _plugin_sources(plan: Plan) -> dict[str, PluginSource]:
    """The plug-in files by the name of the artifact that each becomes."""
    files = [source for source in plan.experiment.plugins.source if not source.pickled]
    return {f"plugin-{number}.py": source for number, source in enumerate(files, start=1)}


def _axis_values(plan: Plan) -> dict[str, str]:
    """Return the values of each axis of the grid, or its range, as text."""
    if plan.experiment.has_ranges:
        texts_by_axis = {axis: list(dict.fromkeys(_axis_texts(plan, axis))) for axis in plan.axes}
        return {axis: "; ".join(texts)[:MAX_TEXT] for axis, texts in texts_by_axis.items()}
    configurations = [run.configuration for run in plan.runs.values()]
    values = {axis: list(dict.fromkeys(str(one.value(axis)) for one in configurations)) for axis in plan.axes}
    return {axis: ", ".join(texts)[:MAX_TEXT] for axis, texts in values.items()}


def _axis_texts(plan: Plan, axis: str) -> list[str]:
    items = [grid.get(axis, (getattr(plan.experiment.configuration(), axis),)) for grid in plan.experiment.grid]
    return [item.text() if isinstance(item, Range) else ", ".join(map(str, item)) for item in items]


def viewed_metrics(plan: Plan) -> tuple[str, ...]:
    """Return the metrics, beside that of the selection, which the saved view of the experiment shows."""
    test_metric = "test_auc_pr" if plan.experiment.task == "anomaly" else "test_mase"
    return "best_val_mae", test_metric, "best_epoch", "parameters"


def sweep_metrics(plan: Plan, result: SweepResult) -> dict[str, float]:
    """Return the numbers by which sweeps are compared: the winner, the best baseline, counts of runs, seconds."""
    metric = plan.experiment.selection.metric
    names = list(result.test_measures)
    errors = {name: ranking.comparable_error(measures) for name, measures in result.test_measures.items()}
    baselines = [errors[name] for name in names[1:] if math.isfinite(errors[name])]
    label = "test_error" if plan.experiment.task == "anomaly" else "test_mase"
    numbers = {
        f"winner_{metric.removeprefix('best_')}": result.winner.data.metrics.get(metric, math.nan),
        f"winner_{label}": errors[names[0]] if names else math.nan,
        f"best_baseline_{label}": min(baselines, default=math.nan),
    }
    counts: dict[str, float] = {"runs_trained": result.trained + result.skipped, "runs_failed": result.failed}
    counts |= {"baselines_failed": len(result.failed_baselines), "runs_stopped": result.stopped}
    counts["training_seconds"] = result.seconds["training"]
    return {name: value for name, value in numbers.items() if math.isfinite(value)} | counts


def sweep_files(plan: Plan) -> dict[str, str]:
    """Return the text artifacts of the sweep's own run by name: the YAML as given, and what a report needs."""
    experiment, panel = plan.experiment, plan.panel
    folds = _span_dates(plan)
    about: dict[str, Any] = {
        "task": experiment.task,
        "mode": experiment.mode,
        "run_keys": list(plan.runs),
        "axes": list(plan.axes),
        "own_key": plan.reference_key,
        "baseline_keys": plan.baseline_keys,
        "baselines": [OWN_SETTINGS, *plan.baseline_names],
        "series": list(panel.series),
        "target": experiment.data.target,
        "horizon": experiment.window.horizon,
        "stride": experiment.window.stride,
        "spans": folds[-1],
        "folds": folds if experiment.split.folds else [],
        "windows": plan.window_counts(experiment.window.lookback),
        "period": plan.dataset.period,
        "frequency": panel.steps.frequency,
        "categories": _categories(plan),
        "notes": list(panel.notes),
        "fingerprint": plan.fingerprint,
        **_plugin_names(plan),
        "versions": {"python": platform.python_version(), **_package_versions()},
        "backend": plan.backend,
        "machine": f"{platform.system()} {platform.machine()}",
        "selection": experiment.selection.model_dump(),
        "transform": experiment.transform.model_dump(),
        "search": experiment.search.model_dump(),
    }
    if experiment.task == "anomaly":
        about |= {"anomaly": experiment.anomaly.model_dump(), "per_day": plan.dataset.steps_per_day}
    if plan.experiment.has_ranges:
        ranges = {axis: asdict(one) for axis, one in joined_ranges(plan.experiment).items()}
        about |= {"planned_runs": plan.run_count, "ranges": ranges}
    if plan.is_proposed:
        about |= {PROPOSALS: describe_proposals(plan.runs)}
    if plan.confirmation_runs:
        about |= {"confirmation_keys": list(plan.confirmation_runs)}
    plugins = {name: source.text for name, source in _plugin_sources(plan).items()}
    return {"experiment.yaml": plan.yaml_text, "sweep.json": json.dumps(about, indent=1), **plugins}


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # an extra
            versions[name] = version(name)
    return versions


def _nonempty(spans: Spans) -> list[str]:
    return [name for name in SPAN_NAMES if spans[name][0] < spans[name][1]]


def _categories(plan: Plan) -> dict[str, dict[str, str]]:
    """Return the category of each series, by static column."""
    panel = plan.panel
    return {
        column: {name: words[code - 1] for name, code in zip(panel.series, codes, strict=True)}
        for column, words, codes in zip(plan.experiment.data.static, panel.vocabularies, panel.static.T, strict=True)
    }


def run_entry(plan: Plan, task: SweepTask, result: TrainingResult) -> RunEntry:
    """Return the record of a run that was trained to its end."""
    assert task.run is not None
    validation = {mlflow_runs.LOSS_BY_ORIGIN: list(result.origin_losses)}
    if plan.experiment.mode == "auto" and task.run.series is None:
        validation[mlflow_runs.MAE_BY_SERIES] = list(result.series_errors)
    return RunEntry(
        name=task.name,
        kind="run",
        key=task.key,
        tags={**_run_tags(plan, task.run), "gridcast.engine": plan.engine},
        params=plan.run_params(task.run),
        metrics=result.metrics,
        curves=_by_epoch(result.curves),
        files=result.files,
        artifacts={mlflow_runs.VALIDATION_FILE: json.dumps(validation).encode()},
        backend=plan.backend,
        dataset=dataset_fields(plan),
        example=input_example(plan, task.run.configuration.lookback, task.run.series),
        times=result.times,
    )


def input_example(plan: Plan, lookback: int, series: str | None = None) -> dict[str, Any]:
    """Return a table that a model of `lookback` steps answers, as its columns and data; empty where there is none."""
    if plan.experiment.task == "anomaly":
        table = service_examples.example_readings(plan.panel, plan.dataset.preprocessing, lookback)
    else:
        table = service_examples.example_table(plan.panel, plan.dataset.preprocessing, lookback, series=series)
    return json.loads(table.to_json(orient="split", index=False, double_precision=15)) if len(table) else {}


def begun_entry(plan: Plan, key: str, started: float) -> RunEntry:
    """Return the record of a run that has begun to train at `started`."""
    run = plan.all_runs[key]
    return RunEntry(
        name=plan.run_name(run),
        kind="run",
        key=key,
        tags={**_run_tags(plan, run), "gridcast.engine": plan.engine},
        params=plan.run_params(run),
        dataset=dataset_fields(plan),
        times=(started,),
    )


def stopped_entry(plan: Plan, key: str, paused: PausedRun) -> RunEntry:
    """Return the record of a run that the search stopped early."""
    run, losses = plan.runs[key], paused.curves["val_loss"]
    reason = f"after {len(losses)} epochs, by {plan.experiment.search.strategy}"
    return RunEntry(
        name=plan.run_name(run),
        kind=mlflow_runs.STOPPED_KIND,
        key=key,
        tags={**_run_tags(plan, run), "gridcast.stopped": reason},
        params=plan.run_params(run),
        metrics={
            "best_val_loss": min(losses),
            "best_epoch": losses.index(min(losses)) + 1,
            "epochs_trained": len(losses),
            "fit_seconds": paused.seconds,
        },
        curves=_by_epoch(paused.curves),
        times=paused.times,
    )


def failure_entry(plan: Plan, task: SweepTask, reason: str) -> RunEntry:
    """Return the record of a run or baseline that failed."""
    # The network of the own settings is trained under a run key, but compared, like any baseline, under its own.
    key = plan.baseline_keys[task.name] if task.kind == "reference" else task.key
    return RunEntry(
        name=task.name,
        kind="run" if task.kind == "run" else "baseline",
        key=key,
        tags=_run_tags(plan, task.run) if task.run else {},
        params=plan.run_params(task.run) if task.run else {},
        error=reason,
    )


def evaluation_entry(
    plan: Plan, task: SweepTask, result: Forecasts | AnomalyScores, *, kind: str, tags: Mapping[str, str] | None = None
) -> RunEntry:
    """Return the record of an evaluation on the test span, of the winner (kind `test`) or of a `baseline`."""
    if isinstance(result, AnomalyScores):
        measures, artifacts = _detection_record(plan, result, kind)
        if task.name == OWN_SETTINGS and task.files:
            artifacts[artifact_files.OWN_MODEL] = artifact_files.zip_bytes(task.files)
    else:
        measures, artifacts = _forecast_record(plan, result, kind, task.files or {})
    measures = {**result.validation, **measures}
    if plan.experiment.mode == "auto" and isinstance(result, Forecasts) and result.series_errors:
        validation = {mlflow_runs.MAE_BY_SERIES: list(result.series_errors)}
        artifacts = {**artifacts, mlflow_runs.VALIDATION_FILE: json.dumps(validation).encode()}
    notes = {"mlflow.note.content": "\n".join(result.notes)} if result.notes else {}
    if plan.metrics:
        notes |= {mlflow_runs.TEST_MEASURED_TAG: measured_text(plan)}
    if kind == "test":
        notes |= {looks.SPAN_TAG: looks.span_key(plan.fingerprint, _span_dates(plan)[-1]["test"])}
    return RunEntry(
        name=task.name,
        kind=kind,
        key=task.key,
        tags={mlflow_runs.FINGERPRINT_TAG: plan.fingerprint, **notes, **(tags or {})},
        params={"period": plan.dataset.period} if task.name in baselines.SEASONAL_BASELINES else {},
        metrics=measures,
        artifacts=artifacts,
        dataset=dataset_fields(plan),
        times=(result.started,) if result.started else (),
    )


def test_measures_of(plan: Plan, forecasts: Forecasts) -> dict[str, float]:
    """Return the measures of forecasts of the test span, by the names that MLflow has for them."""
    return _forecast_record(plan, forecasts, "baseline", {})[0]


def dataset_fields(plan: Plan) -> dict[str, str]:
    """Return the fields of the MLflow dataset that the runs of a sweep were made from."""
    data, panel, source = plan.experiment.data, plan.panel, shown(plan.experiment.data.source)
    columns = dict.fromkeys(data.series, "string") | {data.time: "datetime"}
    columns |= dict.fromkeys([data.target, *data.past, *data.future] if data.target else panel.series, "double")
    profile: dict[str, Any] = {"series": len(panel.series), "steps": len(panel.times)}
    profile |= {
        name: " to ".join(date.removesuffix(" 00:00:00") for date in dates)
        for name, dates in _span_dates(plan)[-1].items()
    }
    return {
        "name": Path(source).name,
        "digest": plan.fingerprint[:12],
        "source_type": "local",
        "source": json.dumps({"uri": source}),
        "schema": json.dumps({"mlflow_colspec": [{"name": name, "type": kind} for name, kind in columns.items()]}),
        "profile": json.dumps(profile),
    }


def _span_dates(plan: Plan) -> list[dict[str, list[str]]]:
    """The first and the last stamp of each span, by fold."""
    times = plan.panel.times
    return [
        {name: [str(times[spans[name][0]]), str(times[spans[name][1] - 1])] for name in _nonempty(spans)}
        for spans in plan.panel.folds
    ]


def _run_tags(plan: Plan, run: Run) -> dict[str, str]:
    """Return the tags by which runs are distinguished and found."""
    tags = {} if run.series is None else {mlflow_runs.SERIES_TAG: run.series}
    tags |= {} if plan.experiment.split.folds is None else {mlflow_runs.FOLD_TAG: str(run.fold)}
    tags |= {mlflow_runs.CONFIRMATION_TAG: "true"} if run in plan.confirmation_runs.values() else {}
    return {
        **tags,
        **own_metric_tags(plan),
        mlflow_runs.SEED_TAG: str(run.seed),
        mlflow_runs.CONFIGURATION_TAG: json.dumps(run.configuration.settings(), sort_keys=True),
        mlflow_runs.FINGERPRINT_TAG: plan.fingerprint,
    }


def own_metric_tags(plan: Plan) -> dict[str, str]:
    """Return the tags that say which metrics of one's own runs are measured by, and of which a higher value is better.

    Empty where there are none.
    """
    higher = [VALIDATION_PREFIX + name for name, metric in plan.metrics.items() if metric.direction == "higher"]
    tags = {mlflow_runs.DIRECTION_TAG: " ".join(higher)} if higher else {}
    return tags | ({mlflow_runs.MEASURED_TAG: measured_text(plan)} if plan.metrics else {})


def measured_text(plan: Plan) -> str:
    """Return the digests of the code of the metrics of one's own, as JSON by name."""
    return json.dumps({name: own_metrics.digest_of(metric) for name, metric in plan.metrics.items()})


def _by_epoch(curves: Mapping[str, Iterable[float]]) -> dict[str, list[tuple[int, float]]]:
    """Return pairs of epoch (the first is 1) and value, by curve."""
    return {name: list(enumerate(values, start=1)) for name, values in curves.items()}


def _forecast_record(
    plan: Plan, forecasts: Forecasts, kind: str, files: Mapping[str, bytes]
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Return the measures of forecasts of the test span by the model in `files`, and the artifacts that are kept."""
    table = forecast_table.tabulate_forecasts(forecasts, plan.dataset, plan.panel)
    artifacts = {artifact_files.FORECASTS: artifact_files.parquet_bytes(table)}
    if forecasts.importance:
        artifacts[artifact_files.IMPORTANCE] = json.dumps(forecasts.importance).encode()
    if kind == "test":
        recent = forecast_table.recent_history(plan.panel, plan.experiment.window.horizon)
        artifacts[artifact_files.RECENT_HISTORY] = artifact_files.parquet_bytes(recent)
        lookback = max(run.configuration.lookback for run in plan.runs.values())
        lookback = max(lookback, json.loads(files[SETTINGS_FILE])["lookback"])
        examples = service_examples.request_examples(plan.panel, plan.dataset.preprocessing, lookback)
        artifacts[artifact_files.EXAMPLES] = json.dumps(examples).encode()
    levels = forecast_table.quantile_levels(table)
    own = own_metrics.evaluate_all(plan.metrics, table, levels)
    own = {artifact_files.TEST_PREFIX + name: value for name, value in own.items() if math.isfinite(value)}
    return forecast_table.measure_forecasts(table) | own, artifacts


def _detection_record(plan: Plan, scores: AnomalyScores, kind: str) -> tuple[dict[str, float], dict[str, bytes]]:
    """Return the measures of anomaly scores of the test span, and the artifacts that are kept of them."""
    time = plan.experiment.data.time
    table = detection_table.tabulate_scores(scores, plan.panel, time)
    artifacts = {artifact_files.SCORES: artifact_files.parquet_bytes(table)}
    if kind == "test":
        values = detection_table.sensor_values(plan.panel, time)
        artifacts[artifact_files.SENSOR_VALUES] = artifact_files.parquet_bytes(values)
    measures = detection_table.measure_scores(
        scores, plan.panel, steps_per_day=plan.dataset.steps_per_day, anomaly=plan.experiment.anomaly
    )
    return {artifact_files.TEST_PREFIX + name: value for name, value in measures.items()}, artifacts
