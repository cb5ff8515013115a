"""The test span, touched once by each detector: what it says of every step, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridcast.config import Anomaly, threshold_rules
from gridcast.data.panel import Panel
from gridcast.data.splits import Spans
from gridcast.evaluation import detection_metrics, thresholds
from gridcast.models.baselines.detectors import DETECTORS
from gridcast.runtime import events, running_threshold
from gridcast.runtime.detector import ANOMALY, SCORE, THRESHOLD, Detector, scaled_values
from gridcast.runtime.errors import ConfigError, GridcastError, suggest

if TYPE_CHECKING:
    from gridcast.data.dataset import Dataset


SCORES = "test_scores.parquet"
VALUES = "test_values.parquet"
LABELLED = "labelled"
SHOWN = {
    "auc_pr": "AUC-PR",
    "vus_pr": "VUS-PR",
    "event_f1": "event F1",
    "event_recall": "events found",
    "delay_steps": "delay, steps",
    "false_alarms_per_day": "false alarms a day",
    "alarms_per_day": "alarms a day",
}
"""Measures that people are shown, and what they are called; the first needs no threshold, the last no labels."""
AUTO = "auto"
"""Stands for all baselines."""
BEFORE = 300
"""Steps before the test span of which the values are kept, for pictures."""
Contribute = Callable[[np.ndarray], np.ndarray]
"""From values to contributions, both (steps, sensors) in scaled units."""


@dataclass(frozen=True)
class Detection:
    """Contributions (steps, sensors) to the scores of the test span, NaN where nothing can be told, and thresholds.

    Both are in squared scaled units, or in those of the baseline that says it. `limits` (steps,) are the thresholds.
    """

    contributions: np.ndarray
    limits: np.ndarray
    notes: tuple[str, ...] = ()


def over(contribute: Contribute, values: np.ndarray, span: tuple[int, int], lookback: int) -> np.ndarray:
    """Contributions of the steps of `span`, which may look `lookback` steps back over its start."""
    start, end = span
    first = max(0, start - lookback)
    return contribute(values[first:end])[start - first :]


def limit(
    contribute: Contribute, values: np.ndarray, spans: Spans, lookback: int, chosen: Anomaly
) -> tuple[float, running_threshold.ScoreHistory | None]:
    """The threshold that was `chosen`, and what a running one goes on from, of the scores of all before the test span.

    Those of training alone are smaller than others will be. A conformal one is of the validation span, not fitted to.
    """
    start = spans.train if chosen.threshold == "conformal" else spans.start
    scores = events.anomaly_score(over(contribute, values, (start, spans.validation), lookback))
    return thresholds.taken(scores, chosen.threshold, chosen.level)


def answers(detector: Detector, dataset: Dataset) -> Detection:
    """What `detector`, trained on whatever data of the same sensors, says of the test span."""
    values = scaled_values(detector.preprocessing, dataset.target.T)
    found = over(detector.contributions, values, dataset.spans["test"], detector.lookback)
    return Detection(found, detector.limits(events.anomaly_score(found)))


def baseline(name: str, dataset: Dataset) -> Detection:
    """What the baseline `name` says of the test span; its thresholds follow the same rule, from its own scores."""
    values, spans, lookback = dataset.channels[0], dataset.spans, dataset.preprocessing.lookback
    training = values[: spans.train]

    def contribute(part: np.ndarray) -> np.ndarray:
        return DETECTORS[name](training, part, lookback, 0)

    assert dataset.anomaly is not None
    first, seen = limit(contribute, values, spans, lookback, dataset.anomaly)
    found = over(contribute, values, spans["test"], lookback)
    level = threshold_rules.checked_level(dataset.anomaly.threshold, dataset.anomaly.level)
    return Detection(found, running_threshold.thresholds(events.anomaly_score(found), first, level, seen))


def possible(asked: Sequence[str]) -> list[str]:
    """Names of the baselines to be done, in their order. Raises ConfigError on an unknown name."""
    known = (AUTO, *DETECTORS)
    for place, name in enumerate(asked):
        if name not in known:
            told = suggest(name, known)
            raise ConfigError(f"baselines[{place}]: unknown name {name!r}{told} (allowed: {', '.join(known)})")
    return [name for name in DETECTORS if AUTO in asked or name in asked]


def table(found: Detection, panel: Panel, time: str) -> pd.DataFrame:
    """One row for each step of the test span: `time`, score, threshold, anomaly, labelled where labels are known, and
    what each sensor contributes.
    """
    span = slice(*panel.spans["test"])
    score = events.anomaly_score(found.contributions)
    told = {time: panel.times[span], SCORE: score, THRESHOLD: found.limits, ANOMALY: score > found.limits}
    told |= {} if panel.labels is None else {LABELLED: panel.labels[span]}
    return pd.DataFrame(told | {name: found.contributions[:, k] for k, name in enumerate(panel.series)})


def values(panel: Panel, time: str) -> pd.DataFrame:
    """The sensors in data units over the test span and some steps before: `time`, and a column each."""
    start, end = panel.spans["test"]
    part = slice(max(0, start - BEFORE), end)
    return pd.DataFrame({time: panel.times[part], **dict(zip(panel.series, panel.target[:, part], strict=True))})


def measures(table: pd.DataFrame, per_day: float, chosen: Anomaly) -> dict[str, float]:
    """Every finite measure of a `table` of so many steps `per_day`; against labels where it has some.

    alarms are its events, share_flagged is that of the steps above the threshold; the others are as in `scoring`.
    """
    score, threshold = table[SCORE].to_numpy(float), table[THRESHOLD].to_numpy(float)
    alarms = len(events.spans(score > threshold, chosen.least, chosen.gap))
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
        found |= detection_metrics.measures(score, threshold, labels, per_day, chosen.least, chosen.gap)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def on_test_span(detector: Detector, dataset: Dataset, panel: Panel) -> dict[str, float]:
    """Measures of a detector, trained on whatever data, on the test span. GridcastError where it watches others."""
    for field in ("series", "frequency"):
        own, here = getattr(detector.preprocessing, field), getattr(dataset.preprocessing, field)
        if own != here:
            raise GridcastError(f"its {'sensors are' if field == 'series' else f'{field} is'} {own!r}, here {here!r}")
    assert dataset.anomaly is not None
    return measures(table(answers(detector, dataset), panel, detector.time), dataset.per_day, dataset.anomaly)
