"""The report: everything a person needs to decide, written to `reports/<name>/` from MLflow alone."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gridcast.data.atomic_write import atomic_folder
from gridcast.evaluation import significance
from gridcast.models.baselines import NAIVE
from gridcast.reporting import (
    accuracy_plots,
    anomaly_chapter,
    forecast_chapters,
    forecast_tables,
    grid_plots,
    html,
    leaderboard,
    plot_style,
    setting_effects,
    verdict,
)
from gridcast.reporting.anomaly_chapter import AnomalyChapter
from gridcast.reporting.forecast_chapters import ForecastChapters
from gridcast.reporting.record import SweepRecord
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store

TITLES = {
    "best_model_evaluation": "The winner's forecasts of the test span",
    "grid_search_analysis": "The grid at a glance",
    "hyperparameter_importance": "Which settings mattered",
    "interactions": "Settings together",
    "cost_quality": "Cost against quality",
    "parallel_coordinates": "Every run",
    **forecast_chapters.TITLES,
    **anomaly_chapter.TITLES,
}
GRID_FIGURES = (
    "grid_search_analysis",
    "hyperparameter_importance",
    "interactions",
    "cost_quality",
    "parallel_coordinates",
)
"""Pictures of the settings; the others stand in the chapters on the forecasts."""
MAX_RUNS_SHOWN, MAX_STEPS_SHOWN, MAX_ROWS_LISTED = 10, 12, 100
"""Runs and configurations that the page shows; steps of the horizon; series, where each has a model of its own."""


@dataclass(frozen=True)
class ReportFindings:
    """Every number of the report, before anything is drawn or written.

    `against` compares the winner with each baseline (empty while the test span is untouched);
    `missing` says what this sweep cannot show, and why; `chapters` are those on the forecasts themselves, `detections`
    that on anomalies.
    """

    leaders: pd.DataFrame
    configurations: pd.DataFrame
    effects: pd.DataFrame
    importance: pd.DataFrame
    pivots: dict[tuple[str, str], pd.DataFrame]
    strengths: dict[tuple[str, str], float]
    fronts: dict[str, np.ndarray]
    tied: list[str]
    compared_over: str
    tested: pd.DataFrame
    by_series: pd.DataFrame
    routes: pd.DataFrame
    against: pd.DataFrame
    sentences: list[str]
    honest: str
    missing: list[str]
    chapters: ForecastChapters
    detections: AnomalyChapter | None = None

    @property
    def verdict(self) -> str:
        """All that the report opens with, a sentence a line."""
        return "\n".join([*self.sentences, self.honest])


def compute_findings(record: SweepRecord) -> ReportFindings:
    """Compute the findings of `record`."""
    axes, metric = record.axes, record.metric
    runs = leaderboard.comparable_runs(record.runs, metric)
    leaders = leaderboard.ranked_runs(record.runs, axes, metric)
    configurations = leaderboard.by_configuration(runs, axes, metric)
    contrasts = [setting_effects.strongest_contrast(runs, axis, metric) for axis in axes]
    tied, over = _tied(record)
    known = configurations.set_index("configuration")
    simplest = leaderboard.simplest_configuration(configurations, tied) if tied else str(record.best["configuration"])
    names = runs.drop_duplicates("configuration").set_index("configuration")["name"]
    if not record.together:
        names = configurations.set_index("configuration")["name"]
    own, horizon = str(record.leader["name"]), _horizon(record)
    tested = forecast_tables.measure_table(record.tests) if record.tests else pd.DataFrame()
    by_series = forecast_tables.measures_by_series({own: record.tests[own]}) if record.tests else pd.DataFrame()
    against = forecast_tables.against_baselines(record.tests, own, horizon) if record.tests else pd.DataFrame()
    mase = float(tested.loc[tested["name"] == own, "mase"].iloc[0]) if len(tested) else float("nan")
    best = str(record.best["name"])
    standing = verdict.Standing(
        winner=best,
        metric=metric,
        value=float(record.best[metric]),
        runs=len(runs),
        planned=len(record.about["run_keys"]),
        failed=len(record.failures),
        tied=len(set(tied) & set(known.index)) if record.together else 0,
        simplest=str(names.get(simplest, best)),
        compared_over=over,
    )
    found = anomaly_chapter.build_chapter(record)
    honest = found.honest if found else verdict.bottom_line(against, mase, NAIVE)
    told = forecast_chapters.build_chapters(record, tested, by_series, horizon)
    return ReportFindings(
        leaders=leaders,
        configurations=configurations,
        effects=setting_effects.main_effects(runs, axes, metric),
        importance=setting_effects.setting_importance(runs, axes, metric),
        pivots={
            (a, b): setting_effects.interaction_table(runs, a, b, metric)
            for k, a in enumerate(axes)
            for b in axes[k + 1 :]
        },
        strengths=setting_effects.interaction_strength(runs, axes, metric),
        fronts={cost: leaderboard.pareto_front(runs, cost, metric) for cost in ("fit_seconds", "parameters")},
        tied=tied,
        compared_over=over,
        tested=tested,
        by_series=by_series,
        routes=_routes(record, by_series),
        against=against,
        sentences=[
            *verdict.standing_sentences(standing),
            *verdict.routing_sentences(record.routes),
            *verdict.ensemble_sentences(record.members, record.combine, record.leader, record.best),
            *(found.sentences if found else verdict.baseline_sentences(against, mase)),
            *verdict.mase_coverage_sentences(by_series),
            *told.verdict,
            *([promotion] if (promotion := record.parent.data.tags.get(mlflow_runs.PROMOTION_TAG)) else []),
            *verdict.setting_sentences(contrasts, axes, metric),
        ],
        honest=honest,
        missing=_missing(record),
        chapters=told,
        detections=found,
    )


def _horizon(record: SweepRecord) -> int:
    """How many neighbouring origins share a step to forecast, by which their errors depend on each other."""
    return math.ceil(record.about.get("horizon", 1) / record.about.get("stride", 1))


def _tied(record: SweepRecord) -> tuple[list[str], str]:
    """Configurations tied with the best, and over what they were compared."""
    index = list(leaderboard.REPLICATED)
    pairs = record.runs.pivot_table(index=index, columns="configuration", values=record.metric).dropna(axis=1)
    if len(pairs) > 1 and pairs.shape[1]:
        over = _replicates(record)
        return significance.indistinguishable_from_best(
            pairs, over="seeds"
        ), f"paired over {over}, 5 % with Holm's correction"
    if not record.together or record.metric.startswith("val_"):  # which no loss of a validation step tells of
        return [], ""
    leading = record.by_origin.dropna(axis=1)
    if leading.shape[1] < 2 or len(leading) < 8:
        return [str(record.best["configuration"])], "too few runs or validation steps to compare"
    of = record.runs.set_index("run_id")["configuration"]
    losses = leading.rename(columns=of.to_dict())
    over = f"Diebold-Mariano over {len(leading)} validation steps, 5 % with Holm, among the best {losses.shape[1]}"
    tied = significance.indistinguishable_from_best(losses, _horizon(record), over="origins")
    leader = str(record.best["configuration"])
    return [leader, *(configuration for configuration in tied if configuration != leader)], over


def _replicates(record: SweepRecord) -> str:
    """Over what the runs of a configuration are spread, such as `3 seeds on 4 folds`."""
    alone = record.runs[record.runs["series"] != ""] if not record.together else record.runs
    counts = {column: alone[column].nunique() for column in leaderboard.REPLICATED}
    told = [f"{counts['seed']} seeds"] if counts["seed"] > 1 else []
    told += [f"{counts['series']} series"] if counts["series"] > 1 else []
    told += [f"{counts['fold']} folds"] if counts["fold"] > 1 else []
    return " on ".join(told)


def _missing(record: SweepRecord) -> list[str]:
    said = []
    if not record.together:
        said.append(
            "Losses of different series do not compare: runs are ranked within their series, and the pictures and "
            "tables of settings show losses moved to one mean for every series. The winner is many networks, so it "
            "has no curves of its own."
        )
    elif record.about.get("folds"):
        said.append(
            "Losses of different folds do not compare: runs are ranked within their fold, and the pictures and tables "
            "of settings show losses moved to one mean for every fold."
        )
    runs, planned = len(record.runs), len(record.about["run_keys"])
    chosen = record.about.get("search", {}).get("strategy", "grid")
    if chosen != "grid":
        stopped = f", {record.stopped} were stopped before it" if record.stopped else ""
        said.append(
            f"The search ({chosen}) trained {runs} of {planned} runs to their end{stopped}. It prefers what looks "
            "good, so the effects of settings are those among the runs that it chose."
        )
    elif runs < planned:
        said.append(f"{planned - runs} of {planned} runs are not finished; what follows speaks of the finished ones.")
    if not record.tests and not len(record.scores):
        said.append("The winner has not met the test span yet, so there is no comparison with baselines.")
    if len(set(record.runs["seed"])) == 1:
        said.append("One seed was trained: the spread between seeds is unknown (training.seeds: [0, 1, 2] shows it).")
    if len(record.axes) < 2:
        said.append("Fewer than two settings were varied, so nothing can be said of settings together.")
    if runs < 4:
        said.append(f"With {runs} finished run{'s' if runs > 1 else ''} the importance of settings cannot be told.")
    return said


def draw_figures(record: SweepRecord, findings: ReportFindings) -> dict[str, Figure]:
    """The pictures of the report by name; those that cannot be drawn are left out."""
    runs, axes, metric = record.runs, record.axes, record.metric
    runs = leaderboard.comparable_runs(runs, metric)
    target = "actual" if not record.tests else str(record.about.get("target", "value"))
    figures: dict[str, Figure] = {}
    with plot_style.plot_style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs and layouts, seen by eye
        if record.tests:
            own = str(record.leader["name"])
            figures["model_comparison"] = accuracy_plots.model_comparison(findings.tested, own)
            figures["best_model_evaluation"] = accuracy_plots.best_model_evaluation(
                record.tests[own], findings.by_series, target
            )
            figures |= forecast_chapters.draw_figures(findings.chapters, list(record.tests), target)
        if findings.detections:
            figures |= anomaly_chapter.draw_figures(findings.detections)
        figures["grid_search_analysis"] = grid_plots.grid_search_analysis(
            runs, findings.leaders, axes, metric, record.curves, record.single
        )
        figures["hyperparameter_importance"] = grid_plots.hyperparameter_importance(findings.importance)
        figures["interactions"] = grid_plots.interactions(findings.pivots, findings.strengths)
        figures["cost_quality"] = grid_plots.cost_quality(runs, findings.fronts, metric)
        figures["parallel_coordinates"] = grid_plots.parallel_coordinates(runs, axes, metric)
    return figures


def write_report(record: SweepRecord, store: Store, folder: Path = Path("reports")) -> tuple[Path, ReportFindings]:
    """Write the report of `record` under `folder`/<name>, log it on the parent run, return its path.

    All files are made aside and moved into place together. Raises OSError when the folder cannot
    be written.
    """
    findings = compute_findings(record)
    figures = draw_figures(record, findings)
    target = folder / record.name
    with atomic_folder(target, keep=[html.MONITOR_FILE]) as temporary:
        vectors = {name: _save(figure, temporary / name) for name, figure in figures.items()}
        findings.leaders.to_csv(temporary / "leaderboard.csv", index=False)
        _workbook(record, findings, temporary / "leaderboard.xlsx")
        (temporary / "report.html").write_text(render_page(record, findings, vectors), encoding="utf-8")
    mlflow_runs.log_folder(store, record.parent.info.run_id, target, "report")
    mlflow_runs.set_run_tag(store, record.parent.info.run_id, mlflow_runs.VERDICT_TAG, findings.verdict)
    return target / "report.html", findings


def _save(figure: Figure, path: Path) -> str:
    """Write PNG (on white) and SVG; return the SVG for the page."""
    with plot_style.plot_style():
        figure.savefig(path.with_suffix(".png"), dpi=120, facecolor="white")
        figure.set_layout_engine("none")  # laid out by now, and that is half of the work
    svg = html.to_svg(figure)
    path.with_suffix(".svg").write_text(svg, encoding="utf-8")
    return svg


def _workbook(record: SweepRecord, findings: ReportFindings, path: Path) -> None:
    sheets = {
        "leaderboard": findings.leaders,
        "configurations": findings.configurations.drop(columns="configuration", errors="ignore"),
        "main effects": findings.effects,
        "importance": findings.importance,
        "test span": findings.tested,
        "by series": findings.by_series,
        "models": findings.routes,
        "members": record.members,
        **anomaly_chapter.workbook_sheets(findings.detections),
        **forecast_chapters.workbook_sheets(findings.chapters),
    }
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, sheet in sheets.items():
            if len(sheet):
                sheet.to_excel(book, sheet_name=name, index=False, freeze_panes=(1, 0))
                for column, cells in zip(sheet.columns, book.sheets[name].columns, strict=True):
                    widest = max([len(str(column)), *(len(f"{value}") for value in sheet[column].head(50))])
                    book.sheets[name].column_dimensions[cells[0].column_letter].width = min(40, widest + 2)


def render_page(record: SweepRecord, findings: ReportFindings, vectors: Mapping[str, str]) -> str:
    """The report as one self-contained HTML page; `vectors` are the pictures as SVG, by name."""
    about = record.about
    leader = record.leader
    settings = {axis.replace("_", " "): leader[axis] for axis in record.axes} or {"run": leader["name"]}
    leaders = findings.leaders
    columns = [name for name in ("series", "fold", *record.axes) if name in leaders.columns]
    top = leaders.head(MAX_RUNS_SHOWN) if record.together else leaders[leaders["rank"] == 1].head(MAX_ROWS_LISTED)
    return (
        html.template_environment()
        .get_template("report.html")
        .render(
            name=record.name,
            record=record,
            about=about,
            findings=findings,
            leader=leader,
            settings=settings,
            columns=columns,
            top=top.to_dict("records"),
            routes=findings.routes.head(MAX_ROWS_LISTED).to_dict("records"),
            replicates=_replicates(record),
            tested=findings.tested.to_dict("records"),
            against={row["name"]: row for row in findings.against.to_dict("records")},
            figures={name: html.inline_svg(name, svg) for name, svg in vectors.items()},
            titles=TITLES,
            grid=GRID_FIGURES,
            detected=findings.detections,
            events=anomaly_chapter.most_severe_events(findings.detections, MAX_ROWS_LISTED),
            chapters=findings.chapters,
            promised=forecast_chapters.coverage_rows(findings.chapters),
            steps=_steps(findings.chapters.by_step),
            parts=_parts(record, findings),
            configurations=findings.configurations.head(MAX_RUNS_SHOWN).to_dict("records"),
            seeds=sorted(map(int, record.runs["seed"].unique())),
            seconds=float(record.runs["fit_seconds"].sum()),
            failures=record.failures.to_dict("records"),
            lines=json.dumps(_lines(record)).replace("</", "<\\/"),
            written=time.strftime("%Y-%m-%d %H:%M"),
        )
    )


def _routes(record: SweepRecord, by_series: pd.DataFrame) -> pd.DataFrame:
    """Who answers for each series, with its error on validation and, where it was tested, on the test span."""
    if not len(record.routes):
        return record.routes
    tested = by_series if len(by_series) else pd.DataFrame(columns=["series", "mae", "mase"])
    return record.routes.merge(tested[["series", "mae", "mase"]], on="series", how="left")


def _steps(by_step: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table of steps, the first, the last and at most some between: step, and each forecaster's row."""
    steps = sorted(by_step["step"].unique()) if len(by_step) else []
    chosen = (
        [steps[k] for k in np.unique(np.linspace(0, len(steps) - 1, MAX_STEPS_SHOWN).round().astype(int))]
        if steps
        else []
    )
    return [
        {"step": step, "of": {row["name"]: row for row in by_step[by_step["step"] == step].to_dict("records")}}
        for step in chosen
    ]


def _parts(record: SweepRecord, findings: ReportFindings) -> dict[str, list[dict[Any, Any]]]:
    """Tables of parts of the winner's forecasts, worst first: by series, and by each category."""
    own = str(record.leader["name"])
    found = {"series": findings.by_series, **findings.chapters.categories} if record.tests else {}
    return {
        label: frame[frame["name"] == own]
        .sort_values("mase", ascending=False)
        .rename(columns={"series": "part", "value": "part"})
        .to_dict("records")
        for label, frame in found.items()
    }


def _lines(record: SweepRecord) -> dict[str, Any]:
    """What the interactive picture needs: the axes with their values, and each run as places on them."""
    runs = leaderboard.comparable_runs(record.runs, record.metric).sort_values(record.metric, ascending=False)
    axes = []
    for axis in record.axes:
        values = sorted(runs[axis].unique())
        axes.append({"name": axis.replace("_", " "), "values": [html.format_number(value) for value in values]})
    codes = {axis: {value: k for k, value in enumerate(sorted(runs[axis].unique()))} for axis in record.axes}
    return {
        "axes": axes,
        "metric": plot_style.METRIC_LABELS[record.metric],
        "runs": [
            {
                "name": run["name"],
                "at": [codes[axis][run[axis]] for axis in record.axes],
                "loss": float(run[record.metric]),
            }
            for run in runs.to_dict("records")
        ],
    }
