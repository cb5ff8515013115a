"""The report's chapters on forecasts: closeness, coverage, steps of the horizon, categories, inputs, notes on data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gridcast.evaluation.origin_losses import WQL
from gridcast.reporting import forecast_plots, forecast_tables, interval_calibration, verdict
from gridcast.reporting.baseline_comparison import compare_baselines
from gridcast.reporting.forecast_plots import FanChart
from gridcast.reporting.record import SweepRecord

ZERO_RUN_PHRASES = ("unusual run", "without exhibition")
"""One of these is in a note on the data about unusual runs of zeros; the second is that of versions before 0.2.0."""
FORMER_REPEATS = 5
"""Shuffles of each input in records that do not say how many."""
NOT_IN_SHEET_NAMES = r"[][:*?/\\]"
"""Characters that Excel does not allow in the name of a sheet."""
FORECAST_TITLES = {
    "fan_charts": "The last forecasts, series by series",
    "coverage": "Are the intervals calibrated?",
    "error_by_step": "Error by step of the horizon",
    "inputs": "Which inputs the winner relies on",
}


@dataclass(frozen=True)
class ForecastChapters:
    """Numbers and sentences of the chapters; a frame is empty where the sweep has no data for it.

    `levels` are those of the winner's quantiles and `nominal` the share of the interval that is reported.
    `calibration` and `intervals` are frames of `interval_calibration`, `by_step` and `categories` (by column) of
    `forecast_tables`, `permuted` and `attention` of the explanation. `windows` were forecast in the test span, from
    origins of which `independent` share no step. `zero_run_notes` and `notes` are about the data; `sentences` are by
    chapter.
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
    zero_run_notes: list[str]
    notes: list[str]
    sentences: dict[str, list[str]]

    @property
    def verdict(self) -> list[str]:
        """The sentences that a report on probabilistic forecasts has at its top; none for point forecasts."""
        chapters = ("quantile_loss", "coverage", "closeness") if self.levels else ()
        return [sentence for chapter in chapters for sentence in self.sentences.get(chapter, ())]


def build_chapters(
    record: SweepRecord, *, measures: pd.DataFrame, by_series: pd.DataFrame, overlap: int, relevant: float
) -> ForecastChapters:
    """Compute the chapters of `record`.

    `measures` and `by_series` are frames of `forecast_tables`, empty while the test span is untouched; `overlap` is how
    many neighbouring origins share a step; differences below the share `relevant` count as none.
    """
    winner, tests = str(record.leader["name"]), record.forecasts.tests
    test = tests.get(winner, pd.DataFrame({"step": []}))
    levels = interval_calibration.quantile_levels(test)
    nominal = interval_calibration.headline_interval(levels)
    explanation = record.forecasts.explanation
    permuted, attention = (pd.DataFrame(explanation.get(kind, [])) for kind in ("permuted", "attention"))
    with_quantiles = {
        name: table for name, table in tests.items() if levels and interval_calibration.quantile_levels(table)
    }
    many_steps = len(test) > 0 and test["step"].max() > 1
    by_step = forecast_tables.measures_by_step(tests) if many_steps else pd.DataFrame()
    intervals = interval_calibration.interval_coverage(with_quantiles, overlap)
    categories: dict[str, dict[str, str]] = record.about.get("categories") or {}
    sentences: dict[str, list[str]] = {}
    if tests:
        sentences["closeness"] = [verdict.closeness_sentence(measures, winner)]
    if levels:
        by_quantiles = compare_baselines(tests, winner, overlap=overlap, measure=WQL, relevant=relevant, levels=levels)
        sentences["quantile_loss"] = [verdict.quantile_loss_sentence(measures, winner, by_quantiles)]
    if nominal is not None:
        sentences["coverage"] = [verdict.coverage_sentence(intervals, winner, nominal)]
    if len(by_step):
        sentences["steps"] = [verdict.horizon_sentence(by_step, winner)]
    if len(permuted):
        sentences["inputs"] = verdict.input_sentences(
            permuted, attention, repeats=explanation.get("repeats", FORMER_REPEATS), relevant=relevant
        )
    notes = [str(note) for note in record.about.get("notes", ())]
    fans = forecast_plots.fan_chart_data(test, record.forecasts.recent, by_series) if levels or many_steps else []
    return ForecastChapters(
        levels=levels,
        nominal=nominal,
        windows=int((test["step"] == 1).sum()),
        independent=interval_calibration.independent_origins(test, overlap),
        fans=fans,
        calibration=interval_calibration.quantile_calibration(with_quantiles, overlap),
        intervals=intervals,
        by_step=by_step,
        categories={
            column: forecast_tables.measures_by_category(tests, category_of)
            for column, category_of in categories.items()
            if tests
        },
        permuted=permuted,
        attention=attention,
        zero_run_notes=[note for note in notes if _is_about_zero_runs(note)],
        notes=[note for note in notes if not _is_about_zero_runs(note)],
        sentences=sentences,
    )


def _is_about_zero_runs(note: str) -> bool:
    return any(phrase in note for phrase in ZERO_RUN_PHRASES)


def draw_figures(chapters: ForecastChapters, names: Sequence[str], target: str) -> dict[str, Figure]:
    """Return the figures of the chapters by name, without those that have no data.

    `names` are the forecasters, the winner first.
    """
    figures: dict[str, Figure] = {}
    colors = forecast_plots.forecaster_colors(names)
    if chapters.fans:
        figures["fan_charts"] = forecast_plots.fan_charts(chapters.fans, target)
    if len(chapters.calibration):
        figures["coverage"] = forecast_plots.coverage_diagram(
            chapters.calibration, chapters.intervals, chapters.by_step, colors=colors, nominal=chapters.nominal
        )
    if len(chapters.by_step):
        figures["error_by_step"] = forecast_plots.error_by_step(chapters.by_step, colors)
    if chapters.permuted.get("rise", pd.Series()).notna().any():
        figures["inputs"] = forecast_plots.input_importance(chapters.permuted, chapters.attention)
    return figures


def workbook_sheets(chapters: ForecastChapters) -> dict[str, pd.DataFrame]:
    """Return the tables of the chapters as sheets of the workbook, by name."""
    return {
        "quantiles": chapters.calibration,
        "intervals": chapters.intervals,
        "by step": chapters.by_step,
        **{_category_sheet(column): table for column, table in chapters.categories.items()},
        "inputs": chapters.permuted,
        "attention": chapters.attention,
    }


def _category_sheet(column: str) -> str:
    return f"category {re.sub(NOT_IN_SHEET_NAMES, '-', column)}"[:31]  # Excel allows 31 characters


def coverage_rows(chapters: ForecastChapters) -> list[dict[str, Any]]:
    """Return the rows of the coverage table, the winner's first: name, and `intervals` by nominal share."""
    return [
        {"name": name, "intervals": {row["nominal"]: row for row in intervals.to_dict("records")}}
        for name, intervals in chapters.intervals.groupby("name", sort=False)
    ]
