"""The verdict of a sweep in plain sentences, made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr

from gridcast.config.selection_metrics import DETECTION_METRICS
from gridcast.evaluation import significance
from gridcast.reporting import words
from gridcast.runtime.detector import MINIMUM
from gridcast.sweep import ensemble


@dataclass(frozen=True)
class Standing:
    """The place of the best run among the others.

    The winner's `configuration` has this `mean` over its `replicates` runs. `relations` says for each compared
    configuration how it stands to the best, see `significance.compare_with_best`; `unit` is what they are:
    `configuration`, or `run` where these have too few seeds. `simplest` names the simplest of those that cannot be told
    apart from it.
    """

    winner: str
    metric: str
    value: float
    configuration: str
    mean: float
    replicates: int
    runs: int
    planned: int
    failed: int
    relations: Mapping[str, str]
    unit: str
    simplest: str
    compared_over: str
    relevant: float


def standing_sentences(standing: Standing) -> list[str]:
    """State how many runs finished, which one is best, and how other configurations stand to the best one."""
    finished = (
        f"{standing.runs} of {standing.planned} runs finished"
        if standing.runs < standing.planned
        else f"All {standing.planned} runs finished"
    )
    failed = f", {standing.failed} failed" if standing.failed else ""
    metric = words.metric_name(standing.metric)
    best, winner = f"The best by {metric} is", f"{standing.winner} ({standing.value:.4g})"
    if standing.replicates > 1:
        best = (
            f"Of the configurations with {standing.replicates} runs the best by mean {metric} is "
            f"{standing.configuration} ({standing.mean:.4g}), and its best run is"
        )
    sentences = [f"{finished}{failed}. {best} {winner}."]
    relations = list(standing.relations.values())
    others = len(relations) - 1
    if others < 1:
        return sentences
    worse, tied = relations.count("worse"), relations.count("tied")
    alike = others - worse
    if not alike:
        subject = f"all {others} other {standing.unit}s" if others > 1 else f"the other {standing.unit}"
        sentences.append(f"By {metric} it is shown to be ahead of {subject} ({standing.compared_over}).")
        return sentences
    them = f"{alike} of {others} other {standing.unit}s" if others > 1 else f"the other {standing.unit}"
    text = f"It cannot be told apart from {them} ({standing.compared_over})"
    if tied:
        verb = "is" if tied == 1 else "are"
        text += f", of which {tied} {verb} tied with it within {words.share_text(standing.relevant)}"
    text += f"; the simplest of them all is {standing.simplest}" if standing.simplest else ""
    return [*sentences, f"{text}."]


def routing_sentences(routes: pd.DataFrame) -> list[str]:
    """State which model forecasts how many series; `routes` has the columns series, model and validation MAE."""
    if not len(routes):
        return []
    counts = routes["model"].value_counts()
    # One model more than the limit is named too: "1 more model" would take the same space.
    shown = len(counts) if len(counts) == words.MAX_NAMES_LISTED + 1 else words.MAX_NAMES_LISTED
    models = [f"{model} ({count})" for model, count in counts.head(shown).items()]
    models += [f"{len(counts) - shown} more models"] if len(counts) > shown else []
    sentences = [f"The {len(routes)} series are forecast by {words.join(models)}."]
    untrained = list(routes.loc[routes["validation MAE"].isna(), "series"])
    if untrained:
        sentences.append(
            f"{words.join_first(untrained)} could not be trained (too short, or every run failed): a naive rule "
            "forecasts instead, and the forecasts say so."
        )
    return sentences


def ensemble_sentences(
    members: pd.DataFrame, *, combine: str | None, winner: pd.Series, best: pd.Series, metric: str = "best_val_loss"
) -> list[str]:
    """State how an ensemble compares with the best run on the validation span.

    It is by `metric`, where that measures forecasts and both rows have it.
    `winner` and `best` are rows of runs, see `SweepRecord.leader`. Empty where there are no `members`.
    """
    if not len(members):
        return []
    is_of_forecasts = not metric.startswith("best_") and metric not in DETECTION_METRICS
    names = (*((metric,) if is_of_forecasts else ()), *ensemble.ERROR_METRICS)
    metric = next(name for name in names if np.isfinite([row.get(name, np.nan) for row in (best, winner)]).all())
    error, best_error = float(winner[metric]), float(best[metric])
    relation = (
        f"{abs(100 * (error - best_error) / best_error):.1f} % {'below' if error < best_error else 'above'}"
        if best_error
        else "against"
    )
    advice = ""
    if combine == MINIMUM:
        advice = " It raises an alarm where each of them does: fewer are false, and more faults may be missed."
    return [
        f"The winner is the {winner['name']}: its {words.metric_name(metric)} is {error:.4g}, {relation} that of the "
        f"best run alone ({best_error:.4g}; not tested).{advice}"
    ]


def closeness_sentence(measures: pd.DataFrame, winner: str) -> str:
    """State how many of the winner's forecasts came close, and those of the baseline closest by 20 %.

    `measures` is the frame of `measure_table`.
    """
    within = measures.set_index("name")[["share_excellent", "share_good", "share_acceptable"]].cumsum(axis=1)
    shares, others = within.loc[winner], within.drop(index=winner)["share_acceptable"]
    beyond = "none were" if shares.iloc[2] >= 100 else f"{100 - shares.iloc[2]:.0f} % were"
    text = (
        f"{shares.iloc[0]:.0f} % of the winner's forecasts came within 5 % of the actual value, {shares.iloc[1]:.0f} % "
        f"within 10 % and {shares.iloc[2]:.0f} % within 20 %; {beyond} further off"
    )
    if len(others):
        text += f" (of the baselines, {others.idxmax()} came closest: {others.max():.0f} % within 20 %)"
    return f"{text}."


def quantile_loss_sentence(measures: pd.DataFrame, winner: str, against: pd.DataFrame) -> str:
    """State the winner's weighted quantile loss against the best baseline that gives the same quantiles.

    `against` is the frame of `baseline_comparison.compare_baselines` by that loss.
    """
    table = measures.set_index("name")
    loss, crps = float(table["wql"][winner]), table["crps"][winner]
    text = f"Over the whole distribution, its forecasts have a weighted quantile loss of {loss:.4g}"
    text += f" (and a CRPS of {crps:.4g}, from its sample paths, in data units)" if np.isfinite(crps) else ""
    rows = against[np.isfinite(against["percent"].to_numpy(float))]
    if not len(rows):
        return f"{text}; no baseline gives the same quantiles to compare with."
    best = rows.sort_values("error", kind="stable").iloc[0]
    test = f"not tested: {best['reason']}" if best["reason"] else words.p_text(float(best["p_value"]))
    return (
        f"{text}, {words.below_or_above(float(best['percent']))} that of {best['name']} ({test}), the best baseline "
        "that gives quantiles."
    )


def coverage_sentence(intervals: pd.DataFrame, winner: str, nominal: float) -> str:
    """State the coverage of the winner's interval of `nominal`, and whether chance explains the difference.

    `intervals` is the frame of `interval_coverage`.
    """
    row = intervals[(intervals["name"] == winner) & (intervals["nominal"] == nominal)].iloc[0]
    text = f"Its {100 * nominal:g} % intervals cover {100 * row['coverage']:.0f} % of the actual values"
    if row["low"] <= 0 and row["high"] >= 1:
        return f"{text}: too few independent origins to judge that."
    if row["coverage"] < row["low"]:
        return f"{text}, fewer than chance explains: they are too narrow."
    if row["coverage"] > row["high"]:
        return f"{text}, more than chance explains: they are wide, or many values equal a bound, as zeros may."
    return f"{text}; correct intervals would cover {100 * row['low']:.0f} to {100 * row['high']:.0f} % here."


def horizon_sentence(by_step: pd.DataFrame, winner: str) -> str:
    """State the winner's error at both ends of the horizon, untested; `by_step` is the frame of `measures_by_step`."""
    rows = by_step[by_step["name"] == winner].sort_values("step")
    first, last = rows.iloc[0], rows.iloc[-1]
    mases = by_step.pivot_table(index="step", columns="name", values="mase")
    ahead = int((mases.idxmin(axis=1) == winner).sum())
    count = {0: "none", len(rows): "every one"}.get(ahead, str(ahead))
    return (
        f"The winner's MASE is {first['mase']:.3f} at the next step and {last['mase']:.3f} at step "
        f"{last['step']:.0f}; it is the lowest of all at {count} of the {len(rows)} steps (not tested)."
    )


def input_sentences(
    permuted: pd.DataFrame, attention: pd.DataFrame, *, repeats: int, relevant: float, alpha: float = 0.05
) -> list[str]:
    """State which inputs the winner relies on; `permuted` and `attention` are the frames of the explanation.

    If an input is of no use, its real order is one of the shuffled orders: so the rise of the error, the mean over
    `repeats` shuffles, is compared with their spread by Student's t. Inputs and errors that last in time may agree for
    a while by chance, so the rise must also be clear over the steps of the span (`p_value`, which old records lack).
    The larger p value counts, corrected by Holm's method for all inputs; a rise below the share `relevant` counts as
    none.
    """
    sentences = []
    constant = list(permuted.loc[permuted["rise"].isna(), "name"])
    permuted = permuted.dropna(subset=["rise"])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = permuted["rise"] / (permuted["spread"] * np.sqrt(1 + 1 / repeats))
    by_shuffles = 2 * stdtr(repeats - 1, -ratios.abs().fillna(0.0).to_numpy(float))
    over_time = permuted["p_value"].fillna(1.0).to_numpy(float) if "p_value" in permuted else 0.0
    p_values = significance.holm(np.maximum(by_shuffles, over_time))
    is_clear = (p_values <= alpha) & (permuted["rise"] >= 100 * relevant)
    clear = permuted[is_clear].sort_values("rise", ascending=False)
    inputs, lags = clear[clear["kind"] != "lag"], clear[clear["kind"] == "lag"]
    if len(inputs):
        first, others = inputs.iloc[0], inputs.iloc[1 : words.MAX_NAMES_LISTED]
        next_inputs = [f"{name} {_rise(rise)} %" for name, rise in zip(others["name"], others["rise"], strict=True)]
        past = "the past of " if first["kind"] == "target" else ""
        rest = f"; after shuffling {words.join(next_inputs)}." if next_inputs else "."
        sentences.append(
            f"After shuffling {past}{first['name']} among the windows the error is {_rise(first['rise'])} % "
            f"higher{rest}"
        )
    idle = permuted[(permuted["kind"] == "covariate") & ~permuted["name"].isin(inputs["name"])]["name"]
    if len(idle):
        sentences.append(
            f"After shuffling {words.join(list(idle))} the error is not shown to be higher by "
            f"{words.share_text(relevant)} or more."
        )
    if constant:
        sentences.append(
            f"Nothing can be said about {words.join(constant)}: every window of the validation span has the same "
            "values."
        )
    if len(lags):
        sentences.append(
            f"Of the past values, shuffling {lags.iloc[0]['name']} alone costs most here: the error is "
            f"{_rise(lags.iloc[0]['rise'])} % higher (lag 1 is the step before the forecast)."
        )
    if len(attention):
        top, uniform = attention.iloc[int(attention["share"].argmax())], 100 / len(attention)
        sentences.append(
            f"Attention is highest at lag {top['lag']:.0f} ({top['share']:.0f} %; uniform would be {uniform:.0f} %)."
        )
    return sentences


def _rise(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}"
