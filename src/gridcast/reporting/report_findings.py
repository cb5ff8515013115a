"""The findings of a report: every number and sentence, computed from the record of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.evaluation import significance
from gridcast.evaluation.origin_losses import MASE, WQL, Measure, measure_of, value_of
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.reporting import (
    anomaly_chapter,
    baseline_comparison,
    baseline_sentences,
    continuous_axes,
    forecast_chapters,
    forecast_tables,
    interval_calibration,
    leaderboard,
    selection_sentences,
    setting_contrasts,
    setting_effects,
    setting_sentences,
    verdict,
)
from gridcast.reporting.anomaly_chapter import AnomalyChapter
from gridcast.reporting.baseline_sentences import BaselineStanding
from gridcast.reporting.forecast_chapters import ForecastChapters
from gridcast.reporting.record import SweepRecord

MIN_RUNS_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class GridEffects:
    """Frames about the settings, see `setting_effects`: by pair of axes and, of the Pareto `fronts`, by cost.

    `contrasts` is the frame of `setting_contrasts`.
    """

    contrasts: pd.DataFrame
    main: pd.DataFrame
    importance: pd.DataFrame
    pivots: dict[tuple[str, str], pd.DataFrame]
    strengths: dict[tuple[str, str], float]
    fronts: dict[str, np.ndarray]


@dataclass(frozen=True)
class ReportFindings:
    """Every number of the report, before anything is drawn or written.

    `measures` of winner and baselines, the winner's `by_series`, and the comparison `against` each baseline by
    `measure` are empty while the test span is untouched. `relations` says how configurations stand to the best one,
    compared as `compared_over` says, see `significance.compare_with_best`. `limitations` say what this sweep cannot
    show, and why.
    """

    leaders: pd.DataFrame
    configurations: pd.DataFrame
    effects: GridEffects
    relations: dict[str, str]
    compared_over: str
    measures: pd.DataFrame
    by_series: pd.DataFrame
    routes: pd.DataFrame
    against: pd.DataFrame
    measure: Measure
    sentences: list[str]
    bottom_line: str
    limitations: list[str]
    last_epoch_sentences: list[str]
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
    relations, compared_over = _relations_to_best(record)
    winner, overlap = str(record.leader["name"]), _overlap(record)
    measures = _measures(record)
    by_series = forecast_tables.measures_by_series({winner: tests[winner]}) if tests else pd.DataFrame()
    standing = _baseline_standing(record, measures)
    anomalies = anomaly_chapter.build_chapter(record)
    chapters = forecast_chapters.build_chapters(
        record, measures=measures, by_series=by_series, overlap=overlap, relevant=record.relevant
    )
    effects = _grid_effects(record, grid_runs)
    place = _standing(
        record, runs=runs, configurations=configurations, relations=relations, compared_over=compared_over
    )
    return ReportFindings(
        leaders=leaderboard.ranked_runs(record.runs, axes, metric),
        configurations=configurations,
        effects=effects,
        relations=relations,
        compared_over=compared_over,
        measures=measures,
        by_series=by_series,
        routes=_routes_with_test_errors(record, by_series),
        against=standing.against,
        measure=standing.measure,
        sentences=[
            *verdict.standing_sentences(place),
            *selection_sentences.confirmation_sentences(record, configurations),
            *selection_sentences.last_epoch_sentences(record),
            *selection_sentences.candidate_sentences(record, standing.against),
            *verdict.routing_sentences(record.routes),
            *verdict.ensemble_sentences(
                record.members, combine=record.combine, winner=record.leader, best=record.best, metric=record.metric
            ),
            *(anomalies.sentences if anomalies else baseline_sentences.baseline_sentences(standing)),
            *baseline_sentences.failed_baseline_sentences(record.baselines.failures),
            *baseline_sentences.mase_coverage_sentences(by_series),
            *selection_sentences.refit_sentences(record),
            *selection_sentences.look_sentences(record),
            *chapters.verdict,
            *([record.promotion] if record.promotion else []),
            *_setting_sentences(record, effects, grid_runs),
        ],
        bottom_line=anomalies.bottom_line if anomalies else baseline_sentences.bottom_line(standing, NAIVE_BASELINES),
        limitations=_limitations(record),
        last_epoch_sentences=selection_sentences.last_epoch_sentences(record),
        chapters=chapters,
        anomalies=anomalies,
    )


def _measures(record: SweepRecord) -> pd.DataFrame:
    """Return the measures of the forecasters on the test span, with those of one's own that are recorded."""
    tests, own = record.forecasts.tests, record.forecasts.own_measures
    if not tests:
        return pd.DataFrame()
    measures = forecast_tables.measure_table(tests)
    names = dict.fromkeys(name for of_one in own.values() for name in of_one)
    columns = {name: [own.get(row, {}).get(name, math.nan) for row in measures["name"]] for name in names}
    return measures.assign(**columns)


def _baseline_standing(record: SweepRecord, measures: pd.DataFrame) -> BaselineStanding:
    """Return the winner beside the baselines, by the measure that corresponds to the metric of the selection."""
    tests, winner = record.forecasts.tests, str(record.leader["name"])
    levels = interval_calibration.quantile_levels(tests[winner]) if tests else ()
    log1p = bool(record.about.get("transform", {}).get("log1p"))
    measure = measure_of(record.selection_metric, set(record.runs["loss"]), levels, log1p=log1p)
    if measure == WQL and not any(interval_calibration.has_levels(tests[name], levels) for name in list(tests)[1:]):
        measure = MASE  # no baseline gives quantiles to compare with
    rows = [{str(name): value for name, value in row.items()} for row in measures.to_dict("records")]
    measures = measures.assign(**{measure.name: [value_of(measure, row) for row in rows]})
    against, summary, disagreements = pd.DataFrame(), None, {}
    if tests:
        against = baseline_comparison.compare_baselines(
            tests, winner, overlap=_overlap(record), measure=measure, relevant=record.relevant, levels=levels
        )
        reference = baseline_sentences.best_naive(against, NAIVE_BASELINES)
        summary = baseline_comparison.summarize_series(
            tests, winner, reference=reference, measure=measure, levels=levels
        )
        disagreements = baseline_comparison.lower_by_other_measures(measures, winner, measure)
    return BaselineStanding(
        against=against,
        measure=measure,
        winner=winner,
        values={str(row["name"]): row for row in measures.to_dict("records")},
        summary=summary,
        disagreements=disagreements,
        relevant=record.relevant,
        failed=list(record.baselines.failures["name"]),
    )


def _setting_sentences(record: SweepRecord, effects: GridEffects, runs: pd.DataFrame) -> list[str]:
    metric, continuous = record.metric, record.continuous_axes
    described = continuous_axes.correlation_sentences(
        continuous_axes.rank_correlations(runs, continuous, metric), metric
    )
    listed = [axis for axis in record.axes if axis not in continuous]
    if continuous and not listed:
        return described
    spread = setting_contrasts.seed_spread(record.runs, metric)
    tested = setting_sentences.setting_sentences(
        effects.contrasts, listed, metric, relevant=record.relevant, spread=spread
    )
    return [*tested, *described]


def _grid_effects(record: SweepRecord, runs: pd.DataFrame) -> GridEffects:
    """Return what the search shows of the settings; values drawn from ranges are described in bins."""
    axes, metric = record.axes, record.metric
    listed = tuple(axis for axis in axes if axis not in record.continuous_axes)
    binned = continuous_axes.in_bins(runs, record.continuous_axes)
    return GridEffects(
        contrasts=setting_contrasts.setting_contrasts(runs, listed, metric, record.relevant),
        main=setting_effects.main_effects(binned, axes, metric),
        importance=setting_effects.setting_importance(binned, axes, metric),
        pivots={
            (row_axis, column_axis): setting_effects.interaction_table(binned, row_axis, column_axis, metric=metric)
            for k, row_axis in enumerate(axes)
            for column_axis in axes[k + 1 :]
        },
        strengths=setting_effects.interaction_strength(binned, axes, metric),
        fronts={cost: leaderboard.pareto_front(runs, cost, metric) for cost in ("fit_seconds", "parameters")},
    )


def _standing(
    record: SweepRecord,
    *,
    runs: pd.DataFrame,
    configurations: pd.DataFrame,
    relations: dict[str, str],
    compared_over: str,
) -> verdict.Standing:
    """Return the place of the best run among the others, and the simplest of the configurations as good as it."""
    as_good = [configuration for configuration, relation in relations.items() if relation != "worse"]
    simplest = leaderboard.simplest_configuration(configurations, as_good) if as_good else ""
    table = configurations.set_index("configuration")
    names, own = table["name"], table.loc[table.index == record.best["configuration"]]
    return verdict.Standing(
        winner=str(record.best["name"]),
        metric=record.metric,
        value=float(record.best[record.metric]),
        configuration=str(own["name"].iloc[0]) if len(own) else "",
        mean=float(own["mean"].sum()),
        replicates=int(own["count"].sum()),
        runs=len(runs),
        planned=record.planned,
        failed=len(record.failures),
        relations=relations if record.together else {},
        unit="run" if "these runs" in compared_over else "configuration",
        simplest=str(names.get(simplest, "")),
        compared_over=compared_over,
        relevant=record.relevant,
    )


def _overlap(record: SweepRecord) -> int:
    """Return how many neighbouring origins share a step to forecast, which makes their errors dependent."""
    return math.ceil(record.about.get("horizon", 1) / record.about.get("stride", 1))


def _relations_to_best(record: SweepRecord) -> tuple[dict[str, str], str]:
    """Return how configurations stand to that of the best run, and how they were compared.

    See `significance.compare_with_best`. Over seeds, and the folds that all of them have; or, with fewer than three
    seeds, single runs over the steps of the validation span, where the metric is the loss by step. Empty where the
    best run is none of those that can be compared.
    """
    runs, metric, relevant = record.runs, record.metric, record.relevant
    columns = list(leaderboard.REPLICATED)
    cells = runs.pivot_table(index=columns, columns="configuration", values=metric)
    confirmed = runs.loc[runs["confirmation"], "configuration"].unique()
    # The leaders of a search may have different seeds: they are compared over those that all of them have.
    cells = cells[cells.columns.intersection(confirmed)].dropna() if len(confirmed) > 1 else cells.dropna(axis=1)
    seeds = cells.index.get_level_values("seed").nunique()
    best = str(record.best["configuration"]) if record.together else None
    if seeds >= significance.MIN_SEEDS and cells.shape[1] > 1:
        if best is not None and best not in cells:
            return {}, ""
        relations = significance.compare_with_best(cells, significance.crossed_mean, margin=relevant, best=best)
        text = f"paired over {seeds} seeds, 5 % with Bonferroni's correction for all pairs of {cells.shape[1]}"
        return {str(name): str(relation) for name, relation in relations.items()}, text
    # The losses by step are those that `best_val_loss` is the mean of: they say nothing about another metric.
    if not record.together or metric != "best_val_loss":
        return {}, ""
    losses = record.loss_by_origin.dropna(axis=1)
    if losses.shape[1] < 2 or len(losses) < significance.MIN_ORIGINS:
        return {}, ""
    names = runs.set_index("run_id")["configuration"]
    losses = losses.rename(columns=names.to_dict())
    losses = losses.loc[:, ~losses.columns.duplicated()]
    if losses.shape[1] < 2 or best not in losses:
        return {}, ""
    overlap = _overlap(record)
    relations = significance.compare_with_best(
        losses, lambda gap: significance.long_run_mean(gap.to_numpy(float), overlap), margin=relevant, best=best
    )
    text = (
        f"Diebold-Mariano over {len(losses)} validation steps, 5 % with Bonferroni's correction for all pairs of the "
        f"best {losses.shape[1]}; this is about these runs and these seeds"
    )
    return {str(name): str(relation) for name, relation in relations.items()}, text


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
    runs, planned = len(record.grid_runs), record.searched
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
