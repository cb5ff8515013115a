"""What a person reads on the terminal of plans, tests, promotions and backtests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from gridcast.monitoring.findings import MonitorFindings
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.runner import SweepResult
    from gridcast.tracking.registry import Promotion


STEPS_SHOWN = 6
"""Steps ahead whose errors the terminal shows; the file has all."""
FEATURES_SHOWN = 12
"""Features whose drift the terminal shows; the page has all."""
LABELLED_METRICS = ("auc_pr", "event_f1", "event_recall", "false_alarms_per_day")
"""Measures of detectors that the terminal shows where labels are known; the report has more."""


def print_plan(out: Console, planned: Plan) -> None:
    """What was found in the data, and the spans, before anything is trained."""
    from gridcast.sweep.plan import SPAN_NAMES

    out.print(f"{planned.experiment.name}: {planned.experiment.data.source}", style="bold")
    for note in planned.panel.notes:
        out.print(f"  {note}", markup=False)
    panel = planned.panel
    out.print(f"  {len(panel.series)} series, {len(panel.times):,} steps")
    for number, fold in enumerate(panel.folds if planned.experiment.split.folds else ()):
        spans = ((name, *fold[name]) for name in ("train", "validation"))
        told = (
            f"{name} {panel.times[first]:%Y-%m-%d} to {panel.times[end - 1]:%Y-%m-%d}" for name, first, end in spans
        )
        out.print(f"  fold {number}: {', '.join(told)}")
    windows = planned.windows(planned.experiment.window.lookback)
    for span in SPAN_NAMES:
        first, end = panel.spans[span]
        out.print(
            f"  {span}: {panel.times[first]:%Y-%m-%d} to {panel.times[end - 1]:%Y-%m-%d}, {windows[span]:,} windows"
        )
    if planned.engine == "stock" and planned.experiment.training.engine == "auto":
        out.print(
            f"  runs train on stock Keras: compiled epochs (training.engine: fused) need jax, not {planned.backend}"
        )


def print_tests(out: Console, result: SweepResult) -> None:
    """The winner and the baselines on the test span."""
    from gridcast.evaluation.detections import SHOWN

    forecasts = any("mase" in measures for measures in result.tested.values())
    shown = {"mase": "MASE", "mae": "MAE", "rmse": "RMSE"}
    if not forecasts:
        labelled = any("auc_pr" in measures for measures in result.tested.values())
        shown = {name: SHOWN[name] for name in (LABELLED_METRICS if labelled else ("alarms_per_day",))}
    table = Table("on data never seen", *shown.values(), box=None, header_style="bold")
    for name, measures in result.tested.items():
        table.add_row(name, *(f"{measures[m]:.4g}" if m in measures else "-" for m in shown))
    out.print(table)


def print_promotion(out: Console, made: Promotion) -> None:
    """What became of the champion."""
    previous = f", version {made.previous} is the previous one" if made.previous else ""
    state = "is the champion already, nothing changed" if made.already else f"is the champion{previous}"
    out.print(f"{made.name}: version {made.version} {state}.", markup=False)
    if made.beaten_by:
        out.print(f"It is marked as beaten by a baseline on the test span: {made.beaten_by}.", markup=False)
    if made.note:
        out.print(f"Note: {made.note}.", markup=False)


def print_backtest(out: Console, table: pd.DataFrame, name: str) -> None:
    """Show the folds, the errors of each model by fold, and over the folds never seen by step ahead."""
    from gridcast.evaluation.backtest import mean_errors

    whole = table[table["step"] == 0]
    shown = Table("fold", "from", "to", "windows", "seen by the model", box=None, header_style="bold")
    for _, fold in whole.drop_duplicates("fold").iterrows():
        seen = f"in {fold['seen']}" if fold["seen"] else "never"
        stamps = f"{fold['from']:%Y-%m-%d}", f"{fold['to']:%Y-%m-%d}"
        shown.add_row(str(fold["fold"]), *stamps, f"{fold['windows']:,}", seen)
    errors, means = (
        whole.pivot_table(index="model", columns="fold", values="mae", sort=False),
        mean_errors(table),
    )
    steps = [step for step in means.index if 0 < step <= STEPS_SHOWN and len(means) > 2]
    columns = [f"fold {fold}" for fold in errors.columns] + (["mean"] if len(means) else [])
    by_model = Table("MAE", *columns, *(f"{step} ahead" for step in steps), box=None, header_style="bold")
    for model in errors.index.astype(str):
        ahead = [means.loc[step, model] for step in ([0] if len(means) else []) + steps]
        by_model.add_row(model, *(f"{error:.4g}" for error in [*errors.loc[model], *ahead]))
    out.print(f"{name} on rolling origins, in data units:", markup=False, style="bold")
    out.print(shown)
    out.print(by_model)
    left = table.loc[table["seen"] != "", "fold"].nunique()
    if not len(means):
        out.print("Every fold lies within what the model was trained or chosen on: none of these errors is honest.")
    elif left:
        out.print(f"Left out of the means, seen by the model in training or validation: {left} of the folds.")


def print_monitor(out: Console, found: MonitorFindings) -> None:
    """The live errors beside those at promotion, what drifted most, the challengers, and the verdict."""
    from gridcast.monitoring.findings import ERROR_MEASURES

    errors = Table(
        "new steps", *(m.upper() for m in ERROR_MEASURES), "MASE at promotion", box=None, header_style="bold"
    )
    for row in found.errors.to_dict("records"):
        errors.add_row(row["name"], *(f"{row[m]:.4g}" for m in (*ERROR_MEASURES, "mase_before")))
    out.print(f"{found.model.title}, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}:", markup=False, style="bold")
    for note in found.notes:
        out.print(f"  {note}", markup=False)
    out.print(errors)
    if len(found.drift):
        drift = Table("feature", "looked at", "PSI", "usual", "KS", "usual", "p", "", box=None, header_style="bold")
        for row in found.drift.nlargest(FEATURES_SHOWN, "psi").to_dict("records"):
            figures = (f"{row[name]:.3g}" for name in ("psi", "usual_psi", "ks", "usual_ks", "p_value"))
            drift.add_row(row["feature"], row["view"], *figures, "drifted" if row["drifted"] else "")
        out.print(drift)
    if len(found.challengers):
        table = Table("challenger", "forecasts", "MASE", "champion", "p", box=None, header_style="bold")
        for row in found.challengers.to_dict("records"):
            figures = (f"{row[name]:.4g}" for name in ("mase", "champion", "p_value"))
            table.add_row(row["name"], f"{row['forecasts']:,}", *figures)
        out.print(table)
    out.print(found.verdict, markup=False)
