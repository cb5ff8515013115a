"""A recomputed threshold: by the rule of the training, from normal data only, and only through the gates."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from gridcast.monitoring import normal_operation
from gridcast.monitoring.new_threshold import new_threshold
from gridcast.monitoring.recalibration import THRESHOLD_GATES
from gridcast.runtime import running_threshold
from gridcast.runtime.errors import DataError
from stream_process import START, ZScore, readings

MOST = 0.01


def detector(**settings):
    return ZScore(**{"lookback": 3, "threshold": 2.0} | settings)


def figures(own, table, labels):
    return new_threshold(own, normal_operation.score_readings(own, table, labels))


def refusals(found, most=MOST):
    return [name for name, judge in THRESHOLD_GATES.items() if judge(found, most)]


def test_the_threshold_is_that_of_the_first_two_thirds_tried_on_the_last():
    table = readings(602)
    found = figures(detector(), table, None)
    scores = detector().predict(table)["score"].to_numpy()
    assert (len(scores), found.fitted, found.held_out) == (600, 400, 200)
    assert found.new == pytest.approx(scores[:400].mean() + 3 * scores[:400].std(), rel=1e-12)
    assert found.false_alarms == np.mean(scores[400:] > found.new)
    assert (found.old, found.left_out, found.events) == (2.0, 0, ())
    assert (found.first, found.last) == (START + pd.Timedelta(minutes=2), START + pd.Timedelta(minutes=601))
    assert refusals(found) == []


def test_the_rule_and_level_are_those_of_the_training():
    table = readings(602)
    found = figures(detector(rule="quantile", level=0.01), table, None)
    scores = np.sort(detector().predict(table)["score"].to_numpy()[:400])
    assert found.new == scores[395]  # 4 of 400 lie above


def test_a_running_threshold_starts_from_the_normal_data_and_is_tried_as_it_runs():
    table = readings(602)
    scores = detector().predict(table)["score"].to_numpy()
    own = detector(rule="running", level=1.0, seen=running_threshold.score_history(scores * 2))
    found = figures(own, table, None)
    assert found.seen == running_threshold.score_history(scores[:400])
    assert found.new == pytest.approx(found.seen.threshold(1.0))
    assert (
        found.false_alarms
        == np.mean(scores[400:] > running_threshold.thresholds_and_history(scores[400:], 1.0, found.seen)[0])
        > 0
    )


def test_the_last_third_does_not_move_the_threshold():
    table = readings(602)
    changed = table.copy()
    changed.loc[402:, "power"] = 50.0
    found, other = (figures(detector(threshold=30.0), one, None) for one in (table, changed))
    assert other.new == found.new
    assert other.false_alarms == 1.0
    assert "false alarms are few" in refusals(other)


def test_rows_labelled_as_anomalous_and_what_is_read_with_them_are_left_out():
    table = readings(700, spikes={300: 10})
    labels = np.zeros(700, bool)
    labels[300:310] = True
    found = figures(detector(), table, labels)
    assert found.left_out == 10 + 2 * 3
    assert found.events == ()
    scores = detector().predict(table).set_index("time")["score"]
    near = (scores.index >= START + pd.Timedelta(minutes=297)) & (scores.index <= START + pd.Timedelta(minutes=312))
    left = scores[~near].to_numpy()[: found.fitted]
    assert found.new == pytest.approx(left.mean() + 3 * left.std(), rel=1e-12)
    assert refusals(found) == []


def test_events_of_the_champion_are_refused_unless_labels_call_them_normal():
    table = readings(700, spikes={300: 10})
    found = figures(detector(level=0.1), table, None)
    assert found.events == ("2024-01-01 05:00:00 to 2024-01-01 05:11:00",)
    assert refusals(found)[0] == "nothing is flagged"
    confirmed = figures(detector(level=0.1), table, np.zeros(700, bool))
    assert confirmed.events == found.events
    assert "nothing is flagged" not in refusals(confirmed)


def test_the_gates_judge_by_their_figures():
    found = figures(detector(), readings(602), None)
    for new, far in ((found.old * 3.01, True), (found.old * 2.99, False), (found.old / 2.99, False), (0.0, True)):
        assert ("threshold is near" in refusals(dataclasses.replace(found, new=new))) == far
    for share, many in ((MOST, False), (MOST * 1.001, True), (0.0, False)):
        assert ("false alarms are few" in refusals(dataclasses.replace(found, false_alarms=share))) == many


def test_too_little_normal_data_are_refused():
    with pytest.raises(DataError, match="118 steps can be scored .* at least 150 are needed"):
        figures(detector(), readings(120), None)
    with pytest.raises(DataError, match="0 steps can be scored"):
        figures(detector(), readings(400), np.ones(400, bool))
