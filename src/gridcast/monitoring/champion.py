"""Monitor a champion in use: its live error, drift of its inputs, coverage of its intervals, its challengers."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data import extend_panel, sources
from gridcast.data.splits import Spans
from gridcast.data.table import SERIES
from gridcast.evaluation import artifact_files, forecast_results, forecast_table, metrics
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.monitoring import drift, error_shift, feature_drift, prediction_log, served_forecasts
from gridcast.monitoring.feature_drift import ExtendedPanel
from gridcast.monitoring.findings import (
    CHAMPION_NAME,
    ERROR_MEASURES,
    AlarmLimits,
    IntervalCoverage,
    MonitorFindings,
    WatchedModel,
    WorstError,
    row_dicts,
)
from gridcast.monitoring.verdict import alarms_and_remarks
from gridcast.runtime import input_rows, input_table, target_range
from gridcast.runtime.errors import DataError
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.series_problems import SeriesProblems
from gridcast.sweep.plan import Plan
from gridcast.tracking import looks, mlflow_runs, promotion, run_recording
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import MAX_TEXT, Store

MONITOR_KIND = "monitor"
NOT_IN_METRIC_NAMES = re.compile(r"[^\w\-./ ]")
"""Characters that MLflow does not allow in the name of a metric."""


def watched_model(
    loaded: LoadedModel, store: Store, *, parent: str, about: Mapping[str, Any], plan: Plan
) -> WatchedModel:
    """Return the model with its results on the test span; `parent` is the run of its sweep, `about` the sweep.json.

    Those of a refitted winner are the results of the model before the refit, as in the report. Raises GridcastError
    when the model was never tested, TrackingError.
    """
    run = mlflow_runs.before_refit(store, mlflow_runs.find_run(store, loaded.reference.run_id or ""))
    test_measures = promotion.recorded_test_measures(store, run, about["baseline_keys"])
    (test,) = mlflow_runs.tested_runs(store, [run.data.tags[mlflow_runs.KEY_TAG]]).values()
    forecasts = mlflow_runs.read_artifact(store, test.info.run_id, artifact_files.FORECASTS)
    return WatchedModel(
        loaded=loaded,
        store=store,
        parent=parent,
        plan=plan,
        about=about,
        test_measures=test_measures,
        test_forecasts=artifact_files.read_parquet_bytes(forecasts),
        looks=looks.find_looks(store, about["fingerprint"], about["spans"]["test"]),
    )


def monitor(
    model: WatchedModel, actuals: pd.DataFrame, limits: AlarmLimits, *, served: Path | None = None
) -> MonitorFindings:
    """Compare the table `actuals` with the training data and the forecasts of the model.

    The model forecasts the new rows itself, each from the rows before it. Where the prediction log `served` is given,
    the forecasts in it are judged instead, and challengers on the same requests. Rows are new after the training and
    validation spans. Raises DataError for a table that cannot be compared.
    """
    preprocessing = model.preprocessing
    actuals, notes = _without_excluded_series(actuals, preprocessing, model.plan)
    notes += _check_experiment_data(model)
    rows, ids, _ = input_rows.checked_rows(actuals, preprocessing)
    arrays = input_rows.as_arrays(rows, ids, preprocessing)
    ranges = target_range.ranges_of_model(model.loaded.model)
    input_table.check_range(arrays, preprocessing, ranges, SeriesProblems(strict=True))
    data = _extend_panel(model, rows)
    tables, challengers = _forecast_new_rows(model, data), pd.DataFrame()
    if served is not None:
        tables[CHAMPION_NAME], challengers = _read_served(model, data, served)
        points = tables[CHAMPION_NAME][served_forecasts.POINT_KEYS]
        tables = {name: table.merge(points, on=served_forecasts.POINT_KEYS) for name, table in tables.items()}
    live = tables[CHAMPION_NAME]
    losses = {name: served_forecasts.losses_by_time(table) for name, table in tables.items()}
    test_losses = served_forecasts.losses_by_time(model.test_forecasts)
    shifts = feature_drift.feature_shifts(data, preprocessing)
    is_drifted = (shifts["p_value"] <= limits.alpha) & (shifts["psi"] >= limits.psi)
    if not data.compared_steps:
        notes += ("the training and validation spans are too short to detect drift",)
    findings = MonitorFindings(
        model=model,
        limits=limits,
        first=data.panel.times[data.begin],
        last=data.panel.times[-1],
        steps=data.new_steps,
        series=int(data.has_new_values.sum()),
        live_forecasts=live,
        losses=pd.DataFrame(losses),
        errors=_error_table(tables, model.test_measures),
        shift=error_shift.measure_errors(
            losses[CHAMPION_NAME].dropna().to_numpy(),
            test_losses.dropna().to_numpy(),
            overlap=model.overlap,
            reach=preprocessing.lookback,
        ),
        worst=_worst_error(live),
        coverage=_interval_coverage(live, model),
        drift=shifts.assign(drifted=is_drifted),
        compared_steps=data.compared_steps,
        movers=feature_drift.moved_series(data, preprocessing, set(shifts.loc[is_drifted, "feature"])),
        stuck=feature_drift.stuck_series(data, preprocessing),
        challengers=challengers,
        notes=notes,
    )
    alarms, remarks = alarms_and_remarks(findings)
    return replace(findings, alarms=alarms, remarks=remarks)


def log_findings(findings: MonitorFindings, artifacts: Mapping[str, bytes]) -> str:
    """Log the figures and `artifacts`, such as the page, as a child run of the sweep; return its id.

    Raises TrackingError.
    """
    model, champion = findings.model, findings.champion
    metric_values = {f"live_{measure}": champion[measure] for measure in ERROR_MEASURES}
    metric_values |= {f"{measure}_at_promotion": champion[f"{measure}_before"] for measure in ERROR_MEASURES}
    metric_values |= {"error_ratio": findings.ratio, "alarms": len(findings.alarms), "steps": findings.steps}
    shift = findings.shift
    metric_values |= {"trimmed_error_ratio": shift.ratio, "judged_steps": shift.steps, "share_off": shift.share_off}
    for row in findings.naive:
        metric_values[f"live_mase_{row['name']}"] = row["mase"]
    for row in row_dicts(findings.drift):
        metric_values |= {f"{kind}_{row['view']}_{row['feature']}": row[kind] for kind in ("psi", "ks")}
    if findings.coverage:
        metric_values |= {"promised_coverage": findings.coverage.nominal, "live_coverage": findings.coverage.live}
    finite = {
        NOT_IN_METRIC_NAMES.sub("_", name): float(value) for name, value in metric_values.items() if np.isfinite(value)
    }
    reference = model.loaded.reference
    tags = {mlflow_runs.WINNER_TAG: reference.run_id or "", mlflow_runs.VERDICT_TAG: findings.verdict[:MAX_TEXT]}
    if reference.name:
        tags |= {"gridcast.model": reference.name, "gridcast.model_version": reference.version or ""}
    # A random key: two calls of the monitor are two runs, however alike they are.
    entry = RunEntry(
        f"monitor of {model.title}", MONITOR_KIND, uuid.uuid4().hex, tags, metrics=finite, artifacts=artifacts
    )
    return run_recording.record_run(model.store, model.parent, entry)


def _without_excluded_series(
    table: pd.DataFrame, preprocessing: Preprocessing, plan: Plan
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table without the series that the experiment excludes, and a note on it.

    Series that are unknown to the experiment too stay, so that they are reported as unknown later.
    """
    ids = preprocessing.series_column(table)
    if ids.isin(preprocessing.series).all():
        return table, ()
    data = plan.experiment.data
    select = data.select.model_copy(update={"only": None})
    in_source = sources.load_table(data.model_copy(update={"select": select})).rows[SERIES].cat.categories
    is_excluded = ids.isin(in_source.difference(list(preprocessing.series)))
    if is_excluded.all():
        raise DataError("no row belongs to a series that the model forecasts; the experiment excludes all of these")
    note = f"{ids[is_excluded].nunique():,} series that the experiment excludes are ignored"
    return table[~is_excluded], (note,) if is_excluded.any() else ()


def _check_experiment_data(model: WatchedModel) -> tuple[str, ...]:
    """Return a note where the data of the experiment have changed. Raises DataError where they have new series."""
    series = model.preprocessing.series
    new_series = [name for name in model.plan.panel.series if name not in series]
    if new_series:
        raise DataError(
            f"the data of the experiment now have the series '{new_series[0]}', which the model does not know; give "
            "the original data with --data, or list the model's series in data.select.only of an --experiment file"
        )
    if model.plan.fingerprint != model.about["fingerprint"]:
        return ("the data of the experiment have changed since the sweep; its spans are those of the current data",)
    return ()


def _extend_panel(model: WatchedModel, rows: pd.DataFrame) -> ExtendedPanel:
    spans = model.about["spans"]
    known_end = pd.Timestamp(spans["validation"][1])
    panel, begin = extend_panel.extend_panel(model.plan.panel, rows, model.preprocessing, after=known_end)
    start = int(panel.times.searchsorted(pd.Timestamp(spans["train"][0])))
    train = int(panel.times.searchsorted(pd.Timestamp(spans["train"][1]), "right"))
    panel = replace(panel, spans=Spans(train, begin, len(panel.times), start))
    return ExtendedPanel(panel, begin, int(panel.times.searchsorted(known_end, "right")))


def _forecast_new_rows(model: WatchedModel, data: ExtendedPanel) -> dict[str, pd.DataFrame]:
    """Return the forecasts of the new rows by the model and the naive baselines, see `evaluation.forecast_table`."""
    preprocessing, panel = model.preprocessing, data.panel
    codes = np.array([preprocessing.code_of(name) for name in panel.series])
    dataset = replace(
        model.plan.dataset,
        channels=preprocessing.channels(panel.target, panel.covariates, panel.times, codes),
        target=panel.target,
        observed=panel.observed,
        times=panel.times,
        spans=panel.spans,
    )
    forecasts = forecast_results.forecast_test_span(model.loaded.model, dataset, panel)
    if not len(forecasts.index):
        raise DataError(
            f"none of the {data.new_steps} new steps can be forecast: a forecast reads {preprocessing.lookback} "
            f"consecutive steps and is compared with the {preprocessing.horizon} after them; give more rows, starting "
            "where the known data end"
        )
    task = replace(baseline_task(dataset, model.plan.experiment.window.lookback), index=forecasts.index, levels=())
    names = [
        name for name in applicable_baselines(len(panel.series), dataset.period) if name in baselines.NAIVE_BASELINES
    ]
    by_name = {CHAMPION_NAME: forecasts} | {name: forecast_results.forecast_baseline(name, task) for name in names}
    return {name: forecast_table.tabulate_forecasts(one, dataset, panel) for name, one in by_name.items()}


def _read_served(model: WatchedModel, data: ExtendedPanel, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the logged forecasts of the model with the actual values, and the comparison of its challengers."""
    reference = model.loaded.reference
    logged, _ = prediction_log.read_predictions(path, reference.name)
    versions = ", ".join(logged[prediction_log.VERSION].unique())
    logged = logged[logged[prediction_log.VERSION] == reference.version] if reference.version else logged
    if not len(logged):
        raise DataError(f"{path}: has no forecasts of {model.title} (only of version {versions or 'none'})")
    champion = served_forecasts.with_actuals(logged, model.preprocessing, data)
    if not len(champion):
        raise DataError(
            f"{path}: none of the {len(logged):,} logged forecasts of {model.title} is for a time in the table"
        )
    shadow, _ = prediction_log.read_predictions(path, role=prediction_log.SHADOW)
    shadow = shadow[shadow[prediction_log.REQUEST].isin(logged[prediction_log.REQUEST])]
    challengers = served_forecasts.compare_challengers(
        champion, shadow, preprocessing=model.preprocessing, data=data, overlap=model.overlap
    )
    return champion, challengers


def _error_table(tables: Mapping[str, pd.DataFrame], test_measures: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return a row for each forecaster: name, the live measures, and those on the test span (`_before`)."""
    rows, model_name = [], next(iter(test_measures))
    for name, table in tables.items():
        measures = forecast_table.measure_forecasts(table)
        before = test_measures.get(model_name if name == CHAMPION_NAME else name, {})
        rows.append(
            {
                "name": name,
                **{m: measures.get(f"{artifact_files.TEST_PREFIX}{m}", math.nan) for m in ERROR_MEASURES},
                **{f"{m}_before": before.get(m, math.nan) for m in ERROR_MEASURES},
            }
        )
    return pd.DataFrame(rows)


def _worst_error(live: pd.DataFrame) -> WorstError | None:
    """Return the largest error in units of MASE; None where no error counts."""
    scaled = live[live["scale"] > 0]
    errors = (scaled["forecast"] - scaled["actual"]).abs() / scaled["scale"]
    if not errors.sum() > 0 or not np.isfinite(errors.sum()):
        return None
    worst = scaled.iloc[int(errors.to_numpy().argmax())]
    return WorstError(str(worst["series"]), worst["time"], float(errors.max() / errors.sum()))


def _interval_coverage(live: pd.DataFrame, model: WatchedModel) -> IntervalCoverage | None:
    """Return the coverage of the widest interval of the live forecasts, None where they have none."""
    levels = forecast_table.quantile_levels(live)
    # Clients may request other quantiles than those that the model was tested with.
    tested_levels = [level for level in levels if f"q{level:g}" in model.test_forecasts]
    interval = metrics.widest_interval(tested_levels or levels)
    if interval is None:
        return None
    nominal, (low, high) = interval[1] - interval[0], (f"q{level:g}" for level in interval)

    def is_outside(table: pd.DataFrame) -> pd.Series:
        table = table.reindex(columns=["actual", low, high]).dropna()
        return ((table["actual"] < table[low]) | (table["actual"] > table[high])).astype(float)

    live_misses, test_misses = is_outside(live), is_outside(model.test_forecasts)
    miss_rates = live_misses.groupby(live["time"]).mean().to_numpy()
    return IntervalCoverage(
        nominal=nominal,
        live=1 - float(live_misses.mean()),
        test=1 - float(test_misses.mean()),
        p_value=drift.increase_p_value(miss_rates, np.full(len(miss_rates), 1 - nominal), model.overlap),
    )
