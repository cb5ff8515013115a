"""Printing on the terminal: plans, results of a sweep, promotions, backtests, findings of the monitor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from gridcast.api.progress import format_duration
from gridcast.api.running import count_baselines

if TYPE_CHECKING:
    import pandas as pd

    from gridcast.api.backtest import Backtest
    from gridcast.api.finished_sweep import Sweep
    from gridcast.api.sweeps import TimedPlan
    from gridcast.monitoring.findings import MonitorFindings
    from gridcast.sweep.confirmation import ConfirmationPlan
    from gridcast.sweep.plan import Plan
    from gridcast.sweep.sweep_result import SweepResult
    from gridcast.tracking.registry import Promotion


MAX_STEPS_SHOWN = 6
"""Steps ahead whose errors the terminal shows; the file has all."""
MAX_FEATURES_SHOWN = 12
MAX_EVENTS_SHOWN = 20
"""Features whose drift the terminal shows; the page has all."""
FORECAST_METRICS = {"mase": "MASE", "mae": "MAE", "rmse": "RMSE"}
LABELLED_METRICS = ("auc_pr", "event_f1", "event_recall", "false_alarms_per_day")
"""Metrics of detectors that the terminal shows where the test span is labelled; the report has more."""
UNLABELLED_METRICS = ("alarms_per_day",)
DRIFT_FIGURES = ("psi", "usual_psi", "ks", "usual_ks", "p_value")


def _table(columns: Iterable[str]) -> Table:
    return Table(*columns, box=None, header_style="bold")


def _figure(value: float, digits: int = 4) -> str:
    """The number as text, `-` where there is none."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "-"


def print_plan(out: Console, plan: Plan) -> None:
    """Print what was read from the data, and the spans, before anything is trained."""
    from gridcast.sweep.plan import SPAN_NAMES

    experiment, panel = plan.experiment, plan.panel

    def dates(first: int, end: int) -> str:
        return f"{panel.times[first]:%Y-%m-%d} to {panel.times[end - 1]:%Y-%m-%d}"

    out.print(f"{experiment.name}: {experiment.data.source}", style="bold")
    for note in panel.notes:
        out.print(f"  {note}", markup=False)
    out.print(f"  {len(panel.series)} series, {len(panel.times):,} steps")
    for number, fold in enumerate(panel.folds if experiment.split.folds else ()):
        spans = [f"{name} {dates(*fold[name])}" for name in ("train", "validation")]
        out.print(f"  fold {number}: {', '.join(spans)}")
    windows = plan.window_counts(experiment.window.lookback)
    for name in SPAN_NAMES:
        out.print(f"  {name}: {dates(*panel.spans[name])}, {windows[name]:,} windows")
    if experiment.training.callbacks:
        out.print("  runs train on stock Keras, one by one: only its fit calls training.callbacks", markup=False)
    elif plan.engine == "stock" and experiment.training.engine == "auto":
        out.print(f"  runs train on stock Keras: compiled epochs (training.engine: fused) need jax, not {plan.backend}")


def print_confirmation(out: Console, wanted: ConfirmationPlan, *, seconds: float, workers: int) -> None:
    """Print how many further runs confirm the leading configurations and how long they take, or why none do."""
    if wanted.top:
        duration = format_duration(seconds / min(workers, wanted.runs))
        out.print(
            f"Then the {wanted.top} leading configurations are confirmed with {wanted.seeds} seeds each: at most "
            f"{wanted.runs} further runs and {duration} (search.confirm)."
        )
    elif wanted.reason:
        out.print(
            f"The leading configurations are not confirmed with further seeds: {wanted.reason} (search.confirm).",
        )


def print_result(out: Console, result: SweepResult, *, seconds: float) -> None:
    """Print how many runs a sweep trained, and the winner and the baselines on the test span."""
    counts = f"{result.trained} runs trained, {result.skipped} finished before, {result.failed} failed"
    counts += f", {result.stopped} stopped early" if result.stopped else ""
    counts += f", {count_baselines(len(result.failed_baselines))} failed" if result.failed_baselines else ""
    counts += f"; {result.confirmed} of the trained confirm the leading configurations" if result.confirmed else ""
    out.print(f"{counts}, in {format_duration(seconds)}.")
    _print_tests(out, result)


def _print_tests(out: Console, result: SweepResult) -> None:
    from gridcast.evaluation.detection_table import METRIC_TITLES

    measured = {name for measures in result.test_measures.values() for name in measures}
    columns = FORECAST_METRICS
    if "mase" not in measured:
        names = LABELLED_METRICS if "auc_pr" in measured else UNLABELLED_METRICS
        columns = {name: METRIC_TITLES[name] for name in names}
    table = _table(["on unseen data", *columns.values()])
    for name, measures in result.test_measures.items():
        table.add_row(*[name, *(f"{measures[metric]:.4g}" if metric in measures else "-" for metric in columns)])
    out.print(table)


def print_times(out: Console, seconds: Mapping[str, float]) -> None:
    """Print how long each part of a sweep took."""
    out.print(f"Time: {', '.join(f'{part} {format_duration(duration)}' for part, duration in seconds.items())}.")


def print_outcome(out: Console, sweep: Sweep, winner: str) -> None:
    """Print where the report is, how to browse the runs and load the winner, and the verdict."""
    print_report(out, sweep.report)
    out.print(f"In `mlflow ui`: {sweep.runs_page}", markup=False, soft_wrap=True)
    out.print(f'Load it: mlflow.pyfunc.load_model("runs:/{winner}/model")', markup=False)
    print_verdict(out, sweep)


def print_report(out: Console, page: Path) -> None:
    """Print where a report is."""
    out.print(f"Report: {page}", markup=False)


def print_verdict(out: Console, sweep: Sweep) -> None:
    """Print the sentences at the top of the report."""
    out.print("\n".join(sweep.verdict), markup=False)


def print_promotion(out: Console, promotion: Promotion) -> None:
    """Print which version is the champion now."""
    previous = f", version {promotion.previous} is the previous one" if promotion.previous else ""
    state = "is the champion already, nothing changed" if promotion.already_champion else f"is the champion{previous}"
    out.print(f"{promotion.name}: version {promotion.version} {state}.", markup=False)
    if promotion.beaten_by:
        out.print(f"It is marked as beaten by a baseline on the test span: {promotion.beaten_by}.", markup=False)
    if promotion.note:
        out.print(f"Note: {promotion.note}.", markup=False)


def print_backtest(out: Console, backtest: Backtest) -> None:
    """Print the folds, the errors of each model by fold, and by step ahead over the folds that were never seen."""
    table = backtest.table
    all_steps = table[table["step"] == 0]
    folds = _table(["fold", "from", "to", "windows", "seen by the model"])
    for _, fold in all_steps.drop_duplicates("fold").iterrows():
        seen = f"in {fold['seen']}" if fold["seen"] else "never"
        dates = [f"{fold[end]:%Y-%m-%d}" for end in ("from", "to")]
        folds.add_row(*[str(fold["fold"]), *dates, f"{fold['windows']:,}", seen])
    out.print(f"{backtest.title} on rolling origins, in data units:", markup=False, style="bold")
    out.print(folds)
    means = backtest.errors()
    out.print(_errors_by_model(all_steps, means))
    seen_folds = table.loc[table["seen"] != "", "fold"].nunique()
    if not len(means):
        out.print("Every fold is part of what the model was trained or chosen on: none of these errors is honest.")
    elif seen_folds:
        out.print(f"Left out of the means, seen by the model in training or validation: {seen_folds} of the folds.")


def _errors_by_model(all_steps: pd.DataFrame, means: pd.DataFrame) -> Table:
    """Return MAE by model: of each fold, and the mean over unseen folds, of all steps and of each step ahead."""
    by_fold = all_steps.pivot_table(index="model", columns="fold", values="mae", sort=False)
    steps = [step for step in means.index if 0 < step <= MAX_STEPS_SHOWN and len(means) > 2]
    mean_columns = ["mean"] if len(means) else []
    table = _table(
        ["MAE", *(f"fold {fold}" for fold in by_fold.columns), *mean_columns, *(f"{s} ahead" for s in steps)]
    )
    for model in by_fold.index.astype(str):
        mean = [means.loc[step, model] for step in ([0] if len(means) else []) + steps]
        table.add_row(*[model, *(_figure(error) for error in [*by_fold.loc[model], *mean])])
    return table


def print_monitor(out: Console, findings: MonitorFindings) -> None:
    """Print the live errors and those at promotion, what drifted most, the challengers, and the verdict."""
    title = f"{findings.model.title}, {findings.first:%Y-%m-%d} to {findings.last:%Y-%m-%d}:"
    out.print(title, markup=False, style="bold")
    for note in findings.notes:
        out.print(f"  {note}", markup=False)
    out.print(_live_errors(findings))
    if len(findings.drift):
        out.print(_drift(findings))
    if len(findings.challengers):
        out.print(_challengers(findings))
    out.print(findings.verdict, markup=False)


def _live_errors(findings: MonitorFindings) -> Table:
    from gridcast.monitoring.findings import ERROR_MEASURES

    table = _table(["new steps", *(measure.upper() for measure in ERROR_MEASURES), "MASE at promotion"])
    for row in findings.errors.to_dict("records"):
        table.add_row(*[row["name"], *(_figure(row[measure]) for measure in (*ERROR_MEASURES, "mase_before"))])
    return table


def _drift(findings: MonitorFindings) -> Table:
    table = _table(["feature", "looked at", "PSI", "usual", "KS", "usual", "p", ""])
    for row in findings.drift.nlargest(MAX_FEATURES_SHOWN, "psi").to_dict("records"):
        figures = [_figure(row[name], 3) for name in DRIFT_FIGURES]
        table.add_row(*[row["feature"], row["view"], *figures, "drifted" if row["drifted"] else ""])
    return table


def _challengers(findings: MonitorFindings) -> Table:
    table = _table(["challenger", "forecasts", "MASE", "champion", "p"])
    for row in findings.challengers.to_dict("records"):
        figures = [_figure(row[name]) for name in ("mase", "champion", "p_value")]
        table.add_row(*[row["name"], f"{row['forecasts']:,}", *figures])
    return table


def plan_sentence(timed: TimedPlan) -> str:
    """Return how long the runs of a plan take at most."""
    from gridcast.sweep.search import search_effort

    plan, search = timed.plan, timed.plan.experiment.search
    if search.budget is not None and search.budget.minutes:
        return f"The search ends after {search.budget.minutes:g} minutes, with the runs that are under way by then."
    count, total = plan.run_count, format_duration(timed.total_seconds)
    epochs = "its" if "epochs" in plan.axes else str(plan.experiment.training.epochs)
    if search.strategy == "grid":
        return (
            f"{count} runs, at most {total} on {timed.workers} workers if every run takes all {epochs} epochs; early "
            "stopping usually halves that."
        )
    effort = search_effort(search, count, plan.experiment.training.epochs)
    started = min(count, search.budget.runs) if search.budget is not None and search.budget.runs else count
    more = f", {round(effort.runs * count)} of them to the end" if search.strategy in ("halving", "asha") else ""
    runs = f"{started} run{'s' if started > 1 else ''}{more}"
    return (
        f"search.strategy: {search.strategy} starts {runs}: at most about {total} on {timed.workers} workers; early "
        "stopping usually halves that."
    )


def print_events(out: Console, events: pd.DataFrame) -> None:
    """Print the events of a detector, the most severe ones if there are many, in the order of time."""
    shown = events.nlargest(MAX_EVENTS_SHOWN, "severity").sort_values("start")
    table = _table(["start", "end", "duration", "peak", "severity", "sensors to blame"])
    for row in shown.to_dict("records"):
        stamps = [f"{row[name]:%Y-%m-%d %H:%M}" for name in ("start", "end")]
        duration = format_duration(row["duration"].total_seconds())
        table.add_row(*[*stamps, duration, _figure(row["peak"]), _figure(row["severity"], 3), row["blame"]])
    out.print(table)
    if len(events) > len(shown):
        out.print(f"and {len(events) - len(shown):,} less severe events", markup=False)
