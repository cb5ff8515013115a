"""The time axis."""

import pandas as pd
import pytest

from gridcast.data import axis


def texts(times):
    return times.strftime("%Y-%m-%d %H:%M").tolist()


@pytest.mark.parametrize(
    ("frequency", "given", "expected"),
    [
        ("D", ["2023-01-01", "2023-01-03"], ["2023-01-01", "2023-01-02", "2023-01-03"]),
        ("B", ["2023-01-06", "2023-01-10"], ["2023-01-06", "2023-01-09", "2023-01-10"]),
        ("W", ["2023-01-04", "2023-01-18"], ["2023-01-04", "2023-01-11", "2023-01-18"]),  # on Wednesdays, as the data
        ("M", ["2023-01-01", "2023-03-01"], ["2023-01-01", "2023-02-01", "2023-03-01"]),
        ("M", ["2023-01-31", "2023-03-31"], ["2023-01-31", "2023-02-28", "2023-03-31"]),
    ],
)
def test_a_regular_axis_has_every_step_from_first_to_last(frequency, given, expected):
    found = axis.regular(pd.DatetimeIndex(given), frequency)
    assert texts(found) == [f"{date} 00:00" for date in expected]


def test_an_unknown_frequency_is_an_error():
    with pytest.raises(ValueError, match="fortnight"):
        axis.regular(pd.DatetimeIndex(["2023-01-01"]), "fortnight")


@pytest.mark.parametrize(
    ("frequency", "last", "expected"),
    [
        ("D", "2023-02-28", ["2023-03-01 00:00", "2023-03-02 00:00"]),
        ("15min", "2023-01-01 23:45", ["2023-01-02 00:00", "2023-01-02 00:15"]),
        ("h", "2023-01-01 23:00", ["2023-01-02 00:00", "2023-01-02 01:00"]),
        ("B", "2023-01-06", ["2023-01-09 00:00", "2023-01-10 00:00"]),
        ("W", "2023-01-04", ["2023-01-11 00:00", "2023-01-18 00:00"]),
        ("M", "2023-01-31", ["2023-02-28 00:00", "2023-03-31 00:00"]),
        ("M", "2023-12-01", ["2024-01-01 00:00", "2024-02-01 00:00"]),
    ],
)
def test_the_steps_that_follow_begin_after_the_last_one(frequency, last, expected):
    assert texts(axis.following(pd.Timestamp(last), 2, frequency)) == expected


@pytest.mark.parametrize(("days", "steps"), [((0,), 10), ((0, 1, 2, 3, 4, 6), 20), ((5, 6), 7)])
def test_an_observed_axis_goes_on_over_its_own_weekdays_only(days, steps):
    found = axis.following(pd.Timestamp("2011-12-09"), steps, "D", days)
    every = pd.date_range("2011-12-10", periods=100)
    assert found.tolist() == [day for day in every if day.day_of_week in days][:steps]


def test_weekdays_leave_out_rare_exceptions():
    days = pd.date_range("2023-01-01", "2023-06-30")
    saturdays = days[days.day_of_week == 5]
    open_days = days[(days.day_of_week != 5) | days.isin(saturdays[:2])]
    assert axis.weekdays(open_days, "D", "observed") == (0, 1, 2, 3, 4, 6)
    assert axis.weekdays(days[(days.day_of_week != 5) | days.isin(saturdays[::2])], "D", "observed") == tuple(range(7))


def test_weekdays_matter_on_an_observed_daily_axis_only():
    days = pd.date_range("2023-01-01", "2023-02-01", freq="B")
    assert axis.weekdays(days, "D", "regular") == ()
    assert axis.weekdays(days, "B", "observed") == ()
    assert axis.weekdays(days, "D", "observed") == (0, 1, 2, 3, 4)
