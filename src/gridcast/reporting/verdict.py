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
    """How the winner stands: `tied` counts configurations, itself included; `simplest` names one."""

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
    """Which settings mattered and by how much, strongest first; which made no difference."""
    found = [c for c in contrasts if c is not None]
    clear = sorted((c for c in found if c.matters), key=lambda c: -c.percent)
    sentences = [
        f"{_capital(_value(c.axis, c.best))} beat {_value(c.axis, c.worst)} by {c.percent:.1f} % ± {c.half_width:.1f} "
        f"in {_metric(metric)} ({c.pairs} matched pairs)."
        for c in clear
    ]
    idle = [_words(c.axis) for c in found if not c.matters]
    if idle:
        sentences.append(f"{_capital(_list(idle))} made no difference that could be told from chance.")
    unknown = [_words(axis) for axis, c in zip(axes, contrasts, strict=True) if c is None]
    if unknown:
        sentences.append(f"Nothing can be said yet about {_list(unknown)}: no two runs differ in it alone.")
    if not axes:
        sentences.append("The grid varies no setting, so there is nothing to say about settings.")
    return sentences


def standing_sentences(s: Standing) -> list[str]:
    """What was trained, which run won, and which others are as good."""
    counted = f"{s.runs} of {s.planned} runs finished" if s.runs < s.planned else f"All {s.planned} runs finished"
    failed = f", {s.failed} failed" if s.failed else ""
    sentences = [f"{counted}{failed}. The best is {s.winner} ({_metric(s.metric)} {s.value:.4g})."]
    if s.tied > 1:
        others = s.tied - 1
        simplest = "itself" if s.simplest == s.winner else s.simplest
        sentences.append(
            f"{others} other configuration{'s are' if others > 1 else ' is'} statistically tied with it "
            f"({s.compared_over}); the simplest of them all is {simplest}."
        )
    elif s.runs > 1 and s.tied:
        sentences.append(f"No other configuration is statistically tied with it ({s.compared_over}).")
    return sentences


def routing_sentences(routes: pd.DataFrame) -> list[str]:
    """Which models answer for how many series, where they differ; `routes` has the columns series, model and run."""
    if not len(routes):
        return []
    counts = routes["model"].value_counts()
    told = [f"{model} ({count})" for model, count in counts.head(MAX_NAMES_LISTED).items()]
    told += [f"{len(counts) - MAX_NAMES_LISTED} more kinds"] if len(counts) > MAX_NAMES_LISTED + 1 else []
    told += [f"{counts.index[-1]} ({counts.iloc[-1]})"] if len(counts) == MAX_NAMES_LISTED + 1 else []
    sentences = [f"Of {len(routes)} series, so many are answered by: {_list(told)}."]
    alone = list(routes.loc[routes["validation MAE"].isna(), "series"])
    if alone:
        others = [f"{len(alone) - MAX_NAMES_LISTED} more"] if len(alone) > MAX_NAMES_LISTED else []
        sentences.append(
            f"{_list([*alone[:MAX_NAMES_LISTED], *others])} could not be trained (too short, or every run failed): a naive rule "
            "answers instead, and the forecasts say so."
        )
    return sentences


def ensemble_sentences(members: pd.DataFrame, combine: str | None, winner: pd.Series, best: pd.Series) -> list[str]:
    """What an ensemble gains on the validation span over the best run alone; rows as `Record.leader` has them."""
    if not len(members):
        return []
    metric = next(name for name in ensemble.ERROR_METRICS if np.isfinite(best[name]))
    own, alone = float(winner[metric]), float(best[metric])
    standing = f"{abs(100 * (own / alone - 1)):.1f} % {'below' if own < alone else 'above'}" if alone else "against"
    worth = "" if own < alone else " There the best run alone is as good: leave selection.ensemble out, it is cheaper."
    if combine == MINIMUM:
        worth = " It raises an alarm where each of them does: fewer are false, and more faults may be missed."
    return [
        f"The winner is the {winner['name']}: its {_metric(metric)} is {own:.4g}, {standing} that of the best run "
        f"alone ({alone:.4g}).{worth}"
    ]


def baseline_sentences(table: pd.DataFrame, winner_mase: float) -> list[str]:
    """The winner against each baseline on the test span; `table` as `tables.against_baselines` gives it."""
    if not len(table):
        return ["The test span has not been touched yet: it will be, once, when the sweep is finished."]
    groups = {verdict: table[table["verdict"] == verdict] for verdict in ("better", "tied", "worse")}
    parts = []
    if len(groups["better"]):
        ranked = groups["better"].sort_values("percent")
        told = [
            f"{-percent:.0f} % below {name}" for name, percent in zip(ranked["name"], ranked["percent"], strict=True)
        ]
        parts.append(_list(told))
    if len(groups["tied"]):
        parts.append(f"statistically tied with {_list(list(groups['tied']['name']))}")
    if len(groups["worse"]):
        ranked = groups["worse"].sort_values("percent", ascending=False)
        told = [
            f"{percent:.0f} % above {name}" for name, percent in zip(ranked["name"], ranked["percent"], strict=True)
        ]
        parts.append(_list(told))
    return [f"On data never seen, the winner's error (MASE {winner_mase:.3f}) is {'; '.join(parts)}."]


def mase_coverage_sentences(by_series: pd.DataFrame) -> list[str]:
    """Of how many series the winner's MASE is the mean, where it is not of all; as `tables.by_series` of the winner."""
    without = [] if not len(by_series) else list(by_series.loc[~np.isfinite(by_series["mase"]), "series"])
    if not without:
        return []
    others = [f"{len(without) - MAX_NAMES_LISTED} more"] if len(without) > MAX_NAMES_LISTED else []
    return [
        f"That MASE is the mean over {len(by_series) - len(without)} of {len(by_series)} series: "
        f"{_list([*without[:MAX_NAMES_LISTED], *others])} {'has' if len(without) == 1 else 'have'} none that is finite, since "
        "nothing changed from one step to the next in training, or the forecast is out of all bounds."
    ]


def bottom_line(table: pd.DataFrame, winner_mase: float, naive: Sequence[str]) -> str:
    """One sentence that says whether the winner is worth its keep, the last value named in any case."""
    if not len(table):
        return "Whether the winner beats simple baselines is not known yet."
    ahead = table[table["mase"] <= winner_mase].sort_values("mase")
    simple = [name for name in ahead["name"] if name in naive]
    if "last value" in simple:
        return (
            "The winner does not beat the last value on data never seen: repeat that value instead, it costs nothing."
        )
    if simple:
        return f"The winner beats the last value, but not {_list(simple)}: use that instead, it costs nothing."
    if len(ahead):
        name, error = ahead.iloc[0][["name", "mase"]]
        if error == winner_mase:
            return f"The winner beats the last value and every other naive baseline; it is level with {name}."
        return (
            "The winner beats the last value and every other naive baseline, yet "
            f"{name} has the lower error (MASE {error:.3f} against {winner_mase:.3f})."
        )
    return "The winner beats the last value and every other baseline."


def closeness_sentence(tested: pd.DataFrame, winner: str) -> str:
    """How many of the winner's forecasts came close, beside the baseline closest by 20 %; as `tables.test_table`."""
    near = tested.set_index("name")[["share_excellent", "share_good", "share_acceptable"]].cumsum(axis=1)
    own, others = near.loc[winner], near.drop(index=winner)["share_acceptable"]
    beyond = "none were" if own.iloc[2] >= 100 else f"{100 - own.iloc[2]:.0f} % were"
    text = (
        f"{own.iloc[0]:.0f} % of the winner's forecasts came within 5 % of the actual value, {own.iloc[1]:.0f} % "
        f"within 10 % and {own.iloc[2]:.0f} % within 20 %; {beyond} further off"
    )
    if len(others):
        text += f" (of the baselines, {others.idxmax()} came closest: {others.max():.0f} % within 20 %)"
    return f"{text}."


def quantile_loss_sentence(tested: pd.DataFrame, winner: str) -> str:
    """The winner's weighted quantile loss against the best baseline that gives the same quantiles."""
    table = tested.set_index("name")
    losses, crps = table["wql"], table["crps"][winner]
    own, others = float(losses[winner]), losses.drop(winner).dropna()
    text = f"As a whole distribution, its forecasts have a weighted quantile loss of {own:.4g}"
    text += f" (and a CRPS of {crps:.4g}, from its sample paths, in data units)" if np.isfinite(crps) else ""
    if not len(others):
        return f"{text}; no baseline gives the same quantiles to compare with."
    best = float(others.min())
    percent = 100 * (own / best - 1) if best else float("nan")
    standing = f"{abs(percent):.0f} % {'below' if percent < 0 else 'above'}"
    return f"{text}, {standing} that of {others.idxmin()}, the best baseline that gives quantiles ({best:.4g})."


def coverage_sentence(intervals: pd.DataFrame, winner: str, nominal: float) -> str:
    """What the winner's interval of `nominal` holds, and whether chance explains it; as `quantiles.intervals`."""
    row = intervals[(intervals["name"] == winner) & (intervals["nominal"] == nominal)].iloc[0]
    text = f"Its {100 * nominal:g} % intervals cover {100 * row['coverage']:.0f} % of the actual values"
    if row["coverage"] < row["low"]:
        return f"{text}, fewer than chance explains: they are too narrow."
    if row["coverage"] > row["high"]:
        return (
            f"{text}, more than chance explains: they are wide, or many values are equal to a bound, as zeros may be."
        )
    return f"{text}; right ones would cover {100 * row['low']:.0f} to {100 * row['high']:.0f} % here."


def horizon_sentence(by_step: pd.DataFrame, winner: str) -> str:
    """How the winner's error grows over the horizon; as `tables.by_step`."""
    own = by_step[by_step["name"] == winner].sort_values("step")
    first, last = own.iloc[0], own.iloc[-1]
    better = by_step.pivot_table(index="step", columns="name", values="mase")
    ahead = int((better.idxmin(axis=1) == winner).sum())
    moved = "grows" if last["mase"] > first["mase"] else "goes"
    where = {0: "none", len(own): "every one"}.get(ahead, str(ahead))
    return (
        f"The winner's error {moved} from MASE {first['mase']:.3f} at the next step to {last['mase']:.3f} at step "
        f"{last['step']:.0f}; it is the lowest of all at {where} of the {len(own)} steps."
    )


def input_sentences(permuted: pd.DataFrame, attention: pd.DataFrame) -> list[str]:
    """What the winner leans on; frames as `importance.permutation` and `importance.attention` give them."""
    sentences = []
    same = list(permuted.loc[permuted["rise"].isna(), "name"])
    permuted = permuted.dropna(subset=["rise"])
    clear = permuted[permuted["rise"] > 2 * permuted["spread"]].sort_values("rise", ascending=False)
    whole, lags = clear[clear["kind"] != "lag"], clear[clear["kind"] == "lag"]
    if len(whole):
        first, others = whole.iloc[0], whole.iloc[1:MAX_NAMES_LISTED]
        told = [f"{name} ({_rise(rise)} %)" for name, rise in zip(others["name"], others["rise"], strict=True)]
        past = "the past of " if first["kind"] == "target" else ""
        then = f"; then {_list(told)}." if told else "."
        most, rise = _capital(past + first["name"]), first["rise"]
        sentences.append(f"{most} mattered most: without it the error would be {_rise(rise)} % higher{then}")
    idle = permuted[(permuted["kind"] == "covariate") & ~permuted["name"].isin(whole["name"])]["name"]
    if len(idle):
        sentences.append(f"{_capital(_list(list(idle)))} made no difference that could be told from chance.")
    if same:
        sentences.append(f"Of {_list(same)} nothing can be told: every window of the validation span reads the same.")
    if len(lags):
        sentences.append(
            f"Of the past values, {lags.iloc[0]['name']} mattered most ({_rise(lags.iloc[0]['rise'])} %; lag 1 is the "
            "step before the forecast)."
        )
    if len(attention):
        top, even = attention.iloc[int(attention["share"].argmax())], 100 / len(attention)
        sentences.append(
            f"Attention looks most at lag {top['lag']:.0f}: {top['share']:.0f} % of it, where {even:.0f} % would be "
            "even."
        )
    return sentences


def _rise(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words(axis: str) -> str:
    return axis.replace("_", " ")


def _metric(metric: str) -> str:
    names = {"best_val_loss": "validation loss", "best_val_mae": "validation MAE"}
    names |= {"val_faults_missed": "share of faults missed", "val_false_alarms_per_day": "false alarms a day"}
    return names.get(metric, "weighted quantile loss on validation")


def _value(axis: str, value: str) -> str:
    if value.lower() in ("true", "false"):
        return _words(axis) if value.lower() == "true" else f"no {_words(axis)}"
    if axis in ("layer", "loss", "optimizer", "likelihood"):
        return value
    if axis in ("units", "layers"):
        return f"{value} {axis.removesuffix('s') if value == '1' else axis}"
    return f"{_words(axis)} {value}"
