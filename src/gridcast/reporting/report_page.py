"""The report as one self-contained HTML page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.reporting import anomaly_chapter, continuous_axes, forecast_chapters, html, leaderboard, plot_style
from gridcast.reporting.anomaly_plots import ANOMALY_TITLES
from gridcast.reporting.contents import with_contents
from gridcast.reporting.forecast_chapters import FORECAST_TITLES
from gridcast.reporting.forecast_lines import forecast_lines
from gridcast.reporting.record import SweepRecord
from gridcast.reporting.report_findings import ReportFindings, replicates_text
from gridcast.tracking.addresses import without_credentials

GRID_TITLES = {
    "grid_search_analysis": "The grid at a glance",
    "hyperparameter_importance": "How much of the variance each setting explains",
    "interactions": "Interactions of settings",
    "cost_quality": "Cost against quality",
    "parallel_coordinates": "Every run",
}
"""Figures of the settings, by name; the others are in the chapters on forecasts or anomalies."""
FIGURE_TITLES = {
    "best_model_evaluation": "The winner's forecasts of the test span",
    **GRID_TITLES,
    **FORECAST_TITLES,
    **ANOMALY_TITLES,
}
MAX_RUNS_SHOWN, MAX_RUNS_LISTED = 10, 100
"""Runs, and configurations, in the tables of the page at first; and runs after a click."""
RUN_TITLES = {
    "best_val_loss": "validation loss",
    "best_val_mae": "validation MAE",
    "best_val_wql": "validation WQL",
    "val_online_faults_missed": "faults missed",
    "val_online_false_alarms_per_day": "false alarms a day",
    "val_faults_missed": "faults missed, in hindsight",
    "val_false_alarms_per_day": "false alarms a day, in hindsight",
}
"""Errors of the table of runs; the lower the better."""
LOWER_IS_BETTER = ("mase", "mae", "rmse", "wape", "wql", "mape", "smape")
MAX_STEPS_SHOWN = 12
"""Steps of the horizon in the table of the page."""
MAX_ROWS_LISTED = 100
"""Series with models of their own, events, and pairs of settings, in the tables of the page."""


def render_page(record: SweepRecord, findings: ReportFindings, figures: Mapping[str, str]) -> str:
    """Return the report as one self-contained HTML page; `figures` are SVG texts by name."""
    leader, leaders = record.leader, findings.leaders
    columns = [name for name in ("series", "fold", *record.axes) if name in leaders.columns]
    top = leaders.head(MAX_RUNS_LISTED) if record.together else leaders[leaders["rank"] == 1].head(MAX_ROWS_LISTED)
    run_columns = [name for name in RUN_TITLES if name in leaders.columns]
    tested = record.forecasts.tests.get(str(leader["name"]))
    return with_contents(
        html.template_environment()
        .get_template("report.html")
        .render(
            name=record.name,
            record=record,
            about=record.about,
            findings=findings,
            leader=leader,
            columns=columns,
            top=top.to_dict("records"),
            shown_runs=MAX_RUNS_SHOWN if record.together else MAX_ROWS_LISTED,
            run_columns=run_columns,
            run_titles=RUN_TITLES,
            best_of_runs=_best_values(top if record.together else top.head(0), run_columns),
            routes=findings.routes.head(MAX_ROWS_LISTED).to_dict("records"),
            replicates=replicates_text(record),
            measures=findings.measures.to_dict("records"),
            best=_best_values(findings.measures, LOWER_IS_BETTER, higher=("r2",)),
            own_measures=list(dict.fromkeys(name for own in record.forecasts.own_measures.values() for name in own)),
            against={row["name"]: row for row in findings.against.to_dict("records")},
            figures={name: html.inline_svg(name, svg) for name, svg in figures.items()},
            titles=FIGURE_TITLES,
            grid_figures=list(GRID_TITLES),
            anomalies=findings.anomalies,
            events=anomaly_chapter.most_severe_events(findings.anomalies, MAX_ROWS_LISTED),
            chapters=findings.chapters,
            coverage_rows=forecast_chapters.coverage_rows(findings.chapters),
            steps=_step_rows(findings.chapters.by_step),
            groups=_group_tables(record, findings),
            contrasts=findings.effects.contrasts.head(MAX_ROWS_LISTED).to_dict("records"),
            configurations=findings.configurations.head(MAX_RUNS_SHOWN).to_dict("records"),
            seeds=sorted(map(int, record.runs["seed"].unique())),
            seconds=float(record.runs["fit_seconds"].sum()),
            failures=record.failures.to_dict("records"),
            failed_baselines=record.baselines.failures.to_dict("records"),
            baseline_notes=record.baselines.notes,
            experiment=without_credentials(record.experiment),
            lines=_run_lines(record),
            forecast_data=[] if tested is None else forecast_lines(tested, findings.by_series),
            written=time.strftime("%Y-%m-%d %H:%M"),
        )
    )


def _best_values(table: pd.DataFrame, lower: Sequence[str], higher: Sequence[str] = ()) -> dict[str, float]:
    """Return the best value of each column of `table`, if it has more than one row."""
    if len(table) < 2:
        return {}
    lowest = {name: table[name].min() for name in lower if name in table}
    return lowest | {name: table[name].max() for name in higher if name in table}


def _step_rows(by_step: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the first step, the last and evenly spaced ones between: `step`, and `of`, the row of each forecaster."""
    if not len(by_step):
        return []
    steps = sorted(by_step["step"].unique())
    places = np.unique(np.linspace(0, len(steps) - 1, MAX_STEPS_SHOWN).round().astype(int))
    return [
        {
            "step": steps[place],
            "of": {row["name"]: row for row in by_step[by_step["step"] == steps[place]].to_dict("records")},
        }
        for place in places
    ]


def _group_tables(record: SweepRecord, findings: ReportFindings) -> dict[str, list[dict[Any, Any]]]:
    """Return the winner's measures, worst first, by series and by each category, as rows with the key `group`."""
    winner = str(record.leader["name"])
    tables = {"series": findings.by_series, **findings.chapters.categories} if record.forecasts.tests else {}
    return {
        label: table[table["name"] == winner]
        .sort_values("mase", ascending=False)
        .rename(columns={"series": "group", "value": "group"})
        .to_dict("records")
        for label, table in tables.items()
    }


def _run_lines(record: SweepRecord) -> dict[str, Any]:
    """Return the data of the interactive figure: the axes with their values, and each run as places on them."""
    runs = leaderboard.comparable_runs(record.runs, record.metric).sort_values(record.metric, ascending=False)
    runs = continuous_axes.in_bins(runs, record.continuous_axes)
    values = {axis: sorted(runs[axis].unique()) for axis in record.axes}
    codes = {axis: {value: code for code, value in enumerate(values[axis])} for axis in record.axes}
    return {
        "axes": [
            {"name": axis.replace("_", " "), "values": [html.format_number(value) for value in values[axis]]}
            for axis in record.axes
        ],
        "metric": plot_style.axis_label(record.metric),
        "runs": [
            {
                "name": run["name"],
                "at": [codes[axis][run[axis]] for axis in record.axes],
                "loss": float(run[record.metric]),
            }
            for run in runs.to_dict("records")
        ],
    }
