"""The verdict of a sweep in plain sentences, made from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.reporting.setting_effects import Contrast
from gridcast.runtime.detector import MINIMUM
from gridcast.sweep import ensemble

MAX_NAMES_LISTED = 4


@dataclass(frozen=True)
class Standing:
    """The place of the winner: `tied` counts configurations, itself included; `simplest` names one."""

    winner: str
    metric: str
    value: float
    runs: int
    planned: int
    failed: int
    tied: int
    simplest: str
    compared_over: str


def setting_sentences(contrasts: Sequence[Contrast | None], axes: Sequence[str], metric: str) -> list[str]:
    """State which settings mattered and by how much, strongest first, and which made no difference."""
    compared = [contrast for contrast in contrasts if contrast is not None]
    clear = sorted((contrast for contrast in compared if contrast.matters), key=lambda contrast: -contrast.percent)
    sentences = [
        f"{_capitalized(_setting(c.axis, c.best))} beat {_setting(c.axis, c.worst)} by {c.percent:.1f} % ± "
        f"{c.half_width:.1f} in {_metric_name(metric)} ({c.pairs} matched pairs)."
        for c in clear
    ]
    idle = [_axis_name(contrast.axis) for contrast in compared if not contrast.matters]
    if idle:
        sentences.append(f"{_capitalized(_join(idle))} made no difference that is distinguishable from chance.")
    unpaired = [_axis_name(axis) for axis, contrast in zip(axes, contrasts, strict=True) if contrast is None]
    if unpaired:
        sentences.append(f"Nothing can be said yet about {_join(unpaired)}: no two runs differ in it alone.")
    if not axes:
        sentences.append("The grid varies no setting, so there is nothing to say about settings.")
    return sentences


def standing_sentences(standing: Standing) -> list[str]:
    """State how many runs finished, which one is best, and how many configurations are tied with it."""
    finished = (
        f"{standing.runs} of {standing.planned} runs finished"
        if standing.runs < standing.planned
        else f"All {standing.planned} runs finished"
    )
    failed = f", {standing.failed} failed" if standing.failed else ""
    sentences = [
        f"{finished}{failed}. The best is {standing.winner} ({_metric_name(standing.metric)} {standing.value:.4g})."
    ]
    if standing.tied > 1:
        others = standing.tied - 1
        simplest = "itself" if standing.simplest == standing.winner else standing.simplest
        sentences.append(
            f"{others} other configuration{'s are' if others > 1 else ' is'} statistically tied with it "
            f"({standing.compared_over}); the simplest of them all is {simplest}."
        )
    elif standing.runs > 1 and standing.tied:
        sentences.append(f"No other configuration is statistically tied with it ({standing.compared_over}).")
    return sentences


def routing_sentences(routes: pd.DataFrame) -> list[str]:
    """State which model forecasts how many series; `routes` has the columns series, model and validation MAE."""
    if not len(routes):
        return []
    counts = routes["model"].value_counts()
    # One model more than the limit is named too: "1 more model" would take the same space.
    shown = len(counts) if len(counts) == MAX_NAMES_LISTED + 1 else MAX_NAMES_LISTED
    models = [f"{model} ({count})" for model, count in counts.head(shown).items()]
    models += [f"{len(counts) - shown} more models"] if len(counts) > shown else []
    sentences = [f"The {len(routes)} series are forecast by {_join(models)}."]
    untrained = list(routes.loc[routes["validation MAE"].isna(), "series"])
    if untrained:
        sentences.append(
            f"{_join_first(untrained)} could not be trained (too short, or every run failed): a naive rule forecasts "
            "instead, and the forecasts say so."
        )
    return sentences


def ensemble_sentences(members: pd.DataFrame, *, combine: str | None, winner: pd.Series, best: pd.Series) -> list[str]:
    """State how an ensemble compares with the best run on the validation span.

    `winner` and `best` are rows of runs, see `SweepRecord.leader`. Empty where there are no `members`.
    """
    if not len(members):
        return []
    metric = next(name for name in ensemble.ERROR_METRICS if np.isfinite(best[name]) and np.isfinite(winner[name]))
    error, best_error = float(winner[metric]), float(best[metric])
    relation = (
        f"{abs(100 * (error / best_error - 1)):.1f} % {'below' if error < best_error else 'above'}"
        if best_error
        else "against"
    )
    advice = "" if error < best_error else " The best run alone is as good there: selection.ensemble only adds cost."
    if combine == MINIMUM:
        advice = " It raises an alarm where each of them does: fewer are false, and more faults may be missed."
    return [
        f"The winner is the {winner['name']}: its {_metric_name(metric)} is {error:.4g}, {relation} that of the best "
        f"run alone ({best_error:.4g}).{advice}"
    ]


def baseline_sentences(against: pd.DataFrame, winner_mase: float) -> list[str]:
    """State the winner's error against each baseline; `against` is the frame of `against_baselines`."""
    if not len(against):
        return ["This sweep has not used the test span yet: its winner is tested when all runs are finished."]
    better, tied, worse = (against[against["verdict"] == verdict] for verdict in ("better", "tied", "worse"))
    parts = []
    if len(better):
        ranked = better.sort_values("percent")
        margins = zip(ranked["name"], ranked["percent"], strict=True)
        parts.append(_join([f"{-percent:.0f} % below {name}" for name, percent in margins]))
    if len(tied):
        parts.append(f"statistically tied with {_join(list(tied['name']))}")
    if len(worse):
        ranked = worse.sort_values("percent", ascending=False)
        margins = zip(ranked["name"], ranked["percent"], strict=True)
        parts.append(_join([f"{percent:.0f} % above {name}" for name, percent in margins]))
    return [f"On unseen data, the winner's error (MASE {winner_mase:.3f}) is {'; '.join(parts)}."]


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
        f"That MASE is the mean over {len(by_series) - len(without)} of {len(by_series)} series: "
        f"{_join_first(without)} {'has' if len(without) == 1 else 'have'} no finite MASE, because nothing changed from "
        "one step to the next in training, or because the forecast diverged."
    ]


def bottom_line(against: pd.DataFrame, winner_mase: float, naive: Sequence[str]) -> str:
    """State in one sentence whether the winner is worth using; the last value is always named."""
    if not len(against):
        return "Whether the winner beats simple baselines is not known yet."
    ahead = against[against["mase"] <= winner_mase].sort_values("mase")
    naive_ahead = [name for name in ahead["name"] if name in naive]
    if "last value" in naive_ahead:
        return "The winner does not beat the last value on unseen data: repeat that value instead, it costs nothing."
    if naive_ahead:
        return f"The winner beats the last value, but not {_join(naive_ahead)}: use that instead, it costs nothing."
    if len(ahead):
        name, error = ahead.iloc[0][["name", "mase"]]
        if error == winner_mase:
            return f"The winner beats the last value and every other naive baseline; it is level with {name}."
        return (
            "The winner beats the last value and every other naive baseline, yet "
            f"{name} has the lower error (MASE {error:.3f} against {winner_mase:.3f})."
        )
    return "The winner beats the last value and every other baseline."


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


def quantile_loss_sentence(measures: pd.DataFrame, winner: str) -> str:
    """State the winner's weighted quantile loss against the best baseline that gives the same quantiles."""
    table = measures.set_index("name")
    losses, crps = table["wql"], table["crps"][winner]
    loss, others = float(losses[winner]), losses.drop(winner).dropna()
    text = f"Over the whole distribution, its forecasts have a weighted quantile loss of {loss:.4g}"
    text += f" (and a CRPS of {crps:.4g}, from its sample paths, in data units)" if np.isfinite(crps) else ""
    if not len(others):
        return f"{text}; no baseline gives the same quantiles to compare with."
    best = float(others.min())
    percent = 100 * (loss / best - 1) if best else float("nan")
    relation = f"{abs(percent):.0f} % {'below' if percent < 0 else 'above'}"
    return f"{text}, {relation} that of {others.idxmin()}, the best baseline that gives quantiles ({best:.4g})."


def coverage_sentence(intervals: pd.DataFrame, winner: str, nominal: float) -> str:
    """State the coverage of the winner's interval of `nominal`, and whether chance explains the difference.

    `intervals` is the frame of `interval_coverage`.
    """
    row = intervals[(intervals["name"] == winner) & (intervals["nominal"] == nominal)].iloc[0]
    text = f"Its {100 * nominal:g} % intervals cover {100 * row['coverage']:.0f} % of the actual values"
    if row["coverage"] < row["low"]:
        return f"{text}, fewer than chance explains: they are too narrow."
    if row["coverage"] > row["high"]:
        return f"{text}, more than chance explains: they are wide, or many values equal a bound, as zeros may."
    return f"{text}; correct intervals would cover {100 * row['low']:.0f} to {100 * row['high']:.0f} % here."


def horizon_sentence(by_step: pd.DataFrame, winner: str) -> str:
    """State how the winner's error changes over the horizon; `by_step` is the frame of `measures_by_step`."""
    rows = by_step[by_step["name"] == winner].sort_values("step")
    first, last = rows.iloc[0], rows.iloc[-1]
    mases = by_step.pivot_table(index="step", columns="name", values="mase")
    ahead = int((mases.idxmin(axis=1) == winner).sum())
    verb = "grows" if last["mase"] > first["mase"] else "goes"
    count = {0: "none", len(rows): "every one"}.get(ahead, str(ahead))
    return (
        f"The winner's error {verb} from MASE {first['mase']:.3f} at the next step to {last['mase']:.3f} at step "
        f"{last['step']:.0f}; it is the lowest of all at {count} of the {len(rows)} steps."
    )


def input_sentences(permuted: pd.DataFrame, attention: pd.DataFrame) -> list[str]:
    """State which inputs the winner relies on; `permuted` and `attention` are the frames of the explanation."""
    sentences = []
    constant = list(permuted.loc[permuted["rise"].isna(), "name"])
    permuted = permuted.dropna(subset=["rise"])
    clear = permuted[permuted["rise"] > 2 * permuted["spread"]].sort_values("rise", ascending=False)
    inputs, lags = clear[clear["kind"] != "lag"], clear[clear["kind"] == "lag"]
    if len(inputs):
        first, others = inputs.iloc[0], inputs.iloc[1:MAX_NAMES_LISTED]
        next_inputs = [f"{name} ({_rise(rise)} %)" for name, rise in zip(others["name"], others["rise"], strict=True)]
        past = "the past of " if first["kind"] == "target" else ""
        rest = f"; then {_join(next_inputs)}." if next_inputs else "."
        sentences.append(
            f"{_capitalized(past + first['name'])} mattered most: without it the error would be {_rise(first['rise'])} "
            f"% higher{rest}"
        )
    idle = permuted[(permuted["kind"] == "covariate") & ~permuted["name"].isin(inputs["name"])]["name"]
    if len(idle):
        sentences.append(f"{_capitalized(_join(list(idle)))} made no difference that is distinguishable from chance.")
    if constant:
        sentences.append(
            f"Nothing can be said about {_join(constant)}: every window of the validation span has the same values."
        )
    if len(lags):
        sentences.append(
            f"Of the past values, {lags.iloc[0]['name']} mattered most ({_rise(lags.iloc[0]['rise'])} %; lag 1 is the "
            "step before the forecast)."
        )
    if len(attention):
        top, uniform = attention.iloc[int(attention["share"].argmax())], 100 / len(attention)
        sentences.append(
            f"Attention is highest at lag {top['lag']:.0f} ({top['share']:.0f} %; uniform would be {uniform:.0f} %)."
        )
    return sentences


def _rise(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}"


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _join_first(names: list[str]) -> str:
    """Return the first names, and the number of others where there are more than MAX_NAMES_LISTED."""
    others = [f"{len(names) - MAX_NAMES_LISTED} more"] if len(names) > MAX_NAMES_LISTED else []
    return _join([*names[:MAX_NAMES_LISTED], *others])


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _axis_name(axis: str) -> str:
    return axis.replace("_", " ")


def _metric_name(metric: str) -> str:
    names = {"best_val_loss": "validation loss", "best_val_mae": "validation MAE"}
    names |= {
        "val_online_faults_missed": "share of faults missed",
        "val_online_false_alarms_per_day": "false alarms a day",
        "val_faults_missed": "share of faults missed in hindsight",
        "val_false_alarms_per_day": "false alarms a day in hindsight",
    }
    return names.get(metric, "weighted quantile loss on validation")


def _setting(axis: str, value: str) -> str:
    """Return the value of a setting in words, such as `64 units`, `no attention`, `dropout 0.2`."""
    if value.lower() in ("true", "false"):
        return _axis_name(axis) if value.lower() == "true" else f"no {_axis_name(axis)}"
    if axis in ("layer", "loss", "optimizer", "likelihood"):
        return value
    if axis in ("units", "layers"):
        return f"{value} {axis.removesuffix('s') if value == '1' else axis}"
    return f"{_axis_name(axis)} {value}"
