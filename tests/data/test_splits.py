"""Chronological spans of the time axis."""

import pytest

from gridcast.data.splits import spans


def test_spans_follow_each_other_without_gap_or_overlap():
    found = spans(100, 0.8, 0.1)
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
    found = spans(steps, train, validation)
    assert (found.train, found.validation, found.test) == expected


def test_an_unknown_span_is_an_error():
    with pytest.raises(KeyError, match="future"):
        spans(10, 0.8, 0.1)["future"]
