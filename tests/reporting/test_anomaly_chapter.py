"""Sentences of the report about detectors."""

import pandas as pd

from gridcast.reporting import anomaly_chapter


def test_a_winner_that_finds_fewer_events_than_the_baseline_it_beats_says_so():
    rows = [("winner", 0.9, 0.25), ("PCA", 0.8, 0.75)]
    sentence = anomaly_chapter._bottom_line(pd.DataFrame(rows, columns=["name", "auc_pr", "event_recall"]))
    assert sentence.startswith("The winner detects anomalies better than every baseline")
    assert sentence.endswith("the winner finds 25 % of the labelled events, PCA 75 %.")
    alike = pd.DataFrame([rows[0], ("PCA", 0.8, 0.25)], columns=["name", "auc_pr", "event_recall"])
    assert anomaly_chapter._bottom_line(alike).endswith("(AUC-PR 0.900 against 0.800 of PCA).")
