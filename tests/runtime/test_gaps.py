"""Missing steps within a series, and steps on which it does not exist."""

import numpy as np
import pytest

from gridcast.runtime import gaps

N = np.nan
# Absent at first, broken off at steps 3 and 4, absent at last.
BROKEN = np.array([[N, 1.0, 2.0, N, N, 8.0, N], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])


def test_only_values_between_two_observations_are_missing():
    assert gaps.inner_gaps(BROKEN).tolist() == [[False, False, False, True, True, False, False], [False] * 7]


def test_a_series_that_was_never_observed_is_absent():
    assert not gaps.inner_gaps(np.full((1, 4), N)).any()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("error", [N, 1, 2, N, N, 8, N]),
        ("zero", [0, 1, 2, 0, 0, 8, 0]),
        ("ffill", [N, 1, 2, 2, 2, 8, N]),
        ("interpolate", [N, 1, 2, 4, 6, 8, N]),
    ],
)
def test_each_policy_fills_as_told(policy, expected):
    given = BROKEN.copy()
    filled = gaps.fill(given, policy)
    np.testing.assert_array_equal(filled, [expected, BROKEN[1]])
    np.testing.assert_array_equal(given, BROKEN)


def test_forward_carries_the_last_value_and_invents_none():
    np.testing.assert_array_equal(
        gaps.forward_fill(np.array([[N, 1.0, N, 3.0, N], [N] * 5])), [[N, 1.0, 1.0, 3.0, 3.0], [N] * 5]
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("error", "·XX··X·"), ("ffill", "·XX··X·"), ("interpolate", "·XX··X·"), ("zero", "XXXXXXX")],
)
def test_a_filled_step_counts_as_observed_only_where_nothing_recorded_means_zero(policy, expected):
    assert gaps.is_observed(BROKEN, policy).tolist() == [[mark == "X" for mark in expected], [True] * 7]


@pytest.mark.parametrize(
    ("policy", "expected"), [("ffill", "·XXXXX·"), ("interpolate", "·XX··X·"), ("zero", "XXXXXXX")]
)
def test_only_an_interpolated_step_owes_something_to_a_later_one(policy, expected):
    filled, observed = gaps.fill(BROKEN, policy), gaps.is_observed(BROKEN, policy)
    assert gaps.is_settled(filled, observed, policy).tolist() == [[mark == "X" for mark in expected], [True] * 7]
