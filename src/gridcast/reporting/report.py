"""The report of a sweep: page, figures and workbook, written to `reports/<name>/` from MLflow alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from gridcast.data.spreadsheets import write_csv, write_sheet
from gridcast.data.written_folder import written_folder
from gridcast.reporting import (
    accuracy_plots,
    anomaly_chapter,
    anomaly_plots,
    continuous_axes,
    forecast_chapters,
    grid_plots,
    html,
    leaderboard,
    plot_style,
)
from gridcast.reporting.record import SweepRecord
from gridcast.reporting.report_findings import ReportFindings, compute_findings
from gridcast.reporting.report_page import render_page
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store

RUNS_LINKED = 5
"""Best runs that the description of a sweep links to."""


def write_report(record: SweepRecord, store: Store, folder: Path = Path("reports")) -> tuple[Path, ReportFindings]:
    """Write the report of `record` under `folder`/<name>, log it on the run of the sweep, and return its path.

    Files in the folder that gridcast did not write stay there. Raises OSError when the folder cannot be written, and
    GridcastError when it is none.
    """
    findings = compute_findings(record)
    figures = draw_figures(record, findings)
    target = folder / record.name
    with written_folder(target, "report") as temporary:
        svgs = {name: _save_figure(figure, temporary / name) for name, figure in figures.items()}
        write_csv(findings.leaders, temporary / "leaderboard.csv")
        _write_workbook(record, findings, temporary / "leaderboard.xlsx")
        (temporary / "report.html").write_text(render_page(record, findings, svgs), encoding="utf-8")
        names = sorted(path.name for path in temporary.iterdir())
    files = [target / name for name in names]
    mlflow_runs.log_files(store, record.parent.info.run_id, files, "report")
    mlflow_runs.set_run_tag(store, record.parent.info.run_id, mlflow_runs.VERDICT_TAG, findings.verdict)
    mlflow_runs.set_run_tag(store, record.parent.info.run_id, mlflow_runs.SHOWN_PROMOTION_TAG, record.promotion)
    description = sweep_description(findings, store.experiment)
    mlflow_runs.set_run_tag(store, record.parent.info.run_id, mlflow_runs.DESCRIPTION_TAG, description)
    return target / "report.html", findings


def sweep_description(findings: ReportFindings, experiment: str) -> str:
    """Return the description of the sweep on its MLflow page, in Markdown: the verdict, and links to the best runs."""
    lines = [f"- {sentence}" for sentence in findings.verdict.splitlines()]
    links = [
        f"{place}. [{row['name']}](#/experiments/{experiment}/runs/{row['run_id']})"
        for place, row in enumerate(findings.leaders.head(RUNS_LINKED).to_dict("records"), start=1)
    ]
    return "\n".join(
        ["**Verdict**", "", *lines, "", "**Best runs**", "", *links, "", "The report: Artifacts, `report`."]
    )


def draw_figures(record: SweepRecord, findings: ReportFindings) -> dict[str, Figure]:
    """Return the figures of the report by name, without those that have no data."""
    axes, metric, tests = record.axes, record.metric, record.forecasts.tests
    drawn_runs = leaderboard.comparable_runs(record.grid_runs, metric)
    runs = continuous_axes.in_bins(drawn_runs, record.continuous_axes)
    figures: dict[str, Figure] = {}
    with plot_style.plot_style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about missing glyphs and layouts, which a look at the figure shows too
        if tests:
            winner = str(record.leader["name"])
            target = plot_style.shorten(str(record.about.get("target", "value")), 24)
            figures["model_comparison"] = accuracy_plots.model_comparison(findings.measures, winner)
            figures["best_model_evaluation"] = accuracy_plots.best_model_evaluation(
                tests[winner], findings.by_series, target
            )
            figures |= forecast_chapters.draw_figures(findings.chapters, list(tests), target)
        if findings.anomalies:
            figures |= anomaly_plots.draw_figures(findings.anomalies)
        figures["grid_search_analysis"] = grid_plots.grid_search_analysis(
            runs,
            findings.leaders,
            rates=drawn_runs,
            axes=axes,
            metric=metric,
            curves=record.curves,
            best_run_id=record.best_run_id,
        )
        importance = findings.effects.importance
        if len(importance) and importance[["fanova", "variance_share"]].notna().any(axis=None):
            figures["hyperparameter_importance"] = grid_plots.hyperparameter_importance(importance)
        if findings.effects.pivots:
            figures["interactions"] = grid_plots.interactions(findings.effects.pivots, findings.effects.strengths)
        if len(runs) > 1:
            figures["cost_quality"] = grid_plots.cost_quality(runs, findings.effects.fronts, metric)
        if axes and len(runs) > 1:
            figures["parallel_coordinates"] = grid_plots.parallel_coordinates(runs, axes, metric)
    return figures


def _save_figure(figure: Figure, path: Path) -> str:
    """Write the figure as PNG (on white) and SVG; return the SVG for the page."""
    svg = html.to_svg(figure)  # computes the layout, which serves for both
    path.with_suffix(".svg").write_text(svg, encoding="utf-8")
    with plot_style.plot_style():
        figure.savefig(path.with_suffix(".png"), dpi=120, facecolor="white")
    return svg


def _write_workbook(record: SweepRecord, findings: ReportFindings, path: Path) -> None:
    sheets = {
        "leaderboard": findings.leaders,
        "configurations": findings.configurations.drop(columns="configuration", errors="ignore"),
        "settings compared": findings.effects.contrasts,
        "main effects": findings.effects.main,
        "importance": findings.effects.importance,
        "test span": findings.measures,
        "against baselines": findings.against,
        "by series": findings.by_series,
        "models": findings.routes,
        "members": record.members,
        **anomaly_chapter.workbook_sheets(findings.anomalies),
        **forecast_chapters.workbook_sheets(findings.chapters),
    }
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, sheet in sheets.items():
            if len(sheet):
                written = write_sheet(sheet, book, name)
                for column, cells in zip(sheet.columns, written.columns, strict=True):
                    widest = max([len(str(column)), *(len(f"{value}") for value in sheet[column].head(50))])
                    written.column_dimensions[cells[0].column_letter].width = min(40, widest + 2)
