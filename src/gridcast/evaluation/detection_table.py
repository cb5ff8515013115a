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


METRIC_TITLES = {
    "auc_pr": "AUC-PR",
    "vus_pr": "VUS-PR",
    "event_f1": "event F1",
    "event_recall": "events found",
    "delay_steps": "delay, steps",
    "false_alarms_per_day": "false alarms a day",
    "alarms_per_day": "alarms a day",
}
"""Measures that people are shown, and what they are called; the first needs no threshold, the last no labels."""


STEPS_BEFORE_TEST = 300
"""Steps before the test span of which the values are kept, for pictures."""


def tabulate_scores(found: AnomalyScores, panel: Panel, time: str) -> pd.DataFrame:
    """One row for each step of the test span: `time`, score, threshold, anomaly, labelled where labels are known, and
    what each sensor contributes.
    """
    span = slice(*panel.spans["test"])
    score = events.anomaly_score(found.contributions)
    told = {time: panel.times[span], SCORE: score, THRESHOLD: found.thresholds, ANOMALY: score > found.thresholds}
    told |= {} if panel.labels is None else {LABELLED: panel.labels[span]}
    return pd.DataFrame(told | {name: found.contributions[:, k] for k, name in enumerate(panel.series)})


def sensor_values(panel: Panel, time: str) -> pd.DataFrame:
    """The sensors in data units over the test span and some steps before: `time`, and a column each."""
    start, end = panel.spans["test"]
    part = slice(max(0, start - STEPS_BEFORE_TEST), end)
    return pd.DataFrame({time: panel.times[part], **dict(zip(panel.series, panel.target[:, part], strict=True))})


def measure_scores(table: pd.DataFrame, per_day: float, chosen: Anomaly) -> dict[str, float]:
    """Every finite measure of a `table` of so many steps `per_day`; against labels where it has some.

    alarms are its events, share_flagged is that of the steps above the threshold; the others are as in `scoring`.
    """
    score, threshold = table[SCORE].to_numpy(float), table[THRESHOLD].to_numpy(float)
    alarms = len(events.spans(score > threshold, chosen.min_steps, chosen.merge_gap))
    scored = int(np.isfinite(score).sum())
    found = {"alarms": float(alarms), "share_scored": scored / len(score)}
    if scored:
        found |= {
            "alarms_per_day": alarms * per_day / scored,
            "share_flagged": float(np.sum(score > threshold) / scored),
            "mean_score": float(np.nanmean(score)),
        }
    if LABELLED in table:
        labels = table[LABELLED].to_numpy(bool)
        found |= detection_metrics.all_metrics(
            score, threshold, labels, steps_per_day=per_day, min_steps=chosen.min_steps, merge_gap=chosen.merge_gap
        )
    return {name: value for name, value in found.items() if np.isfinite(value)}
