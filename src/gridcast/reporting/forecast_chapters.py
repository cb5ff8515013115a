"""The report's chapters on the forecasts themselves: closeness, coverage, steps, categories, inputs, data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gridcast.reporting import forecast_plots, forecast_tables, interval_calibration, verdict
from gridcast.reporting.forecast_plots import FanChart
from gridcast.reporting.record import SweepRecord

ZERO_RUN_NOTE = "without exhibition"
"""What a note on the data says of stretches that were found to be no demand."""
NOT_IN_SHEET_NAMES = r"[][:*?/\\]"
"""Signs that a sheet of a workbook may not have in its name."""
TITLES = {
    "fan_charts": "The last forecasts, series by series",
    "coverage": "Do the intervals hold what they promise?",
    "error_by_step": "Error by step of the horizon",
    "inputs": "What the winner leans on",
}


@dataclass(frozen=True)
class ForecastChapters:
    """Numbers and sentences of the chapters; a frame is empty where the sweep has nothing for it.

    `levels` are those of the winner's quantiles and `nominal` the interval that is spoken of. `closeness` has the
    shares of `metrics.closeness` by name; `calibration`, `intervals`, `by_step` and `categories` (by column)
    as `quantiles` and `tables` give them; `permuted` and `attention` as `importance` does. `windows` were
    forecast in the test span, of which `independent` share no step; `sentences` by chapter.
    """

    levels: tuple[float, ...]
    nominal: float | None
    windows: int
    independent: float
    fans: list[FanChart]
    calibration: pd.DataFrame
    intervals: pd.DataFrame
    by_step: pd.DataFrame
    categories: dict[str, pd.DataFrame]
    permuted: pd.DataFrame
    attention: pd.DataFrame
    unshown: list[str]
    notes: list[str]
    sentences: dict[str, list[str]]

    @property
    def verdict(self) -> list[str]:
        """What of it belongs at the top of a report on forecasts with probabilities."""
        told = ("quantile_loss", "coverage", "closeness") if self.levels else ()
        return [sentence for chapter in told for sentence in self.sentences.get(chapter, ())]


def build_chapters(
    record: SweepRecord, tested: pd.DataFrame, by_series: pd.DataFrame, overlap: int
) -> ForecastChapters:
    """The chapters of `record`; `tested` and `by_series` as `tables` gives them, `overlap` of neighbouring origins."""
    winner, tests = str(record.leader["name"]), record.tests
    own = tests.get(winner, pd.DataFrame({"step": []}))
    levels = interval_calibration.quantile_levels(own)
    nominal = interval_calibration.headline_interval(levels)
    permuted, attention = (pd.DataFrame(record.explained.get(kind, [])) for kind in ("permuted", "attention"))
    quantified = {
        name: table for name, table in tests.items() if levels and interval_calibration.quantile_levels(table)
    }
    by_step = forecast_tables.measures_by_step(tests) if len(own) and own["step"].max() > 1 else pd.DataFrame()
    intervals = interval_calibration.interval_coverage(quantified, overlap)
    categories: dict[str, dict[str, str]] = record.about.get("categories") or {}
    sentences: dict[str, list[str]] = {}
    if tests:
        sentences["closeness"] = [verdict.closeness_sentence(tested, winner)]
    if levels:
        sentences["quantile_loss"] = [verdict.quantile_loss_sentence(tested, winner)]
    if nominal is not None:
        sentences["coverage"] = [verdict.coverage_sentence(intervals, winner, nominal)]
    if len(by_step):
        sentences["steps"] = [verdict.horizon_sentence(by_step, winner)]
    if len(permuted):
        sentences["inputs"] = verdict.input_sentences(permuted, attention)
    notes = [str(note) for note in record.about.get("notes", ())]
    return ForecastChapters(
        levels=levels,
        nominal=nominal,
        windows=int((own["step"] == 1).sum()),
        independent=interval_calibration.independent_windows(own, overlap),
        fans=forecast_plots.fan_chart_data(own, record.recent, by_series)
        if len(own) and (levels or own["step"].max() > 1)
        else [],
        calibration=interval_calibration.quantile_calibration(quantified, overlap),
        intervals=intervals,
        by_step=by_step,
        categories={
            column: forecast_tables.measures_by_category(tests, of) for column, of in categories.items() if tests
        },
        permuted=permuted,
        attention=attention,
        unshown=[note for note in notes if ZERO_RUN_NOTE in note],
        notes=[note for note in notes if ZERO_RUN_NOTE not in note],
        sentences=sentences,
    )


def draw_figures(chapters: ForecastChapters, names: Sequence[str], target: str) -> dict[str, Figure]:
    """The pictures of the chapters by name; those of which there is nothing to show are left out.

    `names` are the forecasters, the winner first.
    """
    found: dict[str, Figure] = {}
    colors = forecast_plots.forecaster_colors(names)
    if chapters.fans:
        found["fan_charts"] = forecast_plots.fan_charts(chapters.fans, target)
    if len(chapters.calibration):
        frames = chapters.calibration, chapters.intervals, chapters.by_step
        found["coverage"] = forecast_plots.coverage_diagram(*frames, colors, chapters.nominal)
    if len(chapters.by_step):
        found["error_by_step"] = forecast_plots.error_by_step(chapters.by_step, colors)
    if chapters.permuted.get("rise", pd.Series()).notna().any():
        found["inputs"] = forecast_plots.input_importance(chapters.permuted, chapters.attention)
    return found


def workbook_sheets(chapters: ForecastChapters) -> dict[str, pd.DataFrame]:
    """The tables of the chapters as sheets of the workbook, by name."""
    return {
        "quantiles": chapters.calibration,
        "intervals": chapters.intervals,
        "by step": chapters.by_step,
        **{_sheet(column): frame for column, frame in chapters.categories.items()},
        "inputs": chapters.permuted,
        "attention": chapters.attention,
    }


def _sheet(column: str) -> str:
    return f"category {re.sub(NOT_IN_SHEET_NAMES, '-', column)}"[:31]


def coverage_rows(chapters: ForecastChapters) -> list[dict[str, Any]]:
    """Rows of the coverage table: name, and for each promised share what is held, the winner's first."""
    rows = []
    for name, own in chapters.intervals.groupby("name", sort=False):
        rows.append({"name": name, "held": {row["nominal"]: row for row in own.to_dict("records")}})
    return rows
