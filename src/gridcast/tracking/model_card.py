"""The model card of a registered version, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gridcast.evaluation import detection_table
from gridcast.tracking import mlflow_runs, registry
from gridcast.tracking.gates import PromotionCase
from gridcast.tracking.store import MAX_TEXT

MAX_SERIES_NAMED = 8
"""Series, and notes on the data, that a model card names."""


MAX_COLUMNS_NAMED = 40
"""Columns that a model card names."""


def model_card(name: str, case: PromotionCase, tested: Mapping[str, Mapping[str, float]], remarks: list[str]) -> str:
    """What a person should know of a version before using it, as Markdown."""
    run, data, horizon = case.run, case.experiment.data, case.experiment.window.horizon
    about = json.loads(mlflow_runs.read_artifact(case.store, run.data.tags["mlflow.parentRunId"], "sweep.json"))
    settings = json.loads(run.data.tags[mlflow_runs.CONFIGURATION_TAG])
    settings |= {"seed": run.data.tags[mlflow_runs.SEED_TAG]} if mlflow_runs.SEED_TAG in run.data.tags else {}
    measured = ["best_val_loss", "best_val_mae", "best_val_wql"]
    measured += ["val_faults_missed", "val_false_alarms_per_day", "threshold"]
    validation = {m: run.data.metrics[m] for m in measured if m in run.data.metrics}
    series = ", ".join(f"`{one}`" for one in about["series"][:MAX_SERIES_NAMED])
    columns = (data.time, *data.series, data.target, *data.past, *data.future)
    told = f"Forecasts `{data.target}`, {horizon} ahead, from the last {settings['lookback']} steps ({data.frequency})."
    shown = {"mase": "MASE", "mae": "MAE", "rmse": "RMSE"}
    beyond = f"Trained for {horizon} ahead; steps beyond are rolled forward, marked so, and were not tested."
    use = f'forecast = model.predict(history, params={{"horizon": {horizon}}})'
    if case.detects:
        columns = (data.time, *about["series"])
        told = f"Tells which steps are anomalous, from windows of {settings['lookback']} steps ({data.frequency})."
        shown = detection_table.METRIC_TITLES
        beyond = "Takes for normal what was usual in training, whatever it was; a threshold is no proof of a fault."
        use = "scores = model.predict(table)"
    card = [
        f"# {name}: {mlflow_runs.run_name(run)}",
        told,
        *(f"\n**{remark}**" for remark in remarks),
        "## Data",
        f"- source: `{data.source}`, fingerprint `{about['fingerprint'][:12]}`",
        f"- {len(about['series'])} series: {series}{', ...' if len(about['series']) > MAX_SERIES_NAMED else ''}",
    ]
    for span, (first, last) in about["spans"].items():
        card.append(f"- {span}: {date_text(first)} to {date_text(last)}, {about['windows'][span]:,} windows")
    card += [f"- {note}" for note in about["notes"][:MAX_SERIES_NAMED]]
    card += ["## Configuration", ", ".join(f"{setting} {value}" for setting, value in settings.items())]
    card += ["## Metrics", "Validation: " + ", ".join(f"{metric} {value:.5g}" for metric, value in validation.items())]
    card += [f"\n| on the test span | {' | '.join(shown.values())} |", "|---" * (1 + len(shown)) + "|"]
    for one, own in tested.items():
        figures = (f"{own[measure]:.4g}" if measure in own else "-" for measure in shown)
        card.append(f"| {one} | {' | '.join(figures)} |")
    card += [
        "## Limits",
        f"- Knows these series only; made from {', '.join(f'`{one}`' for one in columns[:MAX_COLUMNS_NAMED])}.",
        f"- {beyond}",
        f"- Fitted on data up to {date_text(about['spans']['train'][1])}, chosen on data up to "
        f"{date_text(about['spans']['validation'][1])}; it has learnt nothing from later ones.",
        "## Load",
        f'```python\nmodel = mlflow.pyfunc.load_model("models:/{name}@{registry.CHAMPION}")',
        f"{use}\n```",
    ]
    return "\n".join(card)[:MAX_TEXT]


def date_text(stamp: str) -> str:
    return stamp.removesuffix(" 00:00:00")
