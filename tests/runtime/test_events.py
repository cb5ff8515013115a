"""Events by hand."""

import math

import numpy as np
import pytest

from gridcast.runtime.events import Event, anomaly_score, find_events, spans

N = np.nan


def flags(text):
    return np.array([sign == "x" for sign in text])


@pytest.mark.parametrize(
    ("text", "least", "gap", "expected"),
    [
        ("", 1, 0, []),
        ("....", 1, 0, []),
        ("xxxx", 1, 0, [[0, 4]]),
        (".xx..x", 1, 0, [[1, 3], [5, 6]]),
        (".xx..x", 1, 1, [[1, 3], [5, 6]]),
        (".xx..x", 1, 2, [[1, 6]]),
        (".xx..x", 2, 0, [[1, 3]]),
        (".x.x..x", 3, 1, [[1, 4]]),  # joined first, measured then
        ("x.x.x", 1, 1, [[0, 5]]),
        (".xx..x", 4, 0, []),
    ],
)
def test_stretches_are_joined_and_then_measured(text, least, gap, expected):
    assert spans(flags(text), least, gap).tolist() == expected


def test_an_event_has_its_peak_its_severity_and_whom_to_blame():
    contributions = np.array([[0.0, 0.2, 0.1], [1.0, 6.0, 2.0], [3.0, 0.0, 12.0], [0.1, 0.1, 0.1]])
    values = anomaly_score(contributions)
    assert values.tolist() == pytest.approx([0.1, 3, 5, 0.1])
    (found,) = find_events(values, 2.0, contributions, ["speed", "flow", "power"])
    assert (found.start, found.end, found.peak, found.severity) == (1, 3, 5.0, 2.5)
    assert [name for name, _ in found.blame] == ["power", "flow", "speed"]
    assert [share for _, share in found.blame] == pytest.approx([14 / 24, 6 / 24, 4 / 24])


def test_each_step_may_have_a_threshold_of_its_own():
    values = np.array([2.0, 3.0, 6.0, 3.0])
    (found,) = find_events(values, np.array([3.0, 1.0, 4.0, 3.0]), values[:, None], ["a"])
    assert (found.start, found.end, found.peak, found.severity) == (1, 3, 6.0, 3.0)  # 3 / 1 is more than 6 / 4


def test_a_score_on_the_threshold_is_no_event():
    assert find_events(np.array([1.0, 2.0]), 2.0, np.array([[1.0], [2.0]]), ["a"]) == ()


def test_steps_without_a_score_break_an_event_or_lie_in_its_gap():
    values = np.array([5.0, N, 7.0, N, N, 6.0])
    contributions = values[:, None]
    assert [(found.start, found.end) for found in find_events(values, 1.0, contributions, ["a"])] == [
        (0, 1),
        (2, 3),
        (5, 6),
    ]
    joined = find_events(values, 1.0, contributions, ["a"], min_steps=2, merge_gap=1)
    assert joined == (Event(0, 3, 7.0, 7.0, (("a", 1.0),)),)


def test_a_sensor_that_was_not_seen_has_no_blame_and_no_part_in_the_score():
    contributions = np.array([[N, 4.0], [N, N], [2.0, 6.0]])
    values = anomaly_score(contributions)
    np.testing.assert_array_equal(values, [4, N, 4])
    (first, last) = find_events(values, 1.0, contributions, ["a", "b"])
    assert first.blame == (("b", 1.0), ("a", 0.0))
    assert last.blame == (("b", 0.75), ("a", 0.25))


def test_where_nothing_normal_had_an_error_any_error_is_infinitely_severe():
    (found,) = find_events(np.array([0.0, 0.5]), 0.0, np.array([[0.0], [0.5]]), ["a"])
    assert found.severity == math.inf
