"""The time axis."""

import pandas as pd
import pytest

from gridcast.runtime import time_axis
from gridcast.runtime.step_rule import StepRule, steps_after


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
        ("Q", ["2023-01-01", "2023-07-01"], ["2023-01-01", "2023-04-01", "2023-07-01"]),
        ("Q", ["2023-02-28", "2023-08-31"], ["2023-02-28", "2023-05-31", "2023-08-31"]),
        ("Y", ["2021-01-01", "2023-01-01"], ["2021-01-01", "2022-01-01", "2023-01-01"]),
        ("Y", ["2021-12-31", "2023-12-31"], ["2021-12-31", "2022-12-31", "2023-12-31"]),
    ],
)
def test_a_regular_axis_has_every_step_from_first_to_last(frequency, given, expected):
    found = time_axis.regular_steps(pd.DatetimeIndex(given), StepRule(frequency))
    assert texts(found) == [f"{date} 00:00" for date in expected]


def test_an_unknown_frequency_is_an_error():
    with pytest.raises(ValueError, match="fortnight"):
        time_axis.regular_steps(pd.DatetimeIndex(["2023-01-01"]), StepRule("fortnight"))


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
        ("Q", "2023-10-01", ["2024-01-01 00:00", "2024-04-01 00:00"]),
        ("Y", "2023-12-31", ["2024-12-31 00:00", "2025-12-31 00:00"]),
    ],
)
def test_the_steps_that_follow_begin_after_the_last_one(frequency, last, expected):
    assert texts(steps_after(pd.Timestamp(last), 2, StepRule(frequency))) == expected


@pytest.mark.parametrize(("days", "steps"), [((0,), 10), ((0, 1, 2, 3, 4, 6), 20), ((5, 6), 7)])
def test_an_observed_axis_goes_on_over_its_own_weekdays_only(days, steps):
    found = steps_after(pd.Timestamp("2011-12-09"), steps, StepRule("D", weekdays=days))
    every = pd.date_range("2011-12-10", periods=100)
    assert found.tolist() == [day for day in every if day.day_of_week in days][:steps]


def test_weekdays_leave_out_rare_exceptions():
    days = pd.date_range("2023-01-01", "2023-06-30")
    saturdays = days[days.day_of_week == 5]
    open_days = days[(days.day_of_week != 5) | days.isin(saturdays[:2])]
    assert time_axis.usual_weekdays(open_days, "D", "observed") == (0, 1, 2, 3, 4, 6)
    assert time_axis.usual_weekdays(
        days[(days.day_of_week != 5) | days.isin(saturdays[::2])], "D", "observed"
    ) == tuple(range(7))


def test_weekdays_matter_on_an_observed_daily_axis_only():
    days = pd.date_range("2023-01-01", "2023-02-01", freq="B")
    assert time_axis.usual_weekdays(days, "D", "regular") == ()
    assert time_axis.usual_weekdays(days, "B", "observed") == ()
    assert time_axis.usual_weekdays(days, "D", "observed") == (0, 1, 2, 3, 4)


CHRISTMAS = pd.DatetimeIndex(["2023-12-25", "2023-12-26"])


def trading_days(start, end):
    """Mondays to Fridays but for Christmas, and one Saturday."""
    days = pd.date_range(start, end)
    return days[((days.day_of_week < 5) & ~days.isin(CHRISTMAS)) | (days == "2023-12-23")]


def test_usual_weekdays_without_a_step_are_days_off():
    assert time_axis.closed_dates(trading_days("2023-11-01", "2024-01-31"), (0, 1, 2, 3, 4)) == (
        "2023-12-25",
        "2023-12-26",
    )
    assert time_axis.closed_dates(pd.date_range("2023-11-01", "2024-01-31"), ()) is None


def test_weekdays_that_do_not_tell_the_calendar_tell_no_days_off():
    every_second = pd.date_range("2023-11-01", "2024-01-31", freq="2D")
    assert time_axis.closed_dates(every_second, tuple(range(7))) is None


@pytest.mark.parametrize("hour", [0, 12])
def test_a_table_that_lacks_days_is_opened_on_the_usual_ones(hour):
    whole = trading_days("2023-12-01", "2024-01-31") + pd.Timedelta(hours=hour)
    off = time_axis.closed_dates(whole, (0, 1, 2, 3, 4))
    some = whole[[0, 3, 4, 16, 25, -1]]  # the Saturday among them
    assert pd.Timestamp("2023-12-23") in some.normalize()
    assert time_axis.with_open_dates(some, (0, 1, 2, 3, 4), off).tolist() == whole.tolist()
    # A day off is known from the data alone: in another year it is a step like any other.
    later = time_axis.with_open_dates(pd.DatetimeIndex(["2024-12-24", "2024-12-27"]), (0, 1, 2, 3, 4), off)
    assert later.day.tolist() == [24, 25, 26, 27]


@pytest.mark.parametrize(
    ("frequency", "stamp", "begin", "end"),
    [
        ("15min", "2023-01-05 10:44", "2023-01-05 10:30", "2023-01-05 10:45"),
        ("h", "2023-01-05 10:44", "2023-01-05 10:00", "2023-01-05 11:00"),
        ("D", "2023-01-05 10:44", "2023-01-05 00:00", "2023-01-06 00:00"),
        ("B", "2023-01-05 10:44", "2023-01-05 00:00", "2023-01-06 00:00"),
        ("W", "2023-01-05 10:44", "2023-01-02 00:00", "2023-01-09 00:00"),
        ("W", "2023-01-08 23:59", "2023-01-02 00:00", "2023-01-09 00:00"),
        ("W-SUN", "2023-01-05 10:44", "2023-01-01 00:00", "2023-01-08 00:00"),
        ("M", "2024-02-29 10:44", "2024-02-01 00:00", "2024-03-01 00:00"),
        ("MS", "2024-02-29 10:44", "2024-02-01 00:00", "2024-03-01 00:00"),
        ("Q", "2024-02-29 10:44", "2024-01-01 00:00", "2024-04-01 00:00"),
        ("Y", "2024-02-29 10:44", "2024-01-01 00:00", "2025-01-01 00:00"),
    ],
)
def test_a_stamp_lies_between_the_beginning_and_the_end_of_its_period(frequency, stamp, begin, end):
    begins = time_axis.period_start(pd.DatetimeIndex([stamp]), frequency)
    assert texts(begins) == [begin]
    assert texts(time_axis.period_end(begins, frequency)) == [end]


@pytest.mark.parametrize("frequency", ["2W", "2D", "3M", "ME", "fortnight", "Q-FEB"])
def test_a_frequency_whose_periods_a_stamp_does_not_tell_is_an_error(frequency):
    with pytest.raises(ValueError, match=r"."):
        time_axis.period_start(pd.DatetimeIndex(["2023-01-05"]), frequency)
