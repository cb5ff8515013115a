"""Measures by hand, against their definitions written out, and NAB against what it published."""

from itertools import pairwise

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
    found = np.zeros(steps, bool)
    found[list(at)] = True
    return found


def measured(score, labels, threshold=0.5, **grouping):
    return detection_metrics.all_metrics(
        np.asarray(score, float), threshold, np.asarray(labels, bool), steps_per_day=10, **grouping
    )


def test_steps_and_events_are_counted_apart_by_hand():
    # Events at 2..5, 10..12, 15; alarms at 4, 5 and 6, at 8, and at 15: two of three found, one of three false.
    labels = labelled(20, (2, 6), (10, 13), (15, 16))
    found = measured(alarms(20, 4, 5, 6, 8, 15), labels)
    assert found["precision"] == pytest.approx(3 / 5)
    assert found["recall"] == pytest.approx(3 / 8)
    assert found["f1"] == pytest.approx(6 / 13)
    assert found["event_precision"] == pytest.approx(2 / 3)
    assert found["event_recall"] == pytest.approx(2 / 3)
    assert found["event_f1"] == pytest.approx(2 / 3)
    assert found["delay_steps"] == pytest.approx((2 + 0) / 2)
    assert found["false_alarms_per_day"] == pytest.approx(1 / 1.2)  # twelve unlabelled steps, ten make a day


def test_one_alarm_in_an_event_does_not_find_its_other_steps():
    found = measured(alarms(100, 30), labelled(100, (20, 70)))
    assert (found["recall"], found["event_recall"]) == (1 / 50, 1.0)


def test_events_are_grouped_before_they_are_counted():
    labels = labelled(12, (0, 4))
    score = alarms(12, 0, 2, 6, 8)
    assert measured(score, labels)["event_precision"] == 0.5
    joined = measured(score, labels, min_steps=3, merge_gap=1)
    assert (joined["event_precision"], joined["precision"], joined["recall"]) == (0.5, 3 / 6, 3 / 4)
    assert joined["false_alarms_per_day"] == pytest.approx(1 / 0.8)
    assert measured(score, labels, min_steps=2)["event_recall"] == 0


def test_an_alarm_from_before_an_event_has_no_delay():
    assert measured(alarms(10, 2, 3, 4), labelled(10, (4, 8)))["delay_steps"] == 0


def test_what_cannot_be_said_is_nan_and_what_was_missed_is_0():
    silent = measured(np.zeros(10), labelled(10, (2, 4)))
    assert np.isnan([silent["precision"], silent["event_precision"], silent["delay_steps"]]).all()
    assert [silent[name] for name in ("recall", "f1", "event_recall", "event_f1", "false_alarms_per_day")] == [0] * 5
    unlabelled = measured(alarms(10, 3), labelled(10))
    assert np.isnan([unlabelled[name] for name in ("recall", "event_recall", "event_f1", "auc_pr", "vus_pr")]).all()
    assert (unlabelled["precision"], unlabelled["false_alarms_per_day"]) == (0, 1)


def test_a_step_without_a_score_is_a_missed_one():
    labels = labelled(10, (0, 4))
    found = measured([N, N, 1, 1, 0, 0, 0, 0, N, N], labels)
    assert (found["precision"], found["recall"], found["delay_steps"]) == (1, 0.5, 2)
    lowest = measured([-9, -9, 1, 1, 0, 0, 0, 0, -9, -9], labels)
    assert found["auc_pr"] == lowest["auc_pr"] < 1
    assert found["vus_pr"] == lowest["vus_pr"]


def test_average_precision_by_hand():
    # Labelled ranks 1, 3 and 4 of five: (1 / 1 + 2 / 3 + 3 / 4) / 3
    found = detection_metrics.auc_pr(np.array([9.0, 8, 7, 6, 5]), np.array([1, 0, 1, 1, 0], bool))
    assert found == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_measures_know_scores_by_their_order_only():
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
    expected = 1 / 4 * 1 + 0 + 3 / 4 * (1 / 2 + 2 / 3) / 2
    assert detection_metrics.vus_pr(score, labels, longest=0) == pytest.approx(expected)


def written_out(score, labels, longest):
    """The volume as its definition reads: a loop over buffers and thresholds."""
    events = [range(a, b) for a, b in detection_metrics.spans(labels)]
    areas = []
    for length in range(longest + 1):
        worth = np.zeros(len(score))
        for step in range(len(score)):
            away = min(min(abs(step - k) for k in event) for event in events)
            worth[step] = 1 if away == 0 else np.sqrt(1 - away / length) if away <= length // 2 else 0
        widened, points = detection_metrics.spans(worth > 0), [(0.0, 1.0)]
        for threshold in sorted(set(score.tolist()), reverse=True):
            raised = score >= threshold
            hit = np.mean([raised[a:b].any() for a, b in widened])
            recall = min(np.sum(worth[raised]) / ((labels.sum() + worth.sum()) / 2), 1) * hit
            points.append((recall, np.sum(worth[raised]) / raised.sum()))
        areas.append(sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points)))
    return np.mean(areas)


def test_the_volume_agrees_with_its_definition():
    random = np.random.default_rng(1)
    labels = labelled(120, (10, 14), (18, 20), (60, 61), (110, 120))
    score = np.round(random.gamma(2, size=120) + labels, 1)  # with ties
    assert detection_metrics.vus_pr(score, labels, longest=12) == pytest.approx(
        written_out(score, labels, 12), rel=1e-12
    )


def test_an_alarm_beside_an_event_is_worth_something_with_a_buffer():
    labels = labelled(200, (100, 110))
    beside, far = alarms(200, *range(111, 121)).astype(float), alarms(200, *range(20, 30)).astype(float)
    assert detection_metrics.vus_pr(beside, labels, 40) > 5 * detection_metrics.vus_pr(far, labels, 40)
    assert detection_metrics.auc_pr(beside, labels) == pytest.approx(detection_metrics.auc_pr(far, labels))


# Windows [start, end) as steps of three files of NAB's realTraffic, from its combined_windows.json.
SPEED, TRAVEL = (2500, [(2261, 2500)]), (2162, [(438, 655)])


@pytest.mark.parametrize(
    ("file", "at", "published"),
    [
        (SPEED, [2387], 0.8393187159363497),  # ARTime: one alarm, at 2015-09-17 07:05
        (SPEED, [900, 1000, 2386], 0.6226220017559383),  # bayesChangePt: two false alarms, and 07:00
        (TRAVEL, [948], -1.1097565965686436),  # bayesChangePt: a false alarm some time after the missed window
        (SPEED, [], -1.0),
    ],
)
def test_nab_scores_files_as_it_published_them_for_its_detectors(file, at, published):
    """Numbers of results/ARTime and results/bayesChangePt in github.com/numenta/NAB, standard profile."""
    steps, windows = file
    assert detection_metrics.nab_file(alarms(steps, *at), windows) == pytest.approx(published, abs=1e-12)


def test_nab_counts_the_first_alarm_of_a_window_and_none_of_the_first_steps():
    once = detection_metrics.nab_file(alarms(1000, 510), [(500, 600)])
    assert detection_metrics.nab_file(alarms(1000, 510, 530, 590), [(500, 600)]) == once
    assert detection_metrics.nab_file(alarms(1000, 100, 149, 510), [(500, 600)]) == once
    assert detection_metrics.nab_file(alarms(1000, 150, 510), [(500, 600)]) == pytest.approx(once - 0.11)
    assert detection_metrics.nab_file(alarms(10_000, 749), [(5000, 5100)]) == -1


def test_nab_is_100_for_the_perfect_and_0_for_the_silent():
    windows = [(500, 600), (800, 850)]
    assert detection_metrics.nab([(alarms(1000, 500, 800), windows)]) == pytest.approx(100)
    assert detection_metrics.nab([(alarms(1000), windows), (alarms(900), [(400, 500)])]) == 0
    assert detection_metrics.nab([(alarms(1000, 500, 800), windows), (alarms(900), [(400, 500)])]) == pytest.approx(
        200 / 3
    )
    assert detection_metrics.nab([(np.ones(1000, bool), windows)]) < 0
    with pytest.raises(ValueError, match="none has a window"):
        detection_metrics.nab([(alarms(100, 3), [])])


def test_the_best_nab_threshold_is_the_best_of_all():
    random = np.random.default_rng(2)
    files = []
    for windows in ([(300, 340), (500, 520)], [(250, 300)], []):
        score = np.round(random.gamma(2, size=600), 1)
        for start, end in windows:
            score[start:end] += 1.5
        score[::50] = N
        files.append((score, windows))
    best, threshold = detection_metrics.nab_best(files)
    levels = np.unique(np.concatenate([score[np.isfinite(score)] for score, _ in files]))
    each = [detection_metrics.nab([(score >= level, windows) for score, windows in files]) for level in levels]
    assert best == pytest.approx(max(each))
    assert best > 0
    assert levels[np.argmax(each)] == threshold


def test_where_speaking_only_costs_the_best_is_silence():
    score = np.zeros(600)
    score[200:250] = 1
    assert detection_metrics.nab_best([(score, [(400, 410)])]) == (0.0, np.inf)
