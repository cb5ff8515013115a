"""The findings of a report: every number and sentence, computed from the record of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.evaluation import significance
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.reporting import (
    anomaly_chapter,
    forecast_chapters,
    forecast_tables,
    leaderboard,
    selection_sentences,
    setting_effects,
    verdict,
)
from gridcast.reporting.anomaly_chapter import AnomalyChapter
from gridcast.reporting.forecast_chapters import ForecastChapters
from gridcast.reporting.record import SweepRecord
from gridcast.tracking import mlflow_runs

MIN_ORIGINS = 8
"""Validation steps that the test between single runs needs."""
MIN_RUNS_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class GridEffects:
    """Frames about the settings, see `setting_effects`: by pair of axes and, of the Pareto `fronts`, by cost."""

    main: pd.DataFrame
    importance: pd.DataFrame
    pivots: dict[tuple[str, str], pd.DataFrame]
    strengths: dict[tuple[str, str], float]
    fronts: dict[str, np.ndarray]


@dataclass(frozen=True)
class ReportFindings:
    """Every number of the report, before anything is drawn or written.

    `measures` of winner and baselines, the winner's `by_series`, and the comparison `against` each baseline are empty
    while the test span is untouched. `tied` are configurations tied with the best, compared as `compared_over` says.
    `limitations` say what this sweep cannot show, and why.
    """

    leaders: pd.DataFrame
    configurations: pd.DataFrame
    effects: GridEffects
    tied: list[str]
    compared_over: str
    measures: pd.DataFrame
    by_series: pd.DataFrame
    routes: pd.DataFrame
    against: pd.DataFrame
    sentences: list[str]
    bottom_line: str
    limitations: list[str]
    chapters: ForecastChapters
    anomalies: AnomalyChapter | None = None

    @property
    def verdict(self) -> str:
        """The sentences at the top of the report, one a line."""
        return "\n".join([*self.sentences, self.bottom_line])


def compute_findings(record: SweepRecord) -> ReportFindings:
    """Compute the findings of `record`."""
    axes, metric, tests = record.axes, record.metric, record.forecasts.tests
    runs = leaderboard.comparable_runs(record.runs, metric)
    # Further seeds of the leaders alone would give their settings more weight.
    grid_runs = leaderboard.comparable_runs(record.grid_runs, metric)
    configurations = leaderboard.by_configuration(runs, axes, metric)
    tied, compared_over = _tied_with_best(record)
    winner, overlap = str(record.leader["name"]), _overlap(record)
    measures = by_series = against = pd.DataFrame()
    mase = float("nan")
    if tests:
        measures = forecast_tables.measure_table(tests)
        by_series = forecast_tables.measures_by_series({winner: tests[winner]})
        against = forecast_tables.against_baselines(tests, winner, overlap)
        mase = float(measures.loc[measures["name"] == winner, "mase"].iloc[0])
    anomalies = anomaly_chapter.build_chapter(record)
    chapters = forecast_chapters.build_chapters(record, measures=measures, by_series=by_series, overlap=overlap)
    promotion = record.parent.data.tags.get(mlflow_runs.PROMOTION_TAG)
    contrasts = [setting_effects.strongest_contrast(grid_runs, axis, metric) for axis in axes]
    standing = _standing(record, runs=runs, configurations=configurations, tied=tied, compared_over=compared_over)
    return ReportFindings(
        leaders=leaderboard.ranked_runs(record.runs, axes, metric),
        configurations=configurations,
        effects=_grid_effects(grid_runs, axes, metric),
        tied=tied,
        compared_over=compared_over,
        measures=measures,
        by_series=by_series,
        routes=_routes_with_test_errors(record, by_series),
        against=against,
        sentences=[
            *verdict.standing_sentences(standing),
            *selection_sentences.confirmation_sentences(record, configurations),
            *verdict.routing_sentences(record.routes),
            *verdict.ensemble_sentences(record.members, combine=record.combine, winner=record.leader, best=record.best),
            *(anomalies.sentences if anomalies else verdict.baseline_sentences(against, mase)),
            *verdict.failed_baseline_sentences(record.baselines.failures),
            *verdict.mase_coverage_sentences(by_series),
            *selection_sentences.look_sentences(record),
            *chapters.verdict,
            *([promotion] if promotion else []),
            *verdict.setting_sentences(contrasts, axes, metric),
        ],
        bottom_line=anomalies.bottom_line if anomalies else verdict.bottom_line(against, mase, NAIVE_BASELINES),
        limitations=_limitations(record),
        chapters=chapters,
        anomalies=anomalies,
    )


def _grid_effects(runs: pd.DataFrame, axes: tuple[str, ...], metric: str) -> GridEffects:
    return GridEffects(
        main=setting_effects.main_effects(runs, axes, metric),
        importance=setting_effects.setting_importance(runs, axes, metric),
        pivots={
            (row_axis, column_axis): setting_effects.interaction_table(runs, row_axis, column_axis, metric=metric)
            for k, row_axis in enumerate(axes)
            for column_axis in axes[k + 1 :]
        },
        strengths=setting_effects.interaction_strength(runs, axes, metric),
        fronts={cost: leaderboard.pareto_front(runs, cost, metric) for cost in ("fit_seconds", "parameters")},
    )


def _standing(
    record: SweepRecord, *, runs: pd.DataFrame, configurations: pd.DataFrame, tied: list[str], compared_over: str
) -> verdict.Standing:
    """Return the place of the best run among the others, and the name of the simplest tied configuration."""
    best = str(record.best["name"])
    named = runs.drop_duplicates("configuration") if record.together else configurations
    simplest = leaderboard.simplest_configuration(configurations, tied) if tied else str(record.best["configuration"])
    return verdict.Standing(
        winner=best,
        metric=record.metric,
        value=float(record.best[record.metric]),
        runs=len(runs),
        planned=record.planned,
        failed=len(record.failures),
        tied=len(set(tied) & set(configurations["configuration"])) if record.together else 0,
        simplest=str(named.set_index("configuration")["name"].get(simplest, best)),
        compared_over=compared_over,
    )


def _overlap(record: SweepRecord) -> int:
    """Return how many neighbouring origins share a step to forecast, which makes their errors dependent."""
    return math.ceil(record.about.get("horizon", 1) / record.about.get("stride", 1))


def _tied_with_best(record: SweepRecord) -> tuple[list[str], str]:
    """Return the configurations tied with the best, and how they were compared.

    Over the seeds, folds or series that all of them have, or else, for single runs, over the steps of the validation
    span.
    """
    columns = list(leaderboard.REPLICATED)
    pairs = record.runs.pivot_table(index=columns, columns="configuration", values=record.metric).dropna(axis=1)
    if len(pairs) > 1 and pairs.shape[1]:
        tied = significance.indistinguishable_from_best(pairs, replicates="seeds")
        return tied, f"paired over {replicates_text(record)}, 5 % with Holm's correction"
    # Metrics of detectors are not means over validation steps, so losses by step say nothing about them.
    if not record.together or record.metric.startswith("val_"):
        return [], ""
    best = str(record.best["configuration"])
    losses = record.loss_by_origin.dropna(axis=1)
    if losses.shape[1] < 2 or len(losses) < MIN_ORIGINS:
        return [best], "too few runs or validation steps to compare"
    losses = losses.rename(columns=record.runs.set_index("run_id")["configuration"].to_dict())
    losses = losses.loc[:, ~losses.columns.duplicated()]  # the best run of each configuration
    tied = significance.indistinguishable_from_best(losses, _overlap(record), replicates="origins")
    compared_over = (
        f"Diebold-Mariano over {len(losses)} validation steps, 5 % with Holm, among the best {losses.shape[1]}"
    )
    return [best, *(configuration for configuration in tied if configuration != best)], compared_over


def replicates_text(record: SweepRecord) -> str:
    """Return how the runs of a configuration differ, such as `3 seeds on 4 folds`; empty where each has one run."""
    runs = record.runs if record.together else record.runs[record.runs["series"] != ""]
    counts = {column: runs[column].nunique() for column in leaderboard.REPLICATED}
    names = {"seed": "seeds", "series": "series", "fold": "folds"}
    return " on ".join(f"{counts[column]} {plural}" for column, plural in names.items() if counts[column] > 1)


def _limitations(record: SweepRecord) -> list[str]:
    """Return sentences on what this sweep cannot show, and why."""
    sentences = []
    if not record.together:
        sentences.append(
            "Losses of different series cannot be compared: runs are ranked within their series, and the figures and "
            "tables of settings show losses shifted to the same mean for every series. The winner consists of many "
            "networks, so it has no curves of its own."
        )
    elif record.about.get("folds"):
        sentences.append(
            "Losses of different folds cannot be compared: runs are ranked within their fold, and the figures and "
            "tables of settings show losses shifted to the same mean for every fold."
        )
    runs, planned = len(record.grid_runs), len(record.about["run_keys"])
    strategy = record.about.get("search", {}).get("strategy", "grid")
    if strategy != "grid":
        stopped = f", {record.stopped} were stopped earlier" if record.stopped else ""
        sentences.append(
            f"The search ({strategy}) trained {runs} of {planned} runs to the end{stopped}. It prefers promising "
            "settings, so the effects of settings are those among the runs that it chose."
        )
    elif len(record.runs) < record.planned:
        unfinished = f"{record.planned - len(record.runs)} of {record.planned}"
        sentences.append(f"{unfinished} runs are not finished; this report covers the finished ones.")
    if not record.forecasts.tests and record.detection is None:
        sentences.append("The winner has not been tested on the test span yet, so it is not compared with baselines.")
    if len(set(record.runs["seed"])) == 1:
        sentences.append(
            "One seed was trained: the spread between seeds is unknown (training.seeds: [0, 1, 2] shows it)."
        )
    if len(record.axes) < 2:
        sentences.append("Fewer than two settings were varied, so nothing can be said about their interaction.")
    if runs < MIN_RUNS_FOR_IMPORTANCE:
        plural = "s" if runs > 1 else ""
        sentences.append(f"With {runs} finished run{plural} the importance of settings cannot be estimated.")
    return sentences


def _routes_with_test_errors(record: SweepRecord, by_series: pd.DataFrame) -> pd.DataFrame:
    """Return the model of each series with its validation error and, where it was tested, its test error."""
    if not len(record.routes):
        return record.routes
    errors = by_series if len(by_series) else pd.DataFrame(columns=["series", "mae", "mase"])
    return record.routes.merge(errors[["series", "mae", "mase"]], on="series", how="left")
