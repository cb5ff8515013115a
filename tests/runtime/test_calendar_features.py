"""Covariates made from the time stamp."""

import numpy as np
import pandas as pd
import pytest

from gridcast.runtime import calendar_features
from gridcast.runtime.errors import DataError

HOURS = pd.date_range("2023-12-30", "2024-03-01 23:30", freq="30min")


def test_a_cycle_is_the_sine_and_cosine_of_its_phase():
    monday = pd.DatetimeIndex(["2023-01-02", "2023-01-03", "2023-01-08", "2023-01-09"])
    phase = 2 * np.pi * np.array([0, 1, 6, 7]) / 7
    found = calendar_features.calendar_channels(monday, ("day_of_week",))
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
    found = calendar_features.calendar_channels(pd.DatetimeIndex([first, later]), (name,))
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
    found = calendar_features.calendar_channels(pd.DatetimeIndex([stamp]), (name,))
    np.testing.assert_allclose(found, [[np.sin(angle), np.cos(angle)]], atol=1e-6)


@pytest.mark.parametrize("name", calendar_features.CYCLES)
def test_every_cycle_keeps_within_one_and_tells_its_positions_apart(name):
    found = calendar_features.calendar_channels(HOURS, (name,))
    np.testing.assert_allclose(np.sum(found**2, axis=1), 1, atol=1e-6)
    expected = {"minute_of_hour": 2, "hour": 24, "day_of_week": 7, "day_of_month": 31, "day_of_year": 63}
    expected |= {"week_of_year": 10, "month": 4, "quarter": 2}
    assert len(np.unique(found.round(5), axis=0)) == expected[name]


def test_an_interval_counts_both_its_days_to_the_last_hour():
    found = calendar_features.calendar_channels(HOURS, ("between:2023-12-31:2024-01-01",))[:, 0]
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
        calendar_features.calendar_channels(HOURS, (name,))


def test_columns_of_the_table_are_passed_over_and_the_width_is_known_beforehand():
    names = ("promotion", "day_of_week", "between:2024-01-01:2024-01-02", "month")
    assert [calendar_features.is_column(name) for name in names] == [True, False, False, False]
    assert calendar_features.calendar_channels(HOURS, names).shape == (len(HOURS), 5)
    assert calendar_features.calendar_channel_names(names) == (
        "day_of_week",
        "day_of_week",
        "between:2024-01-01:2024-01-02",
        "month",
        "month",
    )
    assert calendar_features.calendar_channels(HOURS, ("promotion",)).shape == (len(HOURS), 0)


def test_fourier_terms_are_sines_and_cosines_of_a_period_in_days_and_its_fractions():
    found = calendar_features.calendar_channels(HOURS, ("fourier:7:2",))
    assert calendar_features.calendar_channel_names(("fourier:7:2",)) == ("fourier:7:2",) * 4
    np.testing.assert_allclose(found[: -7 * 48], found[7 * 48 :], atol=1e-5)
    # 2000-01-01 is where the phase is 0, and so is every seventh day from then on.
    start = pd.DatetimeIndex(["2000-01-01", "2000-01-08", "2000-01-02 18:00"])
    np.testing.assert_allclose(
        calendar_features.calendar_channels(start, ("fourier:7:2",)),
        [[0, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, -1]],
        atol=1e-6,
    )


def test_the_trend_grows_from_0_to_1_over_the_training_span_and_goes_on():
    times = pd.DatetimeIndex(["2023-01-01", "2023-01-06", "2023-01-11", "2023-01-21"])
    found = calendar_features.calendar_channels(
        times, ("trend",), training_span=("2023-01-01T00:00:00", "2023-01-11T00:00:00")
    )
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 1, 2])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fourier:365.25", "expected a period in days and an order, such as fourier:365.25:3"),
        ("fourier:year:3", "expected a period in days and an order, such as fourier:365.25:3"),
        ("fourier:7:1.5", "expected a period in days and an order, such as fourier:365.25:3"),
        ("fourier:0:3", "expected a period above 0 days and an order of 1 to 50"),
        ("fourier:inf:3", "expected a period above 0 days and an order of 1 to 50"),
        ("fourier:7:0", "expected a period above 0 days and an order of 1 to 50"),
        ("between:2023-01-01", "expected between:2023-09-10:2023-11-02"),
    ],
)
def test_a_name_that_is_not_whole_is_an_error_before_any_stamp_is_known(name, told):
    with pytest.raises(ValueError, match=f"^'{name}': {told}"):
        calendar_features.check_names(("month", name))


CLOSED = calendar_features.MarkedDays("events:c.csv", ("events:c.csv",), ((("2023-01-30", "2023-02-06"),),))


@pytest.mark.parametrize(
    ("frequency", "stamps", "shares"),
    [
        ("h", ["2023-01-29 23:00", "2023-01-30 00:00", "2023-02-06 23:00", "2023-02-07"], [0, 1, 1, 0]),
        ("D", ["2023-01-29", "2023-01-30", "2023-02-06", "2023-02-07"], [0, 1, 1, 0]),
        ("W", ["2023-01-23", "2023-01-30", "2023-02-06", "2023-02-13"], [0, 1, 1 / 7, 0]),
        ("M", ["2022-12-01", "2023-01-01", "2023-02-01", "2023-03-01"], [0, 2 / 31, 6 / 28, 0]),
        ("M", ["2022-12-31", "2023-01-31", "2023-02-28", "2023-03-31"], [0, 2 / 31, 6 / 28, 0]),
        ("Q", ["2022-10-01", "2023-01-01"], [0, 8 / 90]),
    ],
)
def test_a_step_is_marked_by_its_share_of_marked_days(frequency, stamps, shares):
    found = calendar_features.calendar_channels(pd.DatetimeIndex(stamps), ("events:c.csv",), frequency, [CLOSED])
    np.testing.assert_allclose(found[:, 0], shares, atol=1e-7)


@pytest.mark.parametrize("stamp", ["2022-12-31", "2024-01-01"])
def test_beyond_what_is_known_of_holidays_there_is_no_answer(stamp):
    known = calendar_features.MarkedDays("holidays:GB", ("holidays:GB",), ((),), ("2023-01-01", "2023-12-31"))
    assert (
        calendar_features.calendar_channels(
            pd.DatetimeIndex(["2023-01-01", "2023-12-31"]), ["holidays:GB"], "D", [known]
        ).sum()
        == 0
    )
    with pytest.raises(DataError, match=rf"^{stamp} 00:00:00: 'holidays:GB' is known from 2023-01-01 to 2023-12-31 on"):
        calendar_features.calendar_channels(pd.DatetimeIndex(["2023-06-01", stamp]), ["holidays:GB"], "D", [known])
