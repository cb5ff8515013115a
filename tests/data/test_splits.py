"""Chronological spans of the time axis."""

import pytest

from gridcast.data.splits import Spans, rolling_folds, spans_by_share


def test_spans_follow_each_other_without_gap_or_overlap():
    found = spans_by_share(100, 0.8, 0.1)
    assert [found[name] for name in ("train", "validation", "test")] == [(0, 80), (80, 90), (90, 100)]


@pytest.mark.parametrize(
    ("steps", "train", "validation", "expected"),
    [
        (10, 0.8, 0.1, (8, 9, 10)),  # 0.8 + 0.1 is a little less than 0.9 in binary
        (604, 0.8, 0.1, (483, 543, 604)),  # 483.2 and 543.6: what is left over goes to the test
        (1000, 0.7, 0.2, (700, 900, 1000)),
        (3, 0.34, 0.33, (1, 2, 3)),
        (1, 0.8, 0.1, (0, 0, 1)),
    ],
)
def test_bounds_are_the_whole_steps_of_each_share(steps, train, validation, expected):
    found = spans_by_share(steps, train, validation)
    assert (found.train, found.validation, found.test) == expected


def test_an_unknown_span_is_an_error():
    with pytest.raises(KeyError, match="future"):
        spans_by_share(10, 0.8, 0.1)["future"]


def test_folds_roll_on_over_the_end_and_leave_the_last_steps_to_the_test():
    found = rolling_folds(100, 3, 10, expanding=True)
    # Tests on [90, 100), trained on all but the last 20, 30 and 40 steps.
    assert [(fold["train"], fold["validation"]) for fold in found] == [
        ((0, 60), (60, 70)),
        ((0, 70), (70, 80)),
        ((0, 80), (80, 90)),
    ]
    assert [fold["test"] for fold in found] == [(70, 70), (80, 80), (90, 100)]


def test_folds_that_do_not_expand_train_on_as_many_steps_each():
    found = rolling_folds(100, 3, 10, expanding=False)
    assert [fold["train"] for fold in found] == [(0, 60), (10, 70), (20, 80)]


def test_one_fold_is_one_split():
    assert rolling_folds(50, 1, 6, expanding=True) == (Spans(38, 44, 50),)


def test_a_share_that_is_almost_a_step_more_gets_none():
    assert spans_by_share(10, 0.299, 0.1) == Spans(2, 3, 10)
    assert spans_by_share(10, 0.3 - 1e-7, 0.3) == Spans(2, 5, 10)
