"""Covariates made from the time stamp."""

import numpy as np
import pandas as pd
import pytest

from gridcast.data import features

HOURS = pd.date_range("2023-12-30", "2024-03-01 23:30", freq="30min")


def test_a_cycle_is_the_sine_and_cosine_of_its_phase():
    monday = pd.DatetimeIndex(["2023-01-02", "2023-01-03", "2023-01-08", "2023-01-09"])
    phase = 2 * np.pi * np.array([0, 1, 6, 7]) / 7
    found = features.calendar(monday, ("day_of_week",))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack([np.sin(phase), np.cos(phase)], axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "first", "later"),
    [
        ("minute_of_hour", "2023-01-02 10:00", "2023-01-02 10:15"),
        ("hour", "2023-01-02 00:00", "2023-01-02 06:00"),
        ("month", "2023-01-15", "2023-04-15"),
        ("quarter", "2023-01-15", "2023-04-15"),
    ],
)
def test_a_cycle_starts_at_zero_and_a_quarter_of_it_is_a_right_angle(name, first, later):
    found = features.calendar(pd.DatetimeIndex([first, later]), (name,))
    np.testing.assert_allclose(found, [[0, 1], [1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "stamp", "position", "length"),
    [
        ("day_of_month", "2023-01-01", 0, 31),
        ("day_of_month", "2023-01-31", 30, 31),
        ("day_of_year", "2024-12-31", 365, 366),
        ("week_of_year", "2020-12-31", 52, 53),
        ("month", "2023-12-01", 11, 12),
    ],
)
def test_the_last_position_of_a_cycle_is_one_before_its_length(name, stamp, position, length):
    angle = 2 * np.pi * position / length
    found = features.calendar(pd.DatetimeIndex([stamp]), (name,))
    np.testing.assert_allclose(found, [[np.sin(angle), np.cos(angle)]], atol=1e-6)


@pytest.mark.parametrize("name", features.CYCLES)
def test_every_cycle_keeps_within_one_and_tells_its_positions_apart(name):
    found = features.calendar(HOURS, (name,))
    np.testing.assert_allclose(np.sum(found**2, axis=1), 1, atol=1e-6)
    expected = {"minute_of_hour": 2, "hour": 24, "day_of_week": 7, "day_of_month": 31, "day_of_year": 63}
    expected |= {"week_of_year": 10, "month": 4, "quarter": 2}
    assert len(np.unique(found.round(5), axis=0)) == expected[name]


def test_an_interval_counts_both_its_days_to_the_last_hour():
    found = features.calendar(HOURS, ("between:2023-12-31:2024-01-01",))[:, 0]
    assert HOURS[found == 1].tolist() == pd.date_range("2023-12-31", "2024-01-01 23:30", freq="30min").tolist()
    assert set(found) == {0, 1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("between:2023-01-01", "expected between:2023-09-10:2023-11-02"),
        ("between:soon:later", "expected between:2023-09-10:2023-11-02"),
        ("between::", "expected between:2023-09-10:2023-11-02"),
        ("between:2023-02-01:2023-01-01", "ends before it starts"),
    ],
)
def test_a_bad_interval_is_an_error(name, told):
    with pytest.raises(ValueError, match=f"^'{name}': {told}"):
        features.calendar(HOURS, (name,))


def test_columns_of_the_table_are_passed_over_and_the_width_is_known_beforehand():
    names = ("promotion", "day_of_week", "between:2024-01-01:2024-01-02", "month")
    assert [features.is_column(name) for name in names] == [True, False, False, False]
    assert features.calendar(HOURS, names).shape == (len(HOURS), 5)
    assert features.labels(names) == ("day_of_week", "day_of_week", "between:2024-01-01:2024-01-02", "month", "month")
    assert features.calendar(HOURS, ("promotion",)).shape == (len(HOURS), 0)
