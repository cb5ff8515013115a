"""Metrics of anomaly scores, by hand and against their definitions written out."""

import json
from pathlib import Path

import numpy as np
import pytest

from gridcast.evaluation import detection_metrics

N = np.nan


def labelled(steps, *stretches):
    labels = np.zeros(steps, bool)
    for start, end in stretches:
        labels[start:end] = True
    return labels


def alarms(steps, *at):
    flags = np.zeros(steps, bool)
    flags[list(at)] = True
    return flags


def measured(score, labels, threshold=0.5, **grouping):
    return detection_metrics.all_metrics(
        np.asarray(score, float), threshold, np.asarray(labels, bool), steps_per_day=10, **grouping
    )


def test_steps_and_events_are_counted_apart_by_hand():
    # Events at 2..5, 10..12, 15; alarms at 4, 5 and 6, at 8, and at 15: two of three detected, one of three false.
    labels = labelled(20, (2, 6), (10, 13), (15, 16))
    metrics = measured(alarms(20, 4, 5, 6, 8, 15), labels)
    assert metrics["precision"] == pytest.approx(3 / 5)
    assert metrics["recall"] == pytest.approx(3 / 8)
    assert metrics["f1"] == pytest.approx(6 / 13)
    assert metrics["event_precision"] == pytest.approx(2 / 3)
    assert metrics["event_recall"] == pytest.approx(2 / 3)
    assert metrics["event_f1"] == pytest.approx(2 / 3)
    assert metrics["delay_steps"] == pytest.approx((2 + 0) / 2)
    assert metrics["false_alarms_per_day"] == pytest.approx(1 / 1.2)  # twelve unlabelled steps, ten make a day


def test_one_alarm_in_an_event_does_not_find_its_other_steps():
    metrics = measured(alarms(100, 30), labelled(100, (20, 70)))
    assert (metrics["recall"], metrics["event_recall"]) == (1 / 50, 1.0)


def test_events_are_grouped_before_they_are_counted():
    labels = labelled(12, (0, 4))
    score = alarms(12, 0, 2, 6, 8)
    assert measured(score, labels)["event_precision"] == pytest.approx(1 / 3)
    joined = measured(score, labels, min_steps=3, merge_gap=1)
    assert (joined["event_precision"], joined["precision"], joined["recall"]) == (0.5, 3 / 6, 3 / 4)
    assert joined["false_alarms_per_day"] == pytest.approx(1 / 0.8)
    assert measured(score, labels, min_steps=2)["event_recall"] == 0


def test_an_event_counts_once_however_many_fragments_detect_it():
    labels = labelled(1000, (100, 300))
    whole = measured(alarms(1000, *range(100, 300), 500), labels)
    fragments = measured(alarms(1000, *range(100, 300, 2), *range(500, 600, 10)), labels)
    assert whole["event_f1"] == pytest.approx(2 / 3)
    assert fragments["event_f1"] == pytest.approx(2 / 12)
    assert fragments["event_precision"] == pytest.approx(1 / 11)
    merged = measured(alarms(1000, *range(100, 300, 2), *range(500, 600, 10)), labels, merge_gap=9)
    assert merged["event_f1"] == pytest.approx(2 / 3)  # the ten false alarms are one


def test_an_alarm_from_before_an_event_has_no_delay():
    assert measured(alarms(10, 2, 3, 4), labelled(10, (4, 8)))["delay_steps"] == 0


@pytest.mark.parametrize(
    ("flagged", "stretch", "settings", "expected"),
    [
        ((4, 5, 6, 7), (4, 8), {}, 0),
        ((4, 5, 6, 7), (4, 8), {"min_steps": 3}, 2),  # the alarm is raised at its third step
        ((5, 7, 8), (4, 9), {"min_steps": 4, "merge_gap": 1}, 4),
        ((1, 2, 3, 4), (4, 8), {"min_steps": 3}, 0),
        ((2, 3, 9), (5, 7), {"merge_gap": 5}, 4),  # it is known at 9 only that the alarm lasted over the event
        ((4, 5, 6, 7), (4, 8), {"known_at": np.arange(12) + 3}, 3),
        ((4, 5, 6, 7), (4, 8), {"known_at": np.arange(12) + 3, "min_steps": 3}, 5),
        ((1, 2, 3, 4), (4, 8), {"known_at": np.arange(12) + 3, "min_steps": 3}, 3),
        ((7,), (4, 8), {"known_at": np.arange(12) + 9}, 12),  # later than the event itself
    ],
)
def test_a_delay_ends_when_the_alarm_is_known(flagged, stretch, settings, expected):
    found = detection_metrics.detection_delays(alarms(12, *flagged), labelled(12, stretch), **settings)
    assert found == [expected]


def test_events_that_nothing_touches_have_no_delay():
    assert detection_metrics.detection_delays(alarms(12, 3, 8), labelled(12, (4, 8))) == []


def test_undefined_metrics_are_nan_and_missed_events_give_0():
    silent = measured(np.zeros(10), labelled(10, (2, 4)))
    assert np.isnan([silent["precision"], silent["event_precision"], silent["delay_steps"]]).all()
    assert [silent[name] for name in ("recall", "f1", "event_recall", "event_f1", "false_alarms_per_day")] == [0] * 5
    unlabelled = measured(alarms(10, 3), labelled(10))
    assert np.isnan([unlabelled[name] for name in ("recall", "event_recall", "event_f1", "auc_pr", "vus_pr")]).all()
    assert (unlabelled["precision"], unlabelled["false_alarms_per_day"]) == (0, 1)


def test_a_step_without_a_score_is_a_missed_one():
    labels = labelled(10, (0, 4))
    metrics = measured([N, N, 1, 1, 0, 0, 0, 0, N, N], labels)
    assert (metrics["precision"], metrics["recall"], metrics["delay_steps"]) == (1, 0.5, 2)
    lowest = measured([-9, -9, 1, 1, 0, 0, 0, 0, -9, -9], labels)
    assert metrics["auc_pr"] == lowest["auc_pr"] < 1
    assert metrics["vus_pr"] == lowest["vus_pr"]


def test_average_precision_by_hand():
    # Labelled ranks 1, 3 and 4 of five: (1 / 1 + 2 / 3 + 3 / 4) / 3
    precision = detection_metrics.auc_pr(np.array([9.0, 8, 7, 6, 5]), np.array([1, 0, 1, 1, 0], bool))
    assert precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_average_precision_is_that_of_scikit_learn():
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(0)
    for levels in (2, 7, 1000):  # many ties, some, few
        score, labels = random.integers(0, levels, 200).astype(float), random.random(200) < 0.1
        expected = average_precision_score(labels, score)
        assert detection_metrics.auc_pr(score, labels) == pytest.approx(expected, rel=1e-12)
        lowest = score == score.min()
        holes = np.where(lowest, np.nan, score)  # they rank below all others, as the lowest score did
        assert detection_metrics.auc_pr(holes, labels) == pytest.approx(expected, rel=1e-12)


def test_ranking_metrics_depend_on_the_order_of_scores_only():
    random = np.random.default_rng(0)
    labels, score = labelled(300, (50, 80), (200, 220)), random.gamma(2, size=300)
    score[labels] += 2
    for measure in (detection_metrics.auc_pr, detection_metrics.vus_pr):
        assert measure(np.exp(score), labels) == pytest.approx(measure(score, labels))
        assert measure(score, labels) > measure(random.permutation(score), labels) + 0.2


def test_the_area_without_a_buffer_by_hand():
    # Scores in the order labelled, not, labelled. Recall 1/2, 1/2, 1 at precision 1, 1/2, 2/3; one event each.
    score, labels = np.array([3.0, 2.0, 0.0, 1.0]), np.array([1, 0, 0, 1], bool)
    # The first of the two events has an alarm until the last rank: recall is halved twice.
    assert detection_metrics.vus_pr(score, labels, longest=0) == pytest.approx(1 / 4 * 1 + 0 + 3 / 4 * 2 / 3)


VECTORS = json.loads(Path(__file__).with_name("vus_pr_vectors.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_volume_is_that_of_its_authors_program(vector):
    """Within 0.1 %: only the threshold that is added for perfect scores makes a difference."""
    score = np.array(vector["scores"], float)
    labels = labelled(len(score), *vector["events"])
    for longest, expected in vector["vus_pr"].items():
        assert detection_metrics.vus_pr(score, labels, longest=int(longest)) == pytest.approx(expected, rel=1e-3)


def test_perfect_scores_have_a_volume_of_1():
    random = np.random.default_rng(3)
    for steps, *stretches in ((200, (50, 60)), (20_000, (0, 30), (35, 40), (7000, 7100), (19_990, 20_000))):
        labels = labelled(steps, *stretches)
        for score in (labels.astype(float), labels + 0.5 * random.random(steps)):
            assert detection_metrics.vus_pr(score, labels) == pytest.approx(1, abs=1e-12)


def test_an_alarm_beside_an_event_is_worth_something_with_a_buffer():
    labels = labelled(200, (100, 110))
    beside, far = alarms(200, *range(111, 121)).astype(float), alarms(200, *range(20, 30)).astype(float)
    assert detection_metrics.vus_pr(beside, labels, 40) > 2 * detection_metrics.vus_pr(far, labels, 40)
    assert detection_metrics.auc_pr(beside, labels) == pytest.approx(detection_metrics.auc_pr(far, labels))
