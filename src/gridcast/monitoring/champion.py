"""A champion in use: its live error, the drift of what it reads, the cover of its intervals, its challengers."""

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
from gridcast.evaluation import artifact_files, forecast_results, forecast_table, metrics
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines
from gridcast.models.baselines.task import baseline_task
from gridcast.monitoring import drift, feature_drift, prediction_log, served_forecasts
from gridcast.monitoring.feature_drift import ExtendedPanel
from gridcast.monitoring.findings import (
    CHAMPION_NAME,
    ERROR_MEASURES,
    AlarmLimits,
    IntervalCoverage,
    MonitorFindings,
    WatchedModel,
    row_dicts,
)
from gridcast.monitoring.verdict import alarms_and_remarks
from gridcast.runtime.errors import DataError
from gridcast.runtime.input_table import SERIES_COLUMN, TIME_COLUMN, checked_rows
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs, promotion, run_recording
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import MAX_TEXT, Store

MONITOR_KIND = "monitor"
NOT_IN_METRIC_NAMES = re.compile(r"[^\w\-./ ]")
"""What MLflow takes in no name of a metric."""


def watched_model(loaded: LoadedModel, store: Store, parent: str, about: Mapping[str, Any], plan: Plan) -> WatchedModel:
    """What is to be watched. Raises GridcastError when the model never met its test span, TrackingError."""
    run = mlflow_runs.find_run(store, loaded.reference.run_id or "")
    before = promotion.recorded_test_measures(store, run, about["baseline_keys"])
    (test,) = mlflow_runs.finished_runs(store, [run.data.tags[mlflow_runs.KEY_TAG]], "test").values()
    content = mlflow_runs.read_artifact(store, test.info.run_id, artifact_files.FORECASTS)
    return WatchedModel(loaded, store, parent, plan, about, before, artifact_files.read_parquet_bytes(content))


def monitor(
    model: WatchedModel, actuals: pd.DataFrame, limits: AlarmLimits, *, served: Path | None = None
) -> MonitorFindings:
    """Compare what came, the table `actuals`, with what the model learnt and said.

    The model forecasts the new rows itself, each from what lay before; where a file of `served` forecasts is
    given, these are judged instead, and its challengers beside it. New is what lies after the spans that
    the model was trained and chosen on. Raises DataError for a table that cannot be compared.
    """
    own, plan = model.preprocessing, model.plan
    actuals, notes = _of_its_series(actuals, own, plan)
    if plan.fingerprint != model.about["fingerprint"]:
        notes += ("the data of the experiment have changed since the sweep: its spans are read as they are now",)
    unknown = [name for name in plan.panel.series if name not in own.series]
    if unknown:
        raise DataError(
            f"the data of the experiment now give the series '{unknown[0]}', which the model does not know; give "
            "them as they were with --data, or name the model's series in data.select.only of an --experiment file"
        )
    data = _continued(model, checked_rows(actuals, own)[0])
    tables, challengers = _live(model, data), pd.DataFrame()
    if served is not None:
        tables[CHAMPION_NAME], challengers = _served(model, data, served)
        points = tables[CHAMPION_NAME][served_forecasts.POINT_KEYS]
        tables = {name: table.merge(points, on=served_forecasts.POINT_KEYS) for name, table in tables.items()}
    errors, losses = (
        _errors(tables, model.before),
        {name: served_forecasts.losses_by_time(table) for name, table in tables.items()},
    )
    shifts = feature_drift.feature_shifts(data, own)
    drifted = (shifts["p_value"] <= limits.alpha) & (shifts["psi"] >= limits.psi)
    if not data.judged:
        notes += ("the training and validation spans are too short to tell drift by",)
    found = MonitorFindings(
        model=model,
        limits=limits,
        first=data.panel.times[data.begin],
        last=data.panel.times[-1],
        steps=data.steps,
        series=int(data.present.sum()),
        live=tables[CHAMPION_NAME],
        losses=pd.DataFrame(losses),
        errors=errors,
        p_value=drift.increase_p_value(
            losses[CHAMPION_NAME].to_numpy(), served_forecasts.losses_by_time(model.tested).to_numpy(), model.overlap
        ),
        coverage=_coverage(tables[CHAMPION_NAME], model),
        drift=shifts.assign(drifted=drifted),
        judged=data.judged,
        movers=feature_drift.moved_series(data, own, set(shifts.loc[drifted, "feature"])),
        stuck=feature_drift.stuck_series(data, own),
        challengers=challengers,
        notes=notes,
    )
    alarms, remarks = alarms_and_remarks(found)
    return replace(found, alarms=alarms, remarks=remarks)


def log_findings(findings: MonitorFindings, artifacts: Mapping[str, bytes]) -> str:
    """Write the figures and `artifacts`, such as the page, to MLflow, as a child of the sweep.

    Returns the id of the run. Raises TrackingError.
    """
    model, champion = findings.model, findings.own
    figures = {f"live_{measure}": champion[measure] for measure in ERROR_MEASURES}
    figures |= {f"{measure}_at_promotion": champion[f"{measure}_before"] for measure in ERROR_MEASURES}
    figures |= {"error_ratio": findings.ratio, "alarms": len(findings.alarms), "steps": findings.steps}
    for row in findings.naive:
        figures[f"live_mase_{row['name']}"] = row["mase"]
    for row in row_dicts(findings.drift):
        figures |= {f"{kind}_{row['view']}_{row['feature']}": row[kind] for kind in ("psi", "ks")}
    if findings.coverage:
        figures |= {"promised_coverage": findings.coverage.promised, "live_coverage": findings.coverage.live}
    finite = {NOT_IN_METRIC_NAMES.sub("_", name): float(value) for name, value in figures.items() if np.isfinite(value)}
    found = model.loaded.reference
    tags = {mlflow_runs.WINNER_TAG: found.run_id or "", mlflow_runs.VERDICT_TAG: findings.verdict[:MAX_TEXT]}
    tags |= {"gridcast.model": found.name, "gridcast.model_version": found.version or ""} if found.name else {}
    # Each look is an event of its own, however alike two are.
    entry = RunEntry(
        f"monitor of {model.title}", MONITOR_KIND, uuid.uuid4().hex, tags, metrics=finite, artifacts=artifacts
    )
    return run_recording.record_run(model.store, model.parent, entry)


def _of_its_series(table: pd.DataFrame, own: Preprocessing, plan: Plan) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table without the series that its experiment knows and leaves out; those unknown to both stay."""
    ids = served_forecasts.series_ids(table, own)
    if ids.isin(own.series).all():
        return table, ()
    data = plan.experiment.data
    select = data.select.model_copy(update={"only": None})
    known = sources.load_table(data.model_copy(update={"select": select})).rows[sources.SERIES].cat.categories
    left_out = ids.isin(known.difference(list(own.series)))
    if left_out.all():
        raise DataError("no row is of a series that the model forecasts; its experiment leaves out all of these")
    told = f"{ids[left_out].nunique():,} series that the experiment leaves out are left out here too"
    return table[~left_out], (told,) if left_out.any() else ()


def _continued(model: WatchedModel, rows: pd.DataFrame) -> ExtendedPanel:
    spans = model.about["spans"]
    after = pd.Timestamp(spans["validation"][1])
    panel, begin = extend_panel.extend_panel(
        model.plan.panel, rows, model.preprocessing, after, SERIES_COLUMN, TIME_COLUMN
    )
    start = int(panel.times.searchsorted(pd.Timestamp(spans["train"][0])))
    train = int(panel.times.searchsorted(pd.Timestamp(spans["train"][1]), "right"))
    panel = replace(panel, spans=Spans(train, begin, len(panel.times), start))
    return ExtendedPanel(panel, begin, int(panel.times.searchsorted(after, "right")))


def _live(model: WatchedModel, data: ExtendedPanel) -> dict[str, pd.DataFrame]:
    """Forecasts of the new rows, as `evaluation.table` has them: the model's, and those of the naive baselines."""
    own, panel = model.preprocessing, data.panel
    codes = np.array([own.series.index(name) for name in panel.series])
    dataset = replace(
        model.plan.dataset,
        channels=own.channels(panel.target, panel.covariates, panel.times, codes),
        target=panel.target,
        observed=panel.observed,
        times=panel.times,
        spans=panel.spans,
    )
    found = forecast_results.forecast_test_span(model.loaded.model, dataset, panel)
    if not len(found.index):
        raise DataError(
            f"none of the {data.steps} new steps can be forecast: a forecast reads {own.lookback} steps in a row and "
            f"is judged by the {own.horizon} after them; give more rows, from where the known data end"
        )
    task = replace(baseline_task(dataset, model.plan.experiment.window.lookback), index=found.index, levels=())
    names = [
        name
        for name in applicable_baselines(len(panel.series), dataset.period)
        if name in baselines.NAIVE_BASELINES
    ]
    naive = {name: forecast_results.forecast_baseline(name, task) for name in names}
    return {
        name: forecast_table.tabulate_forecasts(said, dataset, panel)
        for name, said in {CHAMPION_NAME: found, **naive}.items()
    }


def _served(model: WatchedModel, data: ExtendedPanel, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The kept forecasts of the model beside what came, and its challengers on the same requests."""
    found, own = model.loaded.reference, model.preprocessing
    told, _ = prediction_log.read_predictions(path, found.name)
    versions = ", ".join(told[prediction_log.VERSION].unique())
    told = told[told[prediction_log.VERSION] == found.version] if found.version else told
    if not len(told):
        raise DataError(f"{path}: keeps nothing of {model.title} (but of version {versions or 'none'})")
    champion = served_forecasts.with_actuals(told, own, data)
    if not len(champion):
        raise DataError(f"{path}: none of the {len(told):,} kept forecasts of {model.title} is of a time in the table")
    shadow, _ = prediction_log.read_predictions(path, role=prediction_log.SHADOW)
    shadow = shadow[shadow[prediction_log.REQUEST].isin(told[prediction_log.REQUEST])]
    return champion, served_forecasts.compare_challengers(champion, shadow, own, data, model.overlap)


def _errors(tables: Mapping[str, pd.DataFrame], before: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    rows, first = [], next(iter(before))
    for name, table in tables.items():
        now, then = forecast_table.measure_forecasts(table), before.get(first if name == CHAMPION_NAME else name, {})
        live = {measure: now.get(f"{artifact_files.TEST_PREFIX}{measure}", math.nan) for measure in ERROR_MEASURES}
        rows.append({"name": name, **live, **{f"{m}_before": then.get(m, math.nan) for m in ERROR_MEASURES}})
    return pd.DataFrame(rows)


def _coverage(live: pd.DataFrame, model: WatchedModel) -> IntervalCoverage | None:
    levels = forecast_table.quantile_levels(live)
    # Who asks may want other quantiles than the model was tested with.
    pair = metrics.widest_interval([level for level in levels if f"q{level:g}" in model.tested] or levels)
    if pair is None:
        return None
    promised, (low, high) = pair[1] - pair[0], (f"q{level:g}" for level in pair)

    def outside(table: pd.DataFrame) -> pd.Series:
        table = table.reindex(columns=["actual", low, high]).dropna()
        return ((table["actual"] < table[low]) | (table["actual"] > table[high])).astype(float)

    now, before = outside(live), outside(model.tested)
    missed = now.groupby(live["time"]).mean().to_numpy()
    p_value = drift.increase_p_value(missed, np.full(len(missed), 1 - promised), model.overlap)
    return IntervalCoverage(promised, 1 - float(now.mean()), 1 - float(before.mean()), p_value)
