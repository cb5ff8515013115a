"""Anomaly scores of the test span as a table, and the metrics of that table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gridcast.config import Anomaly
from gridcast.data.panel import Panel
from gridcast.evaluation import detection_metrics
from gridcast.evaluation.detection_results import AnomalyScores, ScoredSteps
from gridcast.runtime import events
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD

LABELLED = "labelled"
"""Column that is True where a label marks the step as anomalous."""
WAIT = "wait_steps"
"""Metric that holds the steps which a follower waits; only records of online scores have it."""
AT_ONCE, HINDSIGHT = "at_once_", "hindsight_"
"""Prefixes of the metrics of a follower who does not wait, and of those of scores in hindsight."""
METRIC_TITLES = {
    "auc_pr": "AUC-PR",
    "vus_pr": "VUS-PR",
    "event_f1": "event F1",
    "event_recall": "events found",
    "delay_steps": "delay, steps",
    "false_alarms_per_day": "false alarms a day",
    "alarms_per_day": "alarms a day",
    WAIT: "wait, steps",
    f"{AT_ONCE}auc_pr": "AUC-PR without wait",
    f"{HINDSIGHT}auc_pr": "AUC-PR in hindsight",
    f"{HINDSIGHT}event_f1": "event F1 in hindsight",
}
"""Metrics in reports, with their titles: of online scores, then for comparison of others."""
STEPS_BEFORE_TEST = 300
"""Steps before the test span whose values are kept for plots."""


def tabulate_scores(scores: AnomalyScores, panel: Panel, time: str) -> pd.DataFrame:
    """Return a row per step of the test span: `time`, score, threshold, anomaly and the contribution of each sensor.

    The scores are the online ones, as `gridcast detect` records them. Where labels are known, there is a column
    labelled.
    """
    span, online = slice(*panel.spans["test"]), scores.online
    score = events.anomaly_score(online.contributions)
    columns = {time: panel.times[span], SCORE: score, THRESHOLD: online.thresholds, ANOMALY: score > online.thresholds}
    if panel.labels is not None:
        columns[LABELLED] = panel.labels[span]
    return pd.DataFrame(columns | {name: online.contributions[:, k] for k, name in enumerate(panel.series)})


def sensor_values(panel: Panel, time: str) -> pd.DataFrame:
    """Return the readings over the test span and `STEPS_BEFORE_TEST` before it: `time`, and a column per sensor."""
    start, end = panel.spans["test"]
    steps = slice(max(0, start - STEPS_BEFORE_TEST), end)
    return pd.DataFrame({time: panel.times[steps], **dict(zip(panel.series, panel.target[:, steps], strict=True))})


def measure_scores(scores: AnomalyScores, panel: Panel, *, steps_per_day: float, anomaly: Anomaly) -> dict[str, float]:
    """Return every finite metric of `scores` on the test span of `panel`, those against labels where it has any.

    Metrics of online scores have plain names, those of a follower who does not wait and those in hindsight have the
    prefixes `AT_ONCE` and `HINDSIGHT`. alarms counts the events, share_flagged is the share of scored steps above the
    threshold; the metrics against labels are those of `detection_metrics.all_metrics`.
    """
    labels = None if panel.labels is None else panel.labels[slice(*panel.spans["test"])]
    views = {"": scores.online, AT_ONCE: scores.at_once, HINDSIGHT: scores.hindsight}
    metrics = {WAIT: float(scores.wait)}
    for prefix, view in views.items():
        measured = _measure_view(view, labels, steps_per_day=steps_per_day, anomaly=anomaly)
        metrics |= {prefix + name: value for name, value in measured.items() if np.isfinite(value)}
    return metrics


def _measure_view(
    view: ScoredSteps, labels: np.ndarray | None, *, steps_per_day: float, anomaly: Anomaly
) -> dict[str, float]:
    score, threshold = events.anomaly_score(view.contributions), view.thresholds
    alarms = len(events.spans(score > threshold, anomaly.min_steps, anomaly.merge_gap))
    scored = int(np.isfinite(score).sum())
    metrics = {"alarms": float(alarms), "share_scored": scored / len(score)}
    if scored:
        metrics |= {
            "alarms_per_day": alarms * steps_per_day / scored,
            "share_flagged": float(np.sum(score > threshold) / scored),
            "mean_score": float(np.nanmean(score)),
        }
    if labels is not None:
        metrics |= detection_metrics.all_metrics(
            score,
            threshold,
            labels,
            steps_per_day=steps_per_day,
            min_steps=anomaly.min_steps,
            merge_gap=anomaly.merge_gap,
            known_at=view.known_at,
        )
    return metrics


def like_with_like(measures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the `measures` of several detectors, by name, of one kind of scores.

    Version 0.1 recorded measures of scores in hindsight, under the names that those of online scores have now. Where
    some of the records are of that version, all detectors have their measures in hindsight; they lack `WAIT` then.
    """
    if len({WAIT in record for record in measures.values()}) < 2:
        return {name: dict(record) for name, record in measures.items()}
    return {
        name: {key.removeprefix(HINDSIGHT): value for key, value in record.items() if key.startswith(HINDSIGHT)}
        if WAIT in record
        else dict(record)
        for name, record in measures.items()
    }
