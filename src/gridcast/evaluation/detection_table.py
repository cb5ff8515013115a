"""Anomaly scores of the test span as a table, and the metrics of that table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridcast.config import Anomaly
from gridcast.data.panel import Panel
from gridcast.evaluation import detection_metrics
from gridcast.evaluation.detection_results import AnomalyScores
from gridcast.runtime import events
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD

LABELLED = "labelled"
"""Column that is True where a label marks the step as anomalous."""
METRIC_TITLES = {
    "auc_pr": "AUC-PR",
    "vus_pr": "VUS-PR",
    "event_f1": "event F1",
    "event_recall": "events found",
    "delay_steps": "delay, steps",
    "false_alarms_per_day": "false alarms a day",
    "alarms_per_day": "alarms a day",
}
"""Metrics in reports, with their titles; the first needs no threshold, the last no labels."""
STEPS_BEFORE_TEST = 300
"""Steps before the test span whose values are kept for plots."""


def tabulate_scores(scores: AnomalyScores, panel: Panel, time: str) -> pd.DataFrame:
    """Return a row per step of the test span: `time`, score, threshold, anomaly and the contribution of each sensor.

    Where labels are known, there is a column labelled.
    """
    span = slice(*panel.spans["test"])
    score = events.anomaly_score(scores.contributions)
    columns = {time: panel.times[span], SCORE: score, THRESHOLD: scores.thresholds, ANOMALY: score > scores.thresholds}
    if panel.labels is not None:
        columns[LABELLED] = panel.labels[span]
    return pd.DataFrame(columns | {name: scores.contributions[:, k] for k, name in enumerate(panel.series)})


def sensor_values(panel: Panel, time: str) -> pd.DataFrame:
    """Return the readings over the test span and `STEPS_BEFORE_TEST` before it: `time`, and a column per sensor."""
    start, end = panel.spans["test"]
    steps = slice(max(0, start - STEPS_BEFORE_TEST), end)
    return pd.DataFrame({time: panel.times[steps], **dict(zip(panel.series, panel.target[:, steps], strict=True))})


def measure_scores(table: pd.DataFrame, steps_per_day: float, anomaly: Anomaly) -> dict[str, float]:
    """Return every finite metric of a `table` of `tabulate_scores`, those against labels where it has a column of them.

    alarms counts its events, share_flagged is the share of scored steps above the threshold; the metrics against
    labels are those of `detection_metrics.all_metrics`.
    """
    score, threshold = table[SCORE].to_numpy(float), table[THRESHOLD].to_numpy(float)
    alarms = len(events.spans(score > threshold, anomaly.min_steps, anomaly.merge_gap))
    scored = int(np.isfinite(score).sum())
    metrics = {"alarms": float(alarms), "share_scored": scored / len(score)}
    if scored:
        metrics |= {
            "alarms_per_day": alarms * steps_per_day / scored,
            "share_flagged": float(np.sum(score > threshold) / scored),
            "mean_score": float(np.nanmean(score)),
        }
    if LABELLED in table:
        metrics |= detection_metrics.all_metrics(
            score,
            threshold,
            table[LABELLED].to_numpy(bool),
            steps_per_day=steps_per_day,
            min_steps=anomaly.min_steps,
            merge_gap=anomaly.merge_gap,
        )
    return {name: value for name, value in metrics.items() if np.isfinite(value)}
