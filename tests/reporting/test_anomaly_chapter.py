"""The report's chapter about detectors."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.reporting import anomaly_chapter
from gridcast.runtime.events import find_events

ONLINE = {"wait_steps": 3.0, "auc_pr": 0.4, "at_once_auc_pr": 0.3, "hindsight_auc_pr": 0.8, "delay_steps": 6.5}
FORMER = {"auc_pr": 0.8, "delay_steps": 0.0}


def bottom_line(*rows, **more):
    columns = ["name", "auc_pr", "event_recall"]
    return anomaly_chapter._bottom_line(pd.DataFrame(rows, columns=columns).assign(**more), 4)


def test_the_figures_of_winner_and_best_baseline_are_described_and_no_victory_is_claimed():
    rows = ("winner", 0.9, 0.25), ("PCA", 0.8, 0.75)
    sentence = bottom_line(*rows, wait_steps=0.0)
    assert sentence.startswith(
        "AUC-PR 0.900 of the winner, 0.800 of PCA, the best baseline; this was not tested, and rests on 4 labelled "
        "events."
    )
    assert sentence.endswith("the winner finds 25 % of the labelled events, PCA 75 %.")
    assert bottom_line(rows[0], ("PCA", 0.8, 0.25), wait_steps=0.0).endswith("rests on 4 labelled events.")
    below = bottom_line(("winner", 0.7, 0.5), rows[1], wait_steps=0.0)
    assert "the best baseline: the winner is not above it" in below
    assert bottom_line(*rows).startswith("In hindsight: AUC-PR 0.900")


def test_a_delay_is_stated_for_online_scores_only():
    alarms = pd.DataFrame({"right": [True, False]})
    count = {"labelled": 1, "missed": 0, "days": 2.0}
    assert anomaly_chapter._alarm_sentence(ONLINE, alarms, **count) == (
        "On unseen data, scored live, 3 steps after each step, it found every labelled event, on average 6.5 steps "
        "after it began; of 2 alarms in 2.0 days, 1 was false."
    )
    former = anomaly_chapter._alarm_sentence(FORMER, alarms, **count)
    assert "scored in hindsight (version 0.1), with windows that lie ahead of a step, it found every" in former
    assert "after it began" not in former
    assert "scored live, at each step" in anomaly_chapter._alarm_sentence({"wait_steps": 0.0}, alarms, **count)


@pytest.mark.parametrize("metric", ["val_faults_missed", "val_online_faults_missed", "best_val_loss"])
def test_figures_in_hindsight_are_named_as_such(metric):
    sentences = anomaly_chapter._hindsight_sentences(ONLINE, metric)
    assert sentences[0].startswith("Its AUC-PR is 0.400 live, 0.300 without this wait, and 0.800 in hindsight")
    advised = [sentence for sentence in sentences if "selection.metric: val_online_faults_missed" in sentence]
    assert len(advised) == len(sentences) - 1 == (metric == "val_faults_missed")
    assert anomaly_chapter._hindsight_sentences({**ONLINE, "hindsight_auc_pr": 0.4}, "best_val_loss") == []
    assert anomaly_chapter._hindsight_sentences(FORMER, "best_val_loss") == []


@pytest.mark.parametrize(("threshold", "peaks"), [(9.0, []), (0.5, [3.0, 2.0]), (2.5, [3.0])])
def test_the_most_severe_events_are_listed_in_time_order_also_where_there_are_none(threshold, peaks):
    score = np.array([0.0, 1, 0, 3, 0, 2, 0])
    found = find_events(score, threshold, score[:, None], ["flow"])
    alarms = anomaly_chapter._alarms(pd.date_range("2024-01-01", periods=7, freq="min"), None, found)
    listed = anomaly_chapter.most_severe_events(SimpleNamespace(alarms=alarms), 2)
    assert [event["peak"] for event in listed] == peaks
