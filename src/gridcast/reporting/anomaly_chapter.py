"""The report's chapter on anomalies: the alarms of the winner on the test span, and how they compare with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import threshold_rules
from gridcast.evaluation.detection_table import AT_ONCE, HINDSIGHT, LABELLED, METRIC_TITLES, WAIT
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.reporting.promise_sentences import promise_sentences
from gridcast.reporting.record import SweepRecord
from gridcast.runtime import events
from gridcast.runtime.detector import ENSEMBLE, MINIMUM, SCORE, THRESHOLD
from gridcast.tracking.ranking import ONLINE_PREFIX

MAX_SENSORS_NAMED = 3
"""Sensors to blame that are named for an event."""
MANY_FALSE_ALARMS_PER_DAY, LOW_EVENT_RECALL = 1.0, 0.5
"""Above this many false alarms, and below this share of events found, the report advises what to change."""


@dataclass(frozen=True)
class AnomalyChapter:
    """Numbers and sentences of the chapter.

    `table` is the winner's table of the test span, see `evaluation.detection_table`; `sensor_values` the sensors in
    data units. `measures` has a row for each detector, the winner's first: name and every measure. `wait` is how many
    steps the winner waits before it scores a step; None where version 0.1 recorded scores in hindsight. `alarms` are
    the winner's events: start, end (stamps of the first and the last step), steps, peak, severity, blame (text), right
    (whether it touches a labelled event; None without labels). `missed` are the labelled events that it did not find:
    start, end, steps.
    """

    winner: str
    sensors: tuple[str, ...]
    lookback: int
    kind: str
    wait: int | None
    table: pd.DataFrame
    sensor_values: pd.DataFrame
    measures: pd.DataFrame
    alarms: pd.DataFrame
    missed: pd.DataFrame
    bottom_line: str
    sentences: list[str]
    advice: list[str]

    @property
    def labelled(self) -> bool:
        """Whether some step of the test span is labelled as anomalous."""
        return LABELLED in self.table and bool(self.table[LABELLED].any())

    @property
    def measure_titles(self) -> dict[str, str]:
        """The titles of the measures that could be computed, by name."""
        return {name: title for name, title in METRIC_TITLES.items() if name in self.measures}


def build_chapter(record: SweepRecord) -> AnomalyChapter | None:
    """Compute the chapter of `record`; None for forecasters, and while the test span is untouched."""
    if record.detection is None:
        return None
    table, settings = record.detection.scores, record.about["anomaly"]
    sensors = tuple(map(str, record.about["series"]))
    found = events.find_events(
        table[SCORE].to_numpy(float),
        table[THRESHOLD].to_numpy(float),
        table[list(sensors)].to_numpy(float),
        sensors,
        min_steps=settings["least"],
        merge_gap=settings["gap"],
    )
    times = pd.DatetimeIndex(table.iloc[:, 0])
    labels = table[LABELLED].to_numpy(bool) if LABELLED in table else None
    labelled_spans = [] if labels is None else events.spans(labels).tolist()
    alarms, missed = _alarms(times, labels, found), _missed_events(times, labelled_spans, found)
    measures, combined = _measures(record.detection.measures), record.combined
    winner_measures = {str(name): value for name, value in measures.iloc[0].items() if pd.notna(value)}
    days = len(table) / record.about["per_day"]
    return AnomalyChapter(
        winner=str(record.leader["name"]),
        sensors=sensors,
        lookback=int((record.leader if combined is None else combined.run.data.params)["lookback"]),
        kind=ENSEMBLE if len(record.members) else record.winning_baseline or str(record.leader["detector"]),
        wait=int(winner_measures[WAIT]) if WAIT in winner_measures else None,
        table=table,
        sensor_values=record.detection.sensor_values,
        measures=measures,
        alarms=alarms,
        missed=missed,
        bottom_line=_bottom_line(measures, len(labelled_spans)),
        sentences=[
            _alarm_sentence(winner_measures, alarms, labelled=len(labelled_spans), missed=len(missed), days=days),
            *_hindsight_sentences(winner_measures, record.metric),
            _threshold_sentence(table[THRESHOLD].to_numpy(float), settings, record.combine),
            *promise_sentences(settings, record.leader),
        ],
        advice=_advice(winner_measures, alarms, last_time=times[-1], settings=settings),
    )


def event_row(times: pd.DatetimeIndex, event: events.Event) -> dict[str, Any]:
    """Return an event for tables: start, end (stamps of the first and the last step), steps, peak, severity, blame."""
    return {
        "start": times[event.start],
        "end": times[event.end - 1],
        "steps": event.end - event.start,
        "peak": event.peak,
        "severity": event.severity,
        "blame": ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in event.blame[:MAX_SENSORS_NAMED]),
    }


def _alarms(times: pd.DatetimeIndex, labels: np.ndarray | None, found: Sequence[events.Event]) -> pd.DataFrame:
    rows = [
        event_row(times, event) | {"right": None if labels is None else bool(labels[event.start : event.end].any())}
        for event in found
    ]
    return pd.DataFrame(rows, columns=["start", "end", "steps", "peak", "severity", "blame", "right"])


def _missed_events(
    times: pd.DatetimeIndex, labelled_spans: list[list[int]], found: Sequence[events.Event]
) -> pd.DataFrame:
    is_alarm = np.zeros(len(times), bool)
    for event in found:
        is_alarm[event.start : event.end] = True
    rows = [
        (times[start], times[end - 1], end - start) for start, end in labelled_spans if not is_alarm[start:end].any()
    ]
    return pd.DataFrame(rows, columns=["start", "end", "steps"])


def _measures(measures_by_name: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return one row per detector, the winner's first, then the best by AUC-PR."""
    table = pd.DataFrame([{"name": name, **measures} for name, measures in measures_by_name.items()])
    if "auc_pr" not in table:
        return table
    others = table.iloc[1:].sort_values("auc_pr", ascending=False, kind="stable")
    return pd.concat([table.iloc[:1], others], ignore_index=True)


def _bottom_line(measures: pd.DataFrame, labelled: int) -> str:
    """State how the winner's figures on the test span compare with those of simple detectors.

    The difference is described and not called better or worse: it rests on the few events that are `labelled`.
    """
    baselines = measures[measures["name"].isin(DETECTOR_BASELINES)]
    if "auc_pr" not in measures or not len(baselines):
        return (
            "No step of the test span is labelled, so it is not known whether the winner detects anomalies better than "
            "simple detectors."
        )
    winner, best = measures.iloc[0], baselines.iloc[0]
    is_above, recall = winner["auc_pr"] > best["auc_pr"], ""
    if "event_recall" in measures:
        found, found_by_best = (100 * float(row["event_recall"]) for row in (winner, best))
        if not is_above or found < found_by_best:
            recall = (
                f" At their thresholds the winner finds {found:.0f} % of the labelled events, {best['name']} "
                f"{found_by_best:.0f} %."
            )
    hindsight = "" if WAIT in measures else "In hindsight: "
    figures = f"{hindsight}AUC-PR {winner['auc_pr']:.3f} of the winner, {best['auc_pr']:.3f} of {best['name']}"
    untested = f"this was not tested, and rests on {labelled} labelled event{'s' * (labelled != 1)}"
    if is_above:
        return f"{figures}, the best baseline; {untested}.{recall}"
    return f"{figures}, the best baseline: the winner is not above it; {untested}.{recall}"


def _alarm_sentence(
    measures: Mapping[str, float], alarms: pd.DataFrame, *, labelled: int, missed: int, days: float
) -> str:
    """State how many of the `labelled` events were found and when, and how many alarms were raised and were false."""
    count = f"{len(alarms)} alarm{'s' * (len(alarms) != 1)} in {days:.1f} days"
    how = _how_scored(measures)
    if not labelled:
        unknown = "no step there is labelled, so it is not known which are false"
        return f"On unseen data, {how}, it raised {count}; {unknown}."
    found = f"{labelled - missed} of {labelled} labelled events" if missed else "every labelled event"
    delay = ""
    if WAIT in measures and "delay_steps" in measures:
        delay = f", on average {measures['delay_steps']:.1f} steps after it began"
    false = int(alarms["right"].eq(False).sum())
    was = "was" if false == 1 else "were"
    return f"On unseen data, {how}, it found {found}{delay}; of {count}, {false} {was} false."


def _how_scored(measures: Mapping[str, float]) -> str:
    if WAIT not in measures:
        return "scored in hindsight (version 0.1), with windows that lie ahead of a step"
    wait = int(measures[WAIT])
    return f"scored live, {wait} step{'s' * (wait != 1)} after each step" if wait else "scored live, at each step"


def _hindsight_sentences(measures: Mapping[str, float], metric: str) -> list[str]:
    """State what a follower without a wait would have, and what hindsight would give; and which ranks the runs."""
    sentences, wait = [], int(measures.get(WAIT, 0))
    other = f"{HINDSIGHT}auc_pr"
    if {"auc_pr", other} <= measures.keys() and measures[other] != measures["auc_pr"]:
        without = f", {measures[f'{AT_ONCE}auc_pr']:.3f} without this wait" if wait else ""
        sentences.append(
            f"Its AUC-PR is {measures['auc_pr']:.3f} live{without}, and {measures[other]:.3f} in hindsight, where "
            "windows that lie ahead count too: no live stream has those scores."
        )
    if metric.startswith("val_") and not metric.startswith(ONLINE_PREFIX):
        sentences.append(
            f"Its runs were ranked by {metric}, which is measured in hindsight: selection.metric: "
            f"{metric.replace('val_', ONLINE_PREFIX)} ranks new runs by the scores of a live stream."
        )
    return sentences


def _threshold_sentence(thresholds: np.ndarray, settings: Mapping[str, Any], combine: str | None) -> str:
    span = "the validation span" if settings["threshold"] == "conformal" else "all steps before the test span"
    level = "" if settings["level"] is None else f" at level {settings['level']:g}"
    rule = settings["threshold"]
    if promise := settings.get("false_alarms"):
        rule, level = f"for false alarms of {promise}", ""
    if settings["threshold"] == threshold_rules.RUNNING:
        return (
            f"Its threshold is running{level}, recomputed at each step from all scores before it: {thresholds[0]:.4g} "
            f"at the start of the test span, {thresholds[-1]:.4g} at its end."
        )
    if combine == MINIMUM:
        return (
            "Its threshold is 1: a step is anomalous where each of its members scores above its own threshold, "
            f"{rule}{level}, of the scores of {span}."
        )
    return f"Its threshold is {thresholds[0]:.4g}: {rule}{level}, of the scores of {span}."


def _advice(
    measures: Mapping[str, float], alarms: pd.DataFrame, *, last_time: pd.Timestamp, settings: Mapping[str, Any]
) -> list[str]:
    """Return advice that follows from these figures alone."""
    advice = []
    if len(alarms):
        worst, latest = alarms.iloc[int(alarms["peak"].to_numpy().argmax())], alarms.iloc[-1]
        advice.append(
            f"Look first at {worst['start']:%Y-%m-%d %H:%M}, the most severe of {len(alarms)} events: its score was "
            f"{worst['severity']:.1f} times the threshold; sensors to blame: {worst['blame']}."
        )
        if latest["end"] == last_time:
            advice.append(f"The last event, since {latest['start']:%Y-%m-%d %H:%M}, was still in progress at the end.")
    else:
        advice.append("No event was found: there is nothing to look at in the test span.")
    if measures.get("false_alarms_per_day", 0) > MANY_FALSE_ALARMS_PER_DAY:
        advice.append(
            f"{measures['false_alarms_per_day']:.1f} false alarms a day are many: raise anomaly.min_steps (now "
            f"{settings['least']}), or make the threshold stricter with "
            f"anomaly.{'false_alarms' if settings.get('false_alarms') else 'level'}, and check the effect on the "
            "validation span."
        )
    if measures.get("event_recall", 1) < LOW_EVENT_RECALL:
        advice.append(
            f"It found {100 * measures['event_recall']:.0f} % of the labelled events: try more settings, other kinds "
            "of detector, or a less strict threshold, before relying on it."
        )
    return advice


def workbook_sheets(chapter: AnomalyChapter | None) -> dict[str, pd.DataFrame]:
    """Return the tables of the chapter as sheets of the workbook, by name."""
    if chapter is None:
        return {}
    return {"detectors": chapter.measures, "events": chapter.alarms, "missed": chapter.missed}


def most_severe_events(chapter: AnomalyChapter | None, count: int) -> list[dict[Any, Any]]:
    """Return the `count` events with the highest peaks, in time order."""
    if chapter is None:
        return []
    by_severity = chapter.alarms.sort_values("peak", ascending=False, kind="stable")
    return by_severity.head(count).sort_values("start").to_dict("records")
