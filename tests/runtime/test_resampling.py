"""Rows finer than the frequency, combined by period."""

import numpy as np
import pandas as pd
import pytest

from gridcast.runtime import resampling

COLUMNS = resampling.RowColumns("id", "time", "y")


def frame(start, end, frequency="D", **columns):
    times = pd.date_range(start, end, freq=frequency)
    return pd.DataFrame({"id": "a", "time": times, "y": np.arange(1.0, len(times) + 1)} | columns)


@pytest.mark.parametrize(("rule", "first", "second"), [("sum", 10.0, 11.0), ("mean", 2.5, 5.5), ("last", 4.0, 6.0)])
def test_the_target_follows_the_rule_and_covariates_their_mean(rule, first, second):
    rows = frame("2023-01-28", "2023-02-02").assign(price=[1.0, 2, 3, 6, 5, 7], kind=list("pqrstu"))
    found = resampling.aggregate_rows(rows.iloc[::-1], "M", rule, COLUMNS, ["kind"])
    assert list(found) == list(rows)
    assert found["time"].tolist() == [pd.Timestamp("2023-01-01"), pd.Timestamp("2023-02-01")]
    assert found["y"].tolist() == [first, second]
    assert found["price"].tolist() == [3.0, 6.0]
    assert found["kind"].tolist() == ["p", "t"]


def test_a_period_without_a_value_has_none():
    rows = frame("2023-01-30", "2023-02-02").assign(y=[np.nan, np.nan, 1.0, 2.0])
    assert resampling.aggregate_rows(rows, "M", "sum", COLUMNS)["y"].tolist()[1] == 3.0
    assert np.isnan(resampling.aggregate_rows(rows, "M", "sum", COLUMNS)["y"].iloc[0])


@pytest.mark.parametrize(
    ("start", "end", "frequency", "first", "last"),
    [
        ("2023-01-01", "2023-03-31", "M", "2023-01-01", "2023-03-01"),
        ("2023-01-02", "2023-03-30", "M", "2023-02-01", "2023-02-01"),
        ("2023-01-04", "2023-01-29", "W", "2023-01-09", "2023-01-23"),
        ("2023-01-01", "2023-01-28", "W-SUN", "2023-01-01", "2023-01-22"),
        ("2023-01-01", "2023-06-30", "Q", "2023-01-01", "2023-04-01"),
        ("2023-01-10", "2023-01-12", "M", "2023-01-01", "2023-01-01"),  # no other period is left
    ],
)
def test_periods_cut_off_by_the_ends_of_the_data_are_not_whole(start, end, frequency, first, last):
    found = resampling.complete_periods(pd.date_range(start, end), frequency)
    assert found == (pd.Timestamp(first), pd.Timestamp(last))


def test_a_pause_as_usual_cuts_no_period_off():
    """July begins on a Saturday, April ends on a Sunday: a shop of five days a week misses nothing of either."""
    shop = pd.date_range("2023-07-03", "2024-06-28", freq="B")
    assert resampling.complete_periods(shop, "M") == (pd.Timestamp("2023-07-01"), pd.Timestamp("2024-06-01"))
    assert resampling.complete_periods(shop[:-1], "M")[1] == pd.Timestamp("2024-05-01")


def test_stamps_of_which_no_two_share_a_period_are_whole_periods():
    months = pd.date_range("2023-01-15", periods=4, freq=pd.DateOffset(months=1))
    assert resampling.complete_periods(months, "M") == (pd.Timestamp("2023-01-01"), pd.Timestamp("2023-04-01"))


def test_in_use_a_period_that_is_not_over_is_no_history_but_brings_what_is_known_ahead():
    rows = frame("2023-01-05", "2023-04-30").assign(promotion=1.0)
    rows.loc[rows["time"] >= "2023-03-20", "y"] = np.nan
    rows.loc[rows["time"] >= "2023-03-20", "promotion"] = 3.0
    rows.loc[rows["time"] == "2023-02-10", ["y", "promotion"]] = [np.nan, 99.0]  # a row within history brings nothing
    found = resampling.aggregate_history(rows, "M", "sum", COLUMNS).set_index("time")
    february = rows[rows["time"].dt.month == 2]["y"].sum()
    assert found["y"].dropna().to_dict() == {pd.Timestamp("2023-02-01"): february}
    expected = [1.0, (19 * 1 + 12 * 3) / 31, 3.0]
    np.testing.assert_allclose(found["promotion"], expected)
