"""Sentences on the winner against the baselines, each of which says what the tests below it show and no more."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.evaluation.origin_losses import MASE, PER_SERIES, WQL, Measure
from gridcast.reporting.baseline_comparison import BETTER, TIED, UNCLEAR, UNTESTED, WORSE, SeriesSummary
from gridcast.reporting.words import below_or_above, join, join_first, p_text, share_text

VERDICTS = (BETTER, UNCLEAR, TIED, WORSE, UNTESTED)
LAST_VALUE = "last value"
NOT_TESTED_YET = "This sweep has not used the test span yet: its winner is tested when all runs are finished."


@dataclass(frozen=True)
class BaselineStanding:
    """The winner on the test span, for its sentences.

    `against` is the frame of `baseline_comparison.compare_baselines` by `measure`, empty while the test span is
    untouched; `values` are the measures of each forecaster by name, `summary` and `disagreements` see
    `baseline_comparison`. `relevant` is the share below which a difference counts as none. `failed` are the names of
    baselines without a result.
    """

    against: pd.DataFrame
    measure: Measure
    winner: str
    values: Mapping[str, Mapping[Hashable, Any]]
    summary: SeriesSummary | None
    disagreements: Mapping[str, Sequence[str]]
    relevant: float
    failed: Sequence[str] = ()


def best_naive(against: pd.DataFrame, naive: Sequence[str]) -> str | None:
    """Return the naive baseline with the lowest error; None where none was tested."""
    rows = against[against["name"].isin(list(naive)) & np.isfinite(against["error"].to_numpy(float))]
    return None if not len(rows) else str(rows.sort_values("error", kind="stable")["name"].iloc[0])


def baseline_sentences(standing: BaselineStanding) -> list[str]:
    """State the winner's error against each baseline, its MASE, the series behind it and where measures disagree."""
    against, measure = standing.against, standing.measure
    if not standing.values:
        return [NOT_TESTED_YET]
    value = standing.values[standing.winner][measure.name]
    if not len(against):
        return [f"On unseen data the winner's {measure.title} is {value:.4g}; no baseline gives the same to compare."]
    tested = int(against["p_value"].notna().sum())
    note = ""
    if tested:
        correction = f", corrected for {tested} comparisons" if tested > 1 else ""
        note = f" p values: Diebold-Mariano over {against['origins'].max()} origins{correction}."
    return [
        f"On unseen data, by {measure.title} ({value:.4g}), the winner {'; '.join(_phrases(standing))}.{note}",
        *_mase_sentences(standing),
        *_series_sentences(standing),
        *_disagreement_sentences(standing),
    ]


def _phrases(standing: BaselineStanding) -> list[str]:
    """Return what the winner is to the baselines of each verdict, as `is 12 % below ETS (p 0.01)`."""
    ranked = standing.against.sort_values("percent", kind="stable").to_dict("records")
    rows = {verdict: [row for row in ranked if row["verdict"] == verdict] for verdict in VERDICTS}
    with_p = {
        verdict: [f"{below_or_above(row['percent'])} {row['name']} ({p_text(row['p_value'])})" for row in rows[verdict]]
        for verdict in (BETTER, WORSE)
    }
    unclear = [f"{row['name']} ({row['percent']:+.1f} %, {p_text(row['p_value'])})" for row in rows[UNCLEAR]]
    tied = [f"{row['name']} ({row['percent']:+.1f} %)" for row in rows[TIED]]
    phrases = [
        f"is {join(with_p[BETTER])}" if with_p[BETTER] else "",
        f"cannot be told apart from {join(unclear)}" if unclear else "",
        f"is tied with {join(tied)} within {share_text(standing.relevant)}" if tied else "",
        f"is {join(with_p[WORSE][::-1])}" if with_p[WORSE] else "",
    ]
    for reason in dict.fromkeys(str(row["reason"]) for row in rows[UNTESTED]):
        untested = [
            f"{below_or_above(row['percent'])} {row['name']}" for row in rows[UNTESTED] if row["reason"] == reason
        ]
        phrases.append(f"is {join(untested)}, not tested: {reason}")
    return [phrase for phrase in phrases if phrase]


def _mase_sentences(standing: BaselineStanding) -> list[str]:
    """State the MASE beside another measure, without a test."""
    reference = standing.summary and standing.summary.reference
    if standing.measure == MASE:
        return []
    text = f"Its MASE is {standing.values[standing.winner]['mase']:.3f}"
    return [f"{text} ({reference}: {standing.values[reference]['mase']:.3f})." if reference else f"{text}."]


def _series_sentences(standing: BaselineStanding) -> list[str]:
    """State the median over series and the share of them won, and which series decide the mean where few do."""
    summary = standing.summary
    if summary is None or summary.series < 2:
        return []
    sentences = []
    title = standing.measure.title
    if standing.measure.name in PER_SERIES:
        text = f"The {title} is a mean over {summary.series} series; the winner's median is {summary.winner_median:.4g}"
        ahead = "it is ahead"
    else:
        text, ahead = f"The {title} is over {summary.series} series", "the winner is ahead"
    won = f", and {ahead} of {summary.reference} in {summary.won} of them" if summary.reference else ""
    sentences.append(f"{text}{won}.")
    if summary.deciding:
        one = len(summary.deciding) == 1
        names = join_first(list(summary.deciding))
        text = f"{names} alone {'makes' if one else 'make'} up {100 * summary.share:.0f} % of the winner's {title}"
        if np.isfinite(summary.percent_without) and summary.reference:
            text += (
                f": without {'it' if one else 'them'} the winner is {below_or_above(summary.percent_without)} "
                f"{summary.reference}"
            )
        sentences.append(f"{text}.")
    return sentences


def _disagreement_sentences(standing: BaselineStanding) -> list[str]:
    """State by which other measures a baseline and the winner change places."""
    ahead: dict[tuple[str, bool], list[str]] = {}
    values, name = standing.values, standing.measure.name
    for baseline, titles in standing.disagreements.items():
        winner_leads = values[standing.winner][name] < values[baseline][name]
        ahead.setdefault((join(list(titles)), winner_leads), []).append(baseline)
    return [
        f"By {titles}, {_are(join_first(names), len(names))} ahead of the winner instead (not tested)."
        if winner_leads
        else f"By {titles}, the winner is ahead of {join_first(names)} instead (not tested)."
        for (titles, winner_leads), names in ahead.items()
    ]


def _are(names: str, count: int) -> str:
    return f"{names} {'is' if count == 1 else 'are'}"


def bottom_line(standing: BaselineStanding, naive: Sequence[str]) -> str:
    """State in one sentence whether the winner is worth using, as the tests show; the last value is named first."""
    against = standing.against
    rows = {row["name"]: row for row in against.to_dict("records")}
    ours = [name for name in naive if name in rows]
    if not ours:
        return "Whether the winner beats simple baselines is not known yet."
    by = f"By {standing.measure.title}"
    last = LAST_VALUE if LAST_VALUE in ours else ours[0]
    if rows[last]["verdict"] != BETTER:
        return f"{by}, {_not_ahead(rows[last], standing.relevant)}"
    open_naive = [name for name in ours if rows[name]["verdict"] != BETTER]
    if open_naive:
        worse = [name for name in open_naive if rows[name]["verdict"] == WORSE]
        rest = [name for name in open_naive if name not in worse]
        phrases = [f"is worse than {join(worse)}: use that instead, it costs nothing"] if worse else []
        phrases = [f"is not shown to beat {join(rest)}", *phrases] if rest else phrases
        return f"{by}, the winner beats {_the(last)}, but {' and '.join(phrases)}."
    others = [name for name in rows if name not in ours]
    worse = [name for name in others if rows[name]["verdict"] == WORSE]
    unshown = [name for name in others if rows[name]["verdict"] not in (BETTER, WORSE)]
    every = "every naive baseline" if len(ours) > 1 else _the(last)
    if standing.measure == WQL and len(ours) > 1:
        every += " that gives quantiles"
    if len(ours) > 1:
        every += _except([name for name in standing.failed if name in naive])
    if worse:
        return f"{by}, the winner beats {every}, yet {join(worse)} {'is' if len(worse) == 1 else 'are'} better."
    if unshown:
        return f"{by}, the winner beats {every}; it is not shown to beat {join(unshown)}."
    if others:
        scope = " that gives quantiles" if standing.measure == WQL else ", naive or not"
        return f"{by}, the winner beats every baseline{scope}{_except(standing.failed)}."
    return f"{by}, the winner beats {every}."


def _not_ahead(row: Mapping[Hashable, Any], relevant: float) -> str:
    """Return the headline where the baseline of `row` is not shown to be beaten."""
    name, relation = _the(str(row["name"])), below_or_above(float(row["percent"]))
    if row["verdict"] == WORSE:
        return f"the winner is {relation} {name} on unseen data: use that instead, it costs nothing."
    if row["verdict"] == TIED:
        return f"the winner is tied with {name} within {share_text(relevant)}: that costs nothing."
    if row["verdict"] == UNTESTED:
        return f"the winner is {relation} {name} on unseen data, which is not tested: {row['reason']}."
    return (
        f"the winner cannot be told apart from {name} on unseen data ({row['percent']:+.1f} %, "
        f"{p_text(float(row['p_value']))}), which costs nothing."
    )


def _except(failed: Sequence[str]) -> str:
    """Return the clause that takes baselines without a result out of a claim about all of them."""
    return f", except {join_first([_the(name) for name in failed])}, which failed" if failed else ""


def _the(name: str) -> str:
    return f"the {name}" if name in (LAST_VALUE, "training mean", "training median") else name


def failed_baseline_sentences(failures: pd.DataFrame) -> list[str]:
    """State which baselines failed, and why: nothing was shown about them. `failures` has the columns name, reason."""
    return [
        f"The winner could not be compared with {name}, which failed: {reason.rstrip('.')}."
        for name, reason in zip(failures["name"], failures["reason"], strict=True)
    ]


def mase_coverage_sentences(by_series: pd.DataFrame) -> list[str]:
    """State over how many series the winner's MASE is the mean, where it is not all of them.

    `by_series` is the winner's frame of `measures_by_series`.
    """
    without = [] if not len(by_series) else list(by_series.loc[~np.isfinite(by_series["mase"]), "series"])
    if not without:
        return []
    return [
        f"The MASE is the mean over {len(by_series) - len(without)} of {len(by_series)} series: "
        f"{join_first(without)} {'has' if len(without) == 1 else 'have'} no finite MASE, because nothing changed from "
        "one step to the next in training, or because the forecast diverged."
    ]
