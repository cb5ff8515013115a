"""Tables and metrics of anomaly scores, by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.config import Anomaly
from gridcast.data.splits import Spans
from gridcast.evaluation import detection_metrics, detection_table
from gridcast.evaluation.detection_results import AnomalyScores, ScoredSteps

N = math.nan


def panel(steps: int, start: int, labels: np.ndarray | None = None) -> SimpleNamespace:
    """Two sensors over so many minutes, of which the test span begins at `start`."""
    return SimpleNamespace(
        spans=Spans(start - 2, start, steps),
        times=pd.date_range("2024-01-01", periods=steps, freq="min"),
        series=("flow", "heat"),
        target=np.stack([np.arange(steps), 100 + np.arange(steps)]).astype(float),
        labels=labels,
    )


def steps(scores: list[float], threshold: float = 1.0, wait: int = 0) -> ScoredSteps:
    """Two sensors that contribute half and one and a half times the score."""
    values = np.array(scores)
    at = np.arange(len(values))
    return ScoredSteps(np.stack([0.5 * values, 1.5 * values], axis=1), np.full(len(values), threshold), at + wait)


#                         a false alarm      hit                one step alone
ONLINE = steps([N, 0.0, 2.0, 2.0, 0.0, 0.0, 3.0, 3.0, 0.0, 2.0], wait=1)
AT_ONCE = steps([N, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 3.0, 0.0, 0.0])
HINDSIGHT = steps([0.5, 0.0, 0.0, 0.0, 0.0, 1.5, 3.0, 1.0, 0.0, 0.0])
SCORES = AnomalyScores(ONLINE, AT_ONCE, HINDSIGHT, wait=1)
LABELS = np.isin(np.arange(20), [15, 16])
ANOMALY = Anomaly(min_steps=2, merge_gap=0)


def test_the_table_has_the_online_scores_of_the_test_span():
    table = detection_table.tabulate_scores(SCORES, panel(20, 10, LABELS), "at")
    assert table.columns.tolist() == ["at", "score", "threshold", "anomaly", "labelled", "flow", "heat"]
    assert table["at"].tolist() == list(pd.date_range("2024-01-01 00:10", periods=10, freq="min"))
    np.testing.assert_array_equal(table["score"], [N, 0, 2, 2, 0, 0, 3, 3, 0, 2])
    np.testing.assert_array_equal(table["heat"], 3 * table["flow"])
    assert table["anomaly"].tolist() == [False, False, True, True, False, False, True, True, False, True]
    assert np.flatnonzero(table["labelled"]).tolist() == [5, 6]
    assert "labelled" not in detection_table.tabulate_scores(SCORES, panel(20, 10), "at")


def test_a_score_on_the_threshold_raises_no_alarm():
    on_it = replace(SCORES, online=steps([1.0] * 10))
    assert not detection_table.tabulate_scores(on_it, panel(20, 10), "at")["anomaly"].any()
    found = detection_table.measure_scores(on_it, panel(20, 10), steps_per_day=10, anomaly=ANOMALY)
    assert (found["alarms"], found["share_flagged"]) == (0, 0)


@pytest.mark.parametrize(("start", "first"), [(310, 10), (300, 0), (4, 0)])
def test_readings_are_kept_from_300_steps_before_the_test_span_on(start, first):
    table = detection_table.sensor_values(panel(320, start), "at")
    assert table.columns.tolist() == ["at", "flow", "heat"]
    assert table["flow"].tolist() == list(range(first, 320))
    assert table["heat"].tolist() == list(range(100 + first, 420))
    assert table["at"].iloc[0] == pd.Timestamp("2024-01-01") + pd.Timedelta(minutes=first)


def test_metrics_by_hand():
    found = detection_table.measure_scores(SCORES, panel(20, 10, LABELS), steps_per_day=18, anomaly=ANOMALY)
    # Online: nine of ten steps have a score; alarms of at least two steps are [2, 4) and [6, 8).
    online = {"wait_steps": 1, "alarms": 2, "share_scored": 0.9, "alarms_per_day": 4, "share_flagged": 5 / 9}
    online |= {"mean_score": 12 / 9, "event_recall": 1, "event_precision": 0.5}
    # The score of step 7, with which the alarm has two steps, is known at step 8, three after the event began.
    online |= {"delay_steps": 3, "false_alarms_per_day": 1 / (7 / 18)}
    assert {name: found[name] for name in online} == pytest.approx(online)
    at_once = {"alarms": 1, "share_scored": 0.9, "alarms_per_day": 2, "delay_steps": 2, "false_alarms_per_day": 0}
    assert {name: found[f"at_once_{name}"] for name in at_once} == pytest.approx(at_once)
    hindsight = {"alarms": 1, "share_scored": 1, "mean_score": 0.6, "delay_steps": 1, "share_flagged": 0.2}
    assert {name: found[f"hindsight_{name}"] for name in hindsight} == pytest.approx(hindsight)
    assert "at_once_wait_steps" not in found


def test_metrics_against_labels_are_those_of_the_test_span_with_the_rules_of_the_experiment():
    rules = Anomaly(min_steps=1, merge_gap=1)
    found = detection_table.measure_scores(SCORES, panel(20, 10, LABELS), steps_per_day=18, anomaly=rules)
    expected = detection_metrics.all_metrics(
        np.array([N, 0, 2, 2, 0, 0, 3, 3, 0, 2]),
        np.ones(10),
        LABELS[10:],
        steps_per_day=18,
        min_steps=1,
        merge_gap=1,
        known_at=np.arange(10) + 1,
    )
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["alarms"] == 2  # [6, 10) is one


def test_without_labels_or_scores_there_is_less_to_measure():
    of_view = {"alarms", "share_scored", "alarms_per_day", "share_flagged", "mean_score"}
    unlabelled = detection_table.measure_scores(SCORES, panel(20, 10), steps_per_day=18, anomaly=ANOMALY)
    assert {name for name in unlabelled if not name.startswith(("at_once", "hindsight"))} == of_view | {"wait_steps"}
    blind = replace(SCORES, online=steps([N] * 10))
    found = detection_table.measure_scores(blind, panel(20, 10), steps_per_day=18, anomaly=ANOMALY)
    assert {name for name in found if not name.startswith(("at_once", "hindsight"))} == {
        "wait_steps",
        "alarms",
        "share_scored",
    }
    assert (found["alarms"], found["share_scored"]) == (0, 0)


def test_detectors_are_compared_in_hindsight_where_one_is_of_the_former_version():
    new = {"wait_steps": 3.0, "auc_pr": 0.4, "hindsight_auc_pr": 0.8, "at_once_auc_pr": 0.3}
    former = {"auc_pr": 0.7}
    assert detection_table.like_with_like({"a": new, "b": new}) == {"a": new, "b": new}
    assert detection_table.like_with_like({"a": former, "b": former}) == {"a": former, "b": former}
    assert detection_table.like_with_like({"a": new, "b": former}) == {"a": {"auc_pr": 0.8}, "b": former}
