"""The report's chapter on anomalies: what the winner says of the test span, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gridcast.config import threshold_rules
from gridcast.evaluation.detection_table import LABELLED, METRIC_TITLES
from gridcast.models.baselines.detectors import DETECTORS
from gridcast.reporting import plot_style
from gridcast.reporting.plot_style import BLUE, GREY, INK, ORANGE, RED
from gridcast.reporting.record import SweepRecord
from gridcast.runtime import events
from gridcast.runtime.detector import ANOMALY, ENSEMBLE, MINIMUM, SCORE, THRESHOLD

TITLES = {
    "scores": "The score under its threshold",
    "contributions": "Which sensors were to blame",
    "detectors": "The winner and the baselines",
}
MAX_LINE_POINTS = 1500
"""Points of a line: of more steps, the extremes of as many stretches are drawn."""
MAX_SENSORS_DRAWN, MAX_CONTRIBUTION_ROWS, MAX_SENSORS_NAMED = 4, 40, 3
"""Sensors whose values are drawn, rows of the picture of contributions, and sensors that an event names."""
MANY_FALSE_ALARMS_PER_DAY, LOW_EVENT_RECALL = 1.0, 0.5
"""False alarms a day beyond which, and share of events found below which, a reader is told what to change."""


@dataclass(frozen=True)
class AnomalyChapter:
    """Numbers and sentences of the chapter.

    `table` is the winner's table of the test span, as `anomaly.detection.table` makes it; `values` the sensors in data
    units. `measured` has a row for each detector, the winner's first: name and every measure. `raised` are the
    winner's events: start, end (stamps of the first and the last step), steps, peak, severity, blame (text),
    right (whether it touches a labelled event; None without labels). `missed` are the labelled events that it
    did not find: start, end, steps.
    """

    winner: str
    sensors: tuple[str, ...]
    lookback: int
    kind: str
    table: pd.DataFrame
    values: pd.DataFrame
    measured: pd.DataFrame
    raised: pd.DataFrame
    missed: pd.DataFrame
    honest: str
    sentences: list[str]
    advice: list[str]

    @property
    def labelled(self) -> bool:
        """Whether some step of the test span is labelled as anomalous."""
        return LABELLED in self.table and bool(self.table[LABELLED].any())

    @property
    def shown(self) -> dict[str, str]:
        """Measures that can be told, and what they are called."""
        return {name: title for name, title in METRIC_TITLES.items() if name in self.measured}


def build_chapter(record: SweepRecord) -> AnomalyChapter | None:
    """The chapter of `record`; None where nothing detects anomalies, or the test span is untouched."""
    if not len(record.scores):
        return None
    table, chosen, winner = record.scores, record.about["anomaly"], str(record.leader["name"])
    sensors = tuple(map(str, record.about["series"]))
    contributions, score = table[list(sensors)].to_numpy(float), table[SCORE].to_numpy(float)
    threshold = table[THRESHOLD].to_numpy(float)
    found = events.find_events(score, threshold, contributions, sensors, chosen["least"], chosen["gap"])
    times = pd.DatetimeIndex(table.iloc[:, 0])
    labels = table[LABELLED].to_numpy(bool) if LABELLED in table else None
    raised = pd.DataFrame(
        [
            {
                "start": times[one.start],
                "end": times[one.end - 1],
                "steps": one.end - one.start,
                "peak": one.peak,
                "severity": one.severity,
                "blame": ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in one.blame[:MAX_SENSORS_NAMED]),
                "right": None if labels is None else bool(labels[one.start : one.end].any()),
            }
            for one in found
        ],
        columns=["start", "end", "steps", "peak", "severity", "blame", "right"],
    )
    labelled = [] if labels is None else events.spans(labels).tolist()
    missed, joined = _missed(times, labelled, found), record.joined
    measured = _measured(record.measured)
    told = {name: value for name, value in measured.iloc[0].items() if pd.notna(value)}
    return AnomalyChapter(
        winner=winner,
        sensors=sensors,
        lookback=int((record.leader if joined is None else joined.data.params)["lookback"]),
        kind=str(record.leader["detector"]) if joined is None else ENSEMBLE,
        table=table,
        values=record.values,
        measured=measured,
        raised=raised,
        missed=missed,
        honest=_honest(measured),
        sentences=[
            _standing(told, raised, len(labelled), len(missed), len(table) / record.about["per_day"]),
            _limit(threshold, chosen, record.combine),
        ],
        advice=_advice(told, raised, times[-1], chosen),
    )


def _missed(times: pd.DatetimeIndex, labelled: list[list[int]], found: Sequence[events.Event]) -> pd.DataFrame:
    alarms = np.zeros(len(times), bool)
    for one in found:
        alarms[one.start : one.end] = True
    rows = [(times[a], times[b - 1], b - a) for a, b in labelled if not alarms[a:b].any()]
    return pd.DataFrame(rows, columns=["start", "end", "steps"])


def _measured(measured: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One row per detector, the winner's first, then the best by AUC-PR."""
    frame = pd.DataFrame([{"name": name, **own} for name, own in measured.items()])
    if "auc_pr" not in frame:
        return frame
    others = frame.iloc[1:].sort_values("auc_pr", ascending=False, kind="stable")
    return pd.concat([frame.iloc[:1], others], ignore_index=True)


def _honest(measured: pd.DataFrame) -> str:
    rivals = measured[measured["name"].isin(DETECTORS)]
    if "auc_pr" not in measured or not len(rivals):
        return (
            "No step of the test span is labelled, so nobody can tell whether the winner finds anomalies better than "
            "simple detectors do."
        )
    own, best = float(measured["auc_pr"].iloc[0]), rivals.iloc[0]
    figures = f"AUC-PR {own:.3f} against {best['auc_pr']:.3f}"
    better, finds = own > best["auc_pr"], ""
    if "event_recall" in measured:
        ours, theirs = (100 * float(row["event_recall"]) for row in (measured.iloc[0], best))
        if not better or ours < theirs:
            whose = best["name"] if better else "it"
            finds = (
                f" At their thresholds the winner finds {ours:.0f} % of the labelled events, {whose} {theirs:.0f} %."
            )
    if better:
        return f"The winner tells what is anomalous better than every baseline ({figures} of {best['name']}).{finds}"
    return f"The winner does not beat {best['name']}, which needs no training ({figures}).{finds}"


def _standing(told: Mapping[Any, float], raised: pd.DataFrame, known: int, missed: int, days: float) -> str:
    alarms = f"{len(raised)} alarm{'s' * (len(raised) != 1)} in {days:.1f} days"
    if not known:
        return f"On data never seen it raised {alarms}; nothing there is labelled, so nobody can tell which were false."
    part = f"{known - missed} of {known} labelled events" if missed else "every labelled event"
    late = f", on the mean {told['delay_steps']:.1f} steps after it began" if "delay_steps" in told else ""
    false = int(raised["right"].eq(False).sum())
    return f"On data never seen it found {part}{late}; of {alarms}, {false} {'was' if false == 1 else 'were'} false."


def _limit(threshold: np.ndarray, chosen: Mapping[str, Any], combine: str | None) -> str:
    span = "the validation span" if chosen["threshold"] == "conformal" else "all before the test span"
    level = "" if chosen["level"] is None else f" at level {chosen['level']:g}"
    if chosen["threshold"] == threshold_rules.RUNNING:
        return (
            f"Its threshold is running{level}, taken at each step from all scores before it: {threshold[0]:.4g} at the "
            f"start of the test span, {threshold[-1]:.4g} at its end."
        )
    if combine == MINIMUM:
        return (
            "Its threshold is 1: a step is anomalous where each of its members scores above its own, "
            f"{chosen['threshold']}{level}, of the scores of {span}."
        )
    return f"Its threshold is {threshold[0]:.4g}: {chosen['threshold']}{level}, of the scores of {span}."


def _advice(
    told: Mapping[Any, float], raised: pd.DataFrame, last: pd.Timestamp, chosen: Mapping[str, Any]
) -> list[str]:
    """What to do, in plain words, from these figures alone."""
    found = []
    if len(raised):
        worst, latest = raised.iloc[int(raised["peak"].to_numpy().argmax())], raised.iloc[-1]
        found.append(
            f"Look first at {worst['start']:%Y-%m-%d %H:%M}, the most severe of {len(raised)} events: its score was "
            f"{worst['severity']:.1f} times the threshold, and the blame is with {worst['blame']}."
        )
        if latest["end"] == last:
            found.append(f"The last event, since {latest['start']:%Y-%m-%d %H:%M}, was still under way at the end.")
    else:
        found.append("No step stood out: there is nothing to look at in the test span.")
    if told.get("false_alarms_per_day", 0) > MANY_FALSE_ALARMS_PER_DAY:
        found.append(
            f"{told['false_alarms_per_day']:.1f} false alarms a day are many: raise anomaly.least (now "
            f"{chosen['least']}), or make the threshold stricter with anomaly.level, and look at what the validation "
            "span then says."
        )
    if told.get("event_recall", 1) < LOW_EVENT_RECALL:
        found.append(
            f"It found {100 * told['event_recall']:.0f} % of the labelled events: try more settings, other kinds of "
            "detector, or a less strict threshold, before anybody relies on it."
        )
    return found


def draw_figures(found: AnomalyChapter) -> dict[str, Figure]:
    """The pictures of the chapter by name."""
    figures = {"scores": _scores(found)}
    if len(found.sensors) > 1:
        figures["contributions"] = _contributions(found)
    if "auc_pr" in found.measured:
        figures["detectors"] = _detectors(found)
    return figures


def _scores(found: AnomalyChapter) -> Figure:
    """The score under its threshold, and the sensors to blame most, with what was found and what is labelled shaded."""
    table, times = found.table, pd.DatetimeIndex(found.table.iloc[:, 0])
    blame = table.loc[table[ANOMALY].astype(bool), list(found.sensors)].sum()
    names = list(blame.sort_values(ascending=False, kind="stable").index[:MAX_SENSORS_DRAWN])
    figure = plot_style.figure_of(13.5, 3.4 + 1.7 * len(names))
    panels = figure.subplots(1 + len(names), 1, sharex=True, height_ratios=[1.7] + [1] * len(names))
    top = panels[0]
    score = table[SCORE].to_numpy(float)
    _line(top, times, score, BLUE, "score")
    top.plot(times, table[THRESHOLD], color=RED, linewidth=1.2, linestyle="--", label="threshold")
    if np.isfinite(score).any() and np.nanmin(score) > 0:
        top.set_yscale("log")
    unit = "in thresholds of its members" if found.kind == ENSEMBLE else "errors, in usual ones"
    top.set(title="Anomaly score", ylabel=unit)
    top.margins(x=0)
    values = found.values[found.values.iloc[:, 0] >= times[0]]
    for ax, name in zip(panels[1:], names, strict=True):
        _line(ax, pd.DatetimeIndex(values.iloc[:, 0]), values[name].to_numpy(float), INK, name)
        ax.set_ylabel(plot_style.shorten(name, 16))
    step = times[1] - times[0] if len(times) > 1 else pd.Timedelta(0)
    for k, ax in enumerate(panels):
        if LABELLED in table:
            for number, (start, end) in enumerate(events.spans(table[LABELLED].to_numpy(bool)).tolist()):
                label = "labelled as anomalous" if not number and not k else None
                ax.axvspan(times[start], times[end - 1] + step, color=ORANGE, alpha=0.3, linewidth=0, label=label)
        for number, row in enumerate(found.raised.to_dict("records")):
            label = "found" if not number and not k else None
            ax.axvspan(row["start"], row["end"] + step, color=RED, alpha=0.25, linewidth=0, label=label)
    top.legend(ncols=4, loc="lower left", bbox_to_anchor=(0.2, 1.0))
    return figure


def _line(ax: Axes, times: pd.DatetimeIndex, values: np.ndarray, color: str, label: str) -> None:
    """A line that shows every extreme, however many steps there are."""
    count = -(-len(values) // MAX_LINE_POINTS)
    if count > 1:
        size = len(values) // count * count
        blocks = values[:size].reshape(-1, count)
        known = np.isfinite(blocks)
        low, high = np.min(blocks, 1, where=known, initial=np.inf), np.max(blocks, 1, where=known, initial=-np.inf)
        values = np.where(known.any(axis=1)[:, None], np.stack([low, high], axis=1), np.nan).ravel()
        times = pd.DatetimeIndex(np.repeat(times[:size:count], 2))
    ax.plot(times, values, color=color, linewidth=0.9, label=label)


def _contributions(found: AnomalyChapter) -> Figure:
    """What each sensor contributes over the test span, in units of the threshold, on a logarithmic scale."""
    table = found.table
    names = list(
        table[list(found.sensors)].mean().sort_values(ascending=False, kind="stable").index[:MAX_CONTRIBUTION_ROWS]
    )
    limits = table[THRESHOLD].to_numpy(float)
    parts = table[names].to_numpy(float).T / np.where(limits > 0, limits, 1.0)
    count = max(1, parts.shape[1] // MAX_LINE_POINTS)
    blocks = parts[:, : parts.shape[1] // count * count].reshape(len(names), -1, count)
    shown = np.max(np.where(np.isfinite(blocks), blocks, 0.0), axis=2)
    figure = plot_style.figure_of(13.5, 1.6 + 0.3 * len(names))
    ax = figure.subplots()
    times = pd.DatetimeIndex(table.iloc[:, 0])
    edges = np.append(times[: shown.shape[1] * count : count].to_numpy(), times[-1].to_datetime64())
    scale = np.log10(np.maximum(shown, 1e-3))
    drawn = ax.pcolormesh(edges, np.arange(len(names) + 1), scale, cmap="cividis", rasterized=True, vmin=-2)
    ax.set_yticks(np.arange(len(names)) + 0.5, [plot_style.shorten(name, 24) for name in names])
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set_title("Contribution of each sensor, in thresholds (powers of ten)")
    figure.colorbar(drawn, ax=ax, pad=0.01)
    return figure


def _detectors(found: AnomalyChapter) -> Figure:
    """AUC-PR and event F1 of each detector, best first."""
    ranked = found.measured.sort_values("auc_pr", kind="stable")
    figure = plot_style.figure_of(13.5, 1.4 + 0.36 * len(ranked))
    rows = np.arange(len(ranked))
    panels = figure.subplots(1, 2, sharey=True)
    for ax, name in zip(panels, ("auc_pr", "event_f1"), strict=True):
        colors = [ORANGE if one == found.winner else BLUE for one in ranked["name"]]
        shown = ranked[name].to_numpy(float) if name in ranked else np.full(len(ranked), np.nan)
        ax.barh(rows, np.nan_to_num(shown), color=colors, alpha=0.85)
        for row, value in zip(rows, shown, strict=True):
            known = np.isfinite(value)
            ax.text(value if known else 0, row, f" {value:.3f}" if known else " -", va="center", fontsize=8, color=GREY)
        ax.set(title=f"{METRIC_TITLES[name]} (higher is better)", xlim=(0, 1.08))
        ax.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, [plot_style.shorten(str(name)) for name in ranked["name"]])
    return figure


def workbook_sheets(found: AnomalyChapter | None) -> dict[str, pd.DataFrame]:
    """The tables of the chapter as sheets of the workbook, by name."""
    return {"detectors": found.measured, "events": found.raised, "missed": found.missed} if found else {}


def most_severe_events(found: AnomalyChapter | None, most: int) -> list[dict[Any, Any]]:
    """The `most` severe events, in the order of time."""
    if found is None:
        return []
    return found.raised.nlargest(most, "peak").sort_values("start").to_dict("records")
