"""The report's chapter about detectors."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.reporting import anomaly_chapter
from gridcast.runtime.events import find_events


def test_a_winner_that_finds_fewer_events_than_the_baseline_it_beats_says_so():
    rows = [("winner", 0.9, 0.25), ("PCA", 0.8, 0.75)]
    sentence = anomaly_chapter._bottom_line(pd.DataFrame(rows, columns=["name", "auc_pr", "event_recall"]))
    assert sentence.startswith("The winner detects anomalies better than every baseline")
    assert sentence.endswith("the winner finds 25 % of the labelled events, PCA 75 %.")
    alike = pd.DataFrame([rows[0], ("PCA", 0.8, 0.25)], columns=["name", "auc_pr", "event_recall"])
    assert anomaly_chapter._bottom_line(alike).endswith("(AUC-PR 0.900 against 0.800 of PCA).")


@pytest.mark.parametrize(("threshold", "peaks"), [(9.0, []), (0.5, [3.0, 2.0]), (2.5, [3.0])])
def test_the_most_severe_events_are_listed_in_time_order_also_where_there_are_none(threshold, peaks):
    score = np.array([0.0, 1, 0, 3, 0, 2, 0])
    found = find_events(score, threshold, score[:, None], ["flow"])
    alarms = anomaly_chapter._alarms(pd.date_range("2024-01-01", periods=7, freq="min"), None, found)
    listed = anomaly_chapter.most_severe_events(SimpleNamespace(alarms=alarms), 2)
    assert [event["peak"] for event in listed] == peaks
