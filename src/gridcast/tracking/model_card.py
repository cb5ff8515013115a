"""The model card of a registered version, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data.file_bytes import shown
from gridcast.evaluation import detection_table
from gridcast.evaluation.origin_losses import value_of
from gridcast.tracking import mlflow_runs, registry
from gridcast.tracking.promotion_case import PromotionCase
from gridcast.tracking.store import MAX_TEXT

MAX_SERIES_NAMED = 8
MAX_NOTES = 8
"""Notes on the data that a model card repeats."""
MAX_COLUMNS_NAMED = 40
VALIDATION_METRICS = (
    "best_val_loss",
    "best_val_mae",
    "best_val_wql",
    "val_online_faults_missed",
    "val_online_varied_faults_missed",
    "val_online_false_alarms_per_day",
    "val_faults_missed",
    "val_false_alarms_per_day",
    "online_threshold",
    "threshold",
)
FORECAST_MEASURES = {"mase": "MASE", "mae": "MAE", "rmse": "RMSE"}


def model_card(
    name: str, case: PromotionCase, *, test_measures: Mapping[str, Mapping[str, float]], remarks: Sequence[str]
) -> str:
    """Return what a user should know of a version before using it: data, configuration, metrics, limits, loading."""
    run = case.run
    about = json.loads(mlflow_runs.read_artifact(case.store, mlflow_runs.sweep_id(run) or "", "sweep.json"))
    settings = json.loads(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    if mlflow_runs.SEED_TAG in run.data.tags:
        settings |= {"seed": run.data.tags[mlflow_runs.SEED_TAG]}
    card = [
        f"# {name}: {mlflow_runs.run_name(run)}",
        _purpose(case, settings["lookback"], about.get("frequency") or case.experiment.data.frequency or "D"),
        *(f"\n**{remark}**" for remark in remarks),
        *_data_section(case, about),
        "\n## Configuration",
        ", ".join(f"{setting} {value}" for setting, value in settings.items()),
        *_metrics_section(case, test_measures),
        *_limits_section(case, about),
        "\n## Load",
        f'```python\nimport mlflow\n\nmodel = mlflow.pyfunc.load_model("models:/{name}@{registry.CHAMPION}")',
        f"{_usage(case)}\n```",
    ]
    return "\n".join(card)[:MAX_TEXT]


def _purpose(case: PromotionCase, lookback: int, frequency: str) -> str:
    data, horizon = case.experiment.data, case.experiment.window.horizon
    if case.is_detector:
        return f"Flags anomalous steps, from windows of {lookback} steps (frequency {frequency})."
    history = f"from the last {lookback} steps (frequency {frequency})"
    return f"Forecasts `{data.target}`, {_steps(horizon)} ahead, {history}."


def _usage(case: PromotionCase) -> str:
    if case.is_detector:
        return "scores = model.predict(table)"
    return f'forecast = model.predict(history, params={{"horizon": {case.experiment.window.horizon}}})'


def _data_section(case: PromotionCase, about: Mapping[str, Any]) -> list[str]:
    names = ", ".join(f"`{name}`" for name in about["series"][:MAX_SERIES_NAMED])
    more = ", ..." if len(about["series"]) > MAX_SERIES_NAMED else ""
    lines = [
        "\n## Data",
        f"- source: `{shown(case.experiment.data.source)}`, fingerprint `{about['fingerprint'][:12]}`",
        f"- {len(about['series'])} series: {names}{more}",
    ]
    for span, (first, last) in about["spans"].items():
        lines.append(f"- {span}: {_date_text(first)} to {_date_text(last)}, {about['windows'][span]:,} windows")
    return lines + [f"- {note}" for note in about["notes"][:MAX_NOTES]]


def _metrics_section(case: PromotionCase, test_measures: Mapping[str, Mapping[str, float]]) -> list[str]:
    recorded = case.run.data.metrics
    shown = dict.fromkeys((*VALIDATION_METRICS, case.experiment.selection.metric))
    validation = ", ".join(f"{metric} {recorded[metric]:.5g}" for metric in shown if metric in recorded)
    compared = case.recorded_measure
    titles = FORECAST_MEASURES | {compared.name: compared.title}
    if case.is_detector:
        titles = detection_table.METRIC_TITLES
    else:
        test_measures = {
            name: {**measures, compared.name: value_of(compared, measures)} for name, measures in test_measures.items()
        }
    rows = {
        name: [f"{measures[measure]:.4g}" if np.isfinite(measures.get(measure, np.nan)) else "-" for measure in titles]
        for name, measures in test_measures.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(titles.values()))
    # As text: MLflow's pages leave no space between the columns of a Markdown table.
    text = table.rename_axis("on the test span", axis="columns").to_string()
    return ["\n## Metrics", f"On the validation span: {validation}.", f"```text\n{text}\n```"]


def _limits_section(case: PromotionCase, about: Mapping[str, Any]) -> list[str]:
    data, horizon = case.experiment.data, case.experiment.window.horizon
    columns = (data.time, *data.series, data.target, *data.past, *data.future)
    limit = f"Trained for {_steps(horizon)} ahead; later steps are rolled forward, marked as such, and were not tested."
    if case.is_detector:
        columns = (data.time, *about["series"])
        limit = "Treats whatever was in the training span as normal. Exceeding the threshold does not prove a fault."
    names = ", ".join(f"`{column}`" for column in columns[:MAX_COLUMNS_NAMED])
    fitted, chosen = (_date_text(about["spans"][span][1]) for span in ("train", "validation"))
    return [
        "\n## Limits",
        f"- Works for these series only; made from {names}.",
        f"- {limit}",
        f"- Fitted on data up to {fitted}, chosen on data up to {chosen}; it has learned nothing from later data.",
    ]


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _date_text(stamp: str) -> str:
    """Return the stamp without its time of day if that is midnight."""
    return stamp.removesuffix(" 00:00:00")
